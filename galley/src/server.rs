//! Starts everything and wires it together (G1).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use galley_processing::{
    DebounceOptions, FileSource, KubeSource, MeshSource, ProcessingMetrics, Processor, ProcessorHandle,
    StatusReporter, mesh,
};
use galley_webhook::ValidationArgs;
use mesh_config::Kind;
use mesh_config::mesh::default_galley_mesh;
use mesh_kube::{Client, Election, LeaseParams};
use mesh_mcp::SnapshotCache;
use mesh_runtime::Runtime;
use mesh_runtime::admin::AdminArgs;
use mesh_runtime::log::Scope;
use mesh_runtime::tls::Credentials;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::advice::Advice;
use crate::args::{ServerArgs, SourceArgs};
use crate::debug::Origin;
use crate::{certificates, debug, mcp};

/// Batches of events that may wait for the processor.
const EVENT_BATCHES: usize = 16;

/// The Lease of whoever writes the status of objects.
const STATUS_LEASE: &str = "istio-galley-status";

/// Log scopes of Galley, named as in 1.1.
pub const SCOPES: &[Scope] = &[
    Scope {
        name: "mcp",
        description: "The configuration protocol and its sinks",
        targets: &["mesh_mcp"],
    },
    Scope {
        name: "runtime",
        description: "Processing of configuration",
        targets: &["galley_processing"],
    },
    Scope {
        name: "server",
        description: "Start and operation of the process",
        targets: &["galley"],
    },
    Scope {
        name: "validation",
        description: "The validation webhook and its registration",
        targets: &["galley_webhook"],
    },
    Scope {
        name: "source",
        description: "Sources of configuration",
        targets: &["galley_processing::file", "galley_processing::kube", "mesh_kube"],
    },
];

/// Where the servers listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The MCP server, unless it is switched off.
    pub mcp: Option<SocketAddr>,
    /// The validation webhook, unless it is switched off.
    pub validation: Option<SocketAddr>,
    /// The monitoring server, unless it is switched off.
    pub monitoring: Option<SocketAddr>,
}

/// Starts Galley; it runs until the runtime leaves.
///
/// # Errors
///
/// When the flags do not fit together, an address is taken, the configuration path cannot be watched or there is no way
/// to an API server.
pub async fn start(runtime: &Runtime, args: ServerArgs) -> anyhow::Result<Addresses> {
    check(&args)?;
    let ServerArgs {
        source,
        mcp,
        certificates,
        validation,
        probes,
        profiling,
        keepalive,
        admin,
        log: _,
    } = args;
    if profiling.enable_profiling {
        warn!(
            port = profiling.pprof_port,
            "--enableProfiling: there is no profiler to serve, profile this process from outside"
        );
    }
    for file in probes.files(runtime.readiness()) {
        let guard = runtime.drain().guard(file.name());
        let drain = runtime.drain().clone();
        runtime
            .spawner()
            .spawn(format!("{} probe", file.name()), async move {
                file.run(drain).await;
                drop(guard);
            });
    }
    let serves_tls = mcp.enable_server && !mcp.insecure;
    let credentials = if serves_tls || source.validates() {
        Some(certificates::follow(runtime, certificates.files())?)
    } else {
        None
    };
    let validation = match &credentials {
        Some(credentials) if source.validates() => {
            Some(start_validation(runtime, &source, validation, credentials.clone()).await?)
        }
        _ => None,
    };
    if !mcp.enable_server {
        info!("--enable-server=false: no configuration is served");
        let monitoring = spawn_admin(runtime, &admin, runtime.admin_router()).await?;
        return Ok(Addresses {
            mcp: None,
            validation,
            monitoring,
        });
    }

    let snapshots = SnapshotCache::new();
    let (processing, origin) = start_processing(runtime, source, &snapshots).await?;
    let credentials = credentials.filter(|_| serves_tls);
    let (source, address) = mcp::start(runtime, mcp, credentials, snapshots, keepalive.into()).await?;
    let router = runtime
        .admin_router()
        .merge(debug::router(processing, origin, source));
    let monitoring = spawn_admin(runtime, &admin, router).await?;
    Ok(Addresses {
        mcp: address,
        validation,
        monitoring,
    })
}

/// What can be told before anything is started.
fn check(args: &ServerArgs) -> anyhow::Result<()> {
    if !args.mcp.enable_server {
        if !args.source.validates() {
            bail!("--enable-server=false and --enable-validation=false: there is nothing to do");
        }
        return Ok(());
    }
    mcp::check(&args.mcp)
}

/// The webhook, which learns from the API server what there is to say about an object because of others.
async fn start_validation(
    runtime: &Runtime,
    source: &SourceArgs,
    args: ValidationArgs,
    credentials: Credentials,
) -> anyhow::Result<SocketAddr> {
    let client = source.kube.client().await.context("validation webhook")?;
    let advice = Advice::start(&client, &source.domain, runtime.spawner());
    let namespace = &source.deployment_namespace;
    let start = galley_webhook::start(runtime, args, credentials, client, namespace, Arc::new(advice));
    Ok(start.await?)
}

