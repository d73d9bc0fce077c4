//! Puts Pilot together: sources → controller → push engine → servers.

use std::net::SocketAddr;

use mesh_runtime::Runtime;
use mesh_runtime::grpc::GrpcOptions;
use mesh_runtime::listen::bind_if_enabled;
use mesh_runtime::log::Scope;
use pilot_model::{Builder, Change, Visibility};
use pilot_networking::{Features, TraceSampling};
use pilot_registry::{
    CLUSTER_KINDS, Controller, Debounce, Ingresses, Publication, Registries, RegistryMetrics,
};
use pilot_xds::{Discovery, DiscoveryOptions, PushLimit, XdsMetrics};
use tokio::sync::watch;
use tonic::service::Routes;

use crate::args::DiscoveryArgs;
use crate::networks::NetworksFile;
use crate::sources::{self, Source, SourceHandle};
use crate::state::State;
use crate::{consul, debug, ingress, kube, mesh, metrics};

/// Log scopes of Pilot, named as in 1.1.
pub const SCOPES: &[Scope] = &[
    Scope {
        name: "ads",
        description: "Proxies and what they are sent",
        targets: &["pilot_xds"],
    },
    Scope {
        name: "mcp",
        description: "The configuration protocol and its sources",
        targets: &["mesh_mcp"],
    },
    Scope {
        name: "model",
        description: "Services and configuration",
        targets: &["pilot_registry", "mesh_kube"],
    },
    Scope {
        name: "server",
        description: "Start and operation of the process",
        targets: &["pilot"],
    },
];

/// Where the servers listen; `None` for those that are switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Readiness and debugging.
    pub http: Option<SocketAddr>,
    /// xDS without TLS.
    pub xds: Option<SocketAddr>,
    /// Metrics, and the same as `http`.
    pub monitoring: Option<SocketAddr>,
}

