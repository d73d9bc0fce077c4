//! Puts Pilot together: sources → controller → push engine → servers.

use std::net::SocketAddr;

use anyhow::Context;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::Kind;
use mesh_mcp::metrics::McpMetrics;
use mesh_mcp::sink::{Sink, SinkHandle, SinkOptions};
use mesh_runtime::Runtime;
use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::{ClientOptions, GrpcOptions, connect};
use mesh_runtime::listen::bind_if_enabled;
use mesh_runtime::log::Scope;
use pilot_model::{Builder, Change, Visibility};
use pilot_networking::Features;
use pilot_registry::{CLUSTER_KINDS, Controller, Debounce, KINDS, Publication, Registries, RegistryMetrics};
use pilot_xds::{Discovery, DiscoveryOptions, PushLimit, XdsMetrics};
use tokio::sync::watch;
use tonic::service::Routes;

use crate::args::DiscoveryArgs;
use crate::networks::NetworksFile;
use crate::state::State;
use crate::{consul, debug, kube, mesh, metrics};

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
        mcp_server_addrs,
        mcp_max_msg_size,
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
    let sources = source_addresses(&mcp_server_addrs, &mesh)?;
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
    let mut builder = Builder::new(domain.as_str(), mesh);
    let mut networks = NetworksFile::new(&networks_config);
    if let Some(networks) = &mut networks {
        // Before the first publication: a proxy must not be sent to addresses that it cannot reach.
        builder.apply(Change::Networks(Box::new(networks.read().await)));
    }
    let mut registry_of_all = Registries::of(&registries, domain.as_str(), trust_domain, export_to);
    let mut kinds = KINDS.to_vec();
    if api_server.is_some() {
        registry_of_all = registry_of_all.with_api_server();
        kinds.retain(|kind| !CLUSTER_KINDS.contains(kind));
    }
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
    let sinks = follow_sources(
        runtime,
        &controller,
        &sources,
        &kinds,
        &pod_name,
        mcp_max_msg_size,
    )?;
    let kube = api_server
        .map(|client| kube::follow(runtime, &controller, client, &kubernetes, &namespace))
        .transpose()?;
    let consul = consul::follow(runtime, &controller, &registries, consul)?;
    let version = runtime.build_info().version;
    let (publications, publication) = watch::channel(None);
    let state = State {
        discovery: discovery.clone(),
        publication,
        sources: sinks.into(),
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

/// One sink for each source. A source that is away is asked again for ever; what it said last stays in force.
fn follow_sources(
    runtime: &Runtime,
    controller: &Controller,
    sources: &[HostPort],
    kinds: &[Kind],
    node: &str,
    max_message_bytes: usize,
) -> anyhow::Result<Vec<SinkHandle>> {
    let metrics = McpMetrics::register(runtime.metrics(), "pilot/mcp/sink")?;
    let mut handles = Vec::with_capacity(sources.len());
    for (index, address) in sources.iter().enumerate() {
        let options = SinkOptions {
            max_message_bytes,
            // The cost of a change follows the change.
            incremental: true,
            ..SinkOptions::new(node, kinds.iter().copied())
        };
        let channel = connect(address, &ClientOptions::default())?;
        let (sink, handle) = Sink::new(channel, address.to_string(), options, metrics.clone());
        handles.push(handle);
        runtime
            .spawner()
            .spawn_vital("mcp sink", sink.run(controller.source(index)));
    }
    Ok(handles)
}

/// The addresses of the MCP servers: flags before mesh configuration (P5.1).
fn source_addresses(flags: &[String], mesh: &MeshConfig) -> anyhow::Result<Vec<HostPort>> {
    let configured = mesh.config_sources.iter().map(|source| source.address.clone());
    let addresses: Vec<String> = if flags.is_empty() {
        configured.collect()
    } else {
        flags.to_vec()
    };
    anyhow::ensure!(
        !addresses.is_empty(),
        "no source of configuration: give --mcpServerAddrs or configSources in the mesh configuration"
    );
    let parse = |address: &String| {
        let bare = address.strip_prefix("mcp://").unwrap_or(address);
        bare.parse()
            .with_context(|| format!("{address:?} is not the address of an MCP server"))
    };
    addresses.iter().map(parse).collect()
}