/// From the source to snapshots.
async fn start_processing(
    runtime: &Runtime,
    args: SourceArgs,
    snapshots: &SnapshotCache,
) -> anyhow::Result<(ProcessorHandle, Origin)> {
    let SourceArgs {
        config_path,
        kube,
        // What is known already is not told again.
        resync_period: _,
        disable_resource_ready_check,
        excluded_resource_kinds,
        deployment_namespace,
        mesh_config_file,
        domain,
        quiesce_duration,
        max_wait_duration,
        enable_validation: _,
    } = args;
    let options = DebounceOptions {
        quiesce: quiesce_duration.get(),
        max_wait: max_wait_duration.get(),
    };
    let metrics = ProcessingMetrics::register(runtime.metrics())?;
    // What is wrong with it is told as soon as it is followed.
    let mesh = mesh::read(&mesh_config_file).unwrap_or_else(|_| default_galley_mesh());
    let processor = Processor::new(options, snapshots.clone(), metrics.clone()).with_mesh(mesh, domain);
    let handle = processor.handle();

    let (events, receiver) = mpsc::channel(EVENT_BATCHES);
    let mesh_source = MeshSource::new(mesh_config_file).run(events.clone());
    let drain = runtime.drain().clone();
    let origin = if config_path.as_os_str().is_empty() {
        let client = kube
            .client()
            .await
            .context("no source of configuration: neither files (--configPath) nor an API server")?;
        let excluded = kinds(&excluded_resource_kinds);
        let check_ready = !disable_resource_ready_check;
        let (source, handle) = KubeSource::new(client.clone(), &excluded, check_ready, runtime.spawner());
        report_status(
            runtime,
            client,
            deployment_namespace,
            source.reporter(metrics.clone()),
        );
        runtime.spawner().spawn_vital("kubernetes source", async move {
            drain.cancel(source.run(events)).await;
        });
        Origin::Kubernetes(handle)
    } else {
        let source = FileSource::new(&config_path);
        runtime.spawner().spawn_vital("file source", async move {
            drain.cancel(source.run(events)).await.unwrap_or(Ok(()))
        });
        Origin::Files(config_path)
    };
    // Only now: a start that fails says why, and nothing else.
    let drain = runtime.drain().clone();
    runtime.spawner().spawn_vital("mesh configuration", async move {
        drain.cancel(mesh_source).await.unwrap_or(Ok(()))
    });
    runtime
        .spawner()
        .spawn_vital("processor", processor.run(receiver));

    let synced = runtime.readiness().task("first snapshot of the configuration");
    let mut first = snapshots.subscribe();
    runtime.spawner().spawn("first snapshot", async move {
        // Without a processor there is no snapshot, and no process either.
        if first.wait_for(Option::is_some).await.is_ok() {
            synced.ready();
        }
    });
    Ok((handle, origin))
}

/// One of several Galleys writes the status of objects.
fn report_status(runtime: &Runtime, client: Client, namespace: String, reporter: StatusReporter) {
    let lease = LeaseParams::new(namespace, STATUS_LEASE, identity());
    let election = Election::new(client, lease);
    let leadership = election.leadership();
    let drain = runtime.drain().clone();
    runtime.spawner().spawn("status election", async move {
        election.run(drain.signaled()).await;
    });
    let drain = runtime.drain().clone();
    runtime.spawner().spawn("status", async move {
        drain.cancel(reporter.run(leadership)).await;
    });
}

/// Tells this process from others: its pod, or host and process.
fn identity() -> String {
    let name = |variable: &str| std::env::var(variable).ok().filter(|name| !name.is_empty());
    name("POD_NAME").unwrap_or_else(|| {
        let host = name("HOSTNAME").unwrap_or_else(|| "galley".to_owned());
        format!("{host}-{}", std::process::id())
    })
}

/// The kinds of these names. As in 1.1, a name that is none of ours excludes nothing.
fn kinds(names: &[String]) -> BTreeSet<Kind> {
    let mut kinds = BTreeSet::new();
    for name in names.iter().filter(|name| !name.is_empty()) {
        let known = Kind::ALL.iter().copied().find(|kind| kind.schema().kind == name);
        if known.is_none() {
            warn!(kind = name, "--excludedResourceKinds: there is no such kind");
        }
        kinds.extend(known);
    }
    kinds
}

async fn spawn_admin(
    runtime: &Runtime,
    args: &AdminArgs,
    router: axum::Router,
) -> anyhow::Result<Option<SocketAddr>> {
    let addresses = runtime
        .spawn_admin(args, router)
        .await
        .context("monitoring server")?;
    Ok(addresses.monitoring)
}