/// Starts Pilot; it runs until the runtime leaves. It is ready once every collection was received and published.
///
/// # Errors
///
/// When an address is taken or a flag makes no sense.
pub async fn start(runtime: &Runtime, args: DiscoveryArgs) -> anyhow::Result<Addresses> {
    let DiscoveryArgs {
        registries,
        kubernetes,
        consul,
        mesh_config,
        networks_config,
        sources,
        ingress,
        domain,
        trust_domain,
        http_addr,
        grpc_addr,
        secure_grpc_addr,
        debounce_after,
        debounce_max,
        push_throttle,
        push_burst,
        grpc_max_streams,
        enable_fallthrough_route,
        enable_locality_load_balancing,
        http_10,
        trace_sampling,
        pod_name,
        namespace,
        admin,
        keepalive,
        log: _,
    } = args;
    if let Some(address) = secure_grpc_addr.enabled() {
        tracing::warn!(%address, "--secureGrpcAddr: xDS with TLS is not served by this version");
    }
    let api_server = kubernetes.client(&registries).await?;
    let (mesh, mesh_source) = mesh::read(&mesh_config, api_server.as_ref()).await?;
    // Configuration may come from the API server although services do not.
    let config_server = match &api_server {
        Some(client) => Some(client.clone()),
        None => kubernetes.api_server.find().await?,
    };
    let (max_message_bytes, legacy) = (sources.mcp_max_msg_size, sources.use_mcp_legacy);
    let sources = sources.choose(&mesh, config_server.is_some())?;
    let trust_domain = [trust_domain, mesh.trust_domain.clone(), domain.clone()]
        .into_iter()
        .find(|trust_domain| !trust_domain.is_empty())
        .unwrap_or_default();

    let registry = runtime.metrics();
    let options = DiscoveryOptions {
        features: Features {
            fallthrough_route: enable_fallthrough_route,
            locality_load_balancing: enable_locality_load_balancing,
            http_10,
            trace_sampling: sampling(&trace_sampling),
        },
        push_limit: push_throttle.map(|per_second| PushLimit {
            per_second,
            burst: push_burst,
        }),
        identifier: format!("{pod_name}.{namespace}"),
        ..DiscoveryOptions::default()
    };
    let discovery = Discovery::new(
        options,
        XdsMetrics::register(registry)?,
        runtime.spawner().clone(),
        runtime.drain().clone(),
    );

    let export_to = Visibility::from_export_to(&mesh.default_service_export_to, Visibility::Public);
    let ingress_class = mesh.ingress_class.clone();
    let ingresses = (api_server.is_some() && ingress::are_followed(&mesh))
        .then(|| Ingresses::new(ingress.ingress_namespace.as_str(), domain.as_str(), mesh.clone()));
    let mut builder = Builder::new(domain.as_str(), mesh);
    let mut networks = NetworksFile::new(&networks_config);
    if let Some(networks) = &mut networks {
        // Before the first publication: a proxy must not be sent to addresses that it cannot reach.
        builder.apply(Change::Networks(Box::new(networks.read().await)));
    }
    let mut registry_of_all = Registries::of(&registries, domain.as_str(), trust_domain, export_to);
    let mut kinds = pilot_registry::kinds().collect::<Vec<_>>();
    if api_server.is_some() {
        registry_of_all = registry_of_all.with_api_server();
    }
    if api_server.is_some() || sources.contains(&Source::ApiServer) {
        kinds.retain(|kind| !CLUSTER_KINDS.contains(kind));
    }
    let ingress_source = sources.len();
    let (controller, task) = Controller::new(
        builder,
        registry_of_all,
        Debounce::new(debounce_after.get(), debounce_max.get()),
        sources.len(),
        &kinds,
    );
    let network_controller = controller.clone();
    let mut task = task.with_metrics(RegistryMetrics::register(registry)?);
    if api_server.is_some() {
        task = task.with_remotes();
    }
    let app_namespace = kubernetes.namespace();
    let watch_options = kubernetes.watch_options(config_server.as_ref(), runtime);
    let mut sources = sources::Following {
        runtime,
        controller: &controller,
        kinds: &kinds,
        node: &pod_name,
        max_message_bytes,
        legacy,
        api_server: config_server
            .as_ref()
            .map(|client| (client, app_namespace, &watch_options)),
    }
    .follow(sources)?;
    let (publications, publication) = watch::channel(None);
    if let (Some(ingresses), Some(client)) = (ingresses, &api_server) {
        task = task.with_ingresses(ingress_source, ingresses);
        let following = ingress::Following {
            runtime,
            client,
            app_namespace,
            watch: &watch_options,
            args: &ingress,
            pod: (&pod_name, &namespace),
            class: &ingress_class,
            publication: publication.clone(),
        };
        let handle = following.follow(controller.source(ingress_source));
        sources.push(SourceHandle::ApiServer(handle));
    }
    let kube = api_server
        .map(|client| kube::follow(runtime, &controller, client, &kubernetes, &namespace))
        .transpose()?;
    let consul = consul::follow(runtime, &controller, &registries, consul)?;
    let version = runtime.build_info().version;
    let state = State {
        discovery: discovery.clone(),
        publication,
        sources: sources.into(),
        kube,
        consul,
        registration: debug::RegistrationMetrics::register(registry, version)?,
    };

    metrics::register(registry, version, state.clone())?;
    let synced = runtime.readiness().task("configuration of all sources");
    run_controller(runtime, task, discovery.clone(), publications, synced);
    mesh::follow(runtime, controller, &mesh_config, mesh_source)?;
    if let Some(networks) = networks {
        networks.follow(runtime, network_controller)?;
    }

    let mut addresses = Addresses::default();
    let router = debug::router(state).merge(runtime.admin_router());
    if let Some((listener, local)) = bind_if_enabled("--httpAddr", &http_addr).await? {
        runtime.spawn_http("http", listener, router.clone());
        addresses.http = Some(local);
    }
    addresses.monitoring = runtime.spawn_admin(&admin, router).await?.monitoring;
    if let Some((listener, local)) = bind_if_enabled("--grpcAddr", &grpc_addr).await? {
        let options = GrpcOptions {
            max_concurrent_streams: grpc_max_streams,
            ..GrpcOptions::from(keepalive)
        };
        runtime.spawn_grpc("xds", listener, Routes::new(discovery.service()), options);
        addresses.xds = Some(local);
    }
    Ok(addresses)
}

fn run_controller(
    runtime: &Runtime,
    task: pilot_registry::ControllerTask,
    discovery: Discovery,
    publications: watch::Sender<Option<Publication>>,
    synced: mesh_runtime::ReadyGuard,
) {
    let mut synced = Some(synced);
    let publish = move |publication: Publication| {
        discovery.publish(publication.published.clone());
        publications.send_replace(Some(publication));
        if let Some(synced) = synced.take() {
            synced.ready();
        }
    };
    runtime.spawner().spawn_vital("controller", task.run(publish));
}

/// As in 1.1, what is no share is all (`TEL-12`).
fn sampling(percent: &str) -> TraceSampling {
    let sampling = percent.trim().parse().ok();
    sampling.and_then(TraceSampling::from_percent).unwrap_or_else(|| {
        tracing::warn!(
            percent,
            "--traceSampling is not between 0 and 100: all requests are traced"
        );
        TraceSampling::ALL
    })
}
