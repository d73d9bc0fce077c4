//! Starts everything and wires it together (`spec 02` §9.1).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mesh_runtime::Runtime;
use mesh_runtime::admin::AdminArgs;
use mesh_runtime::args::{HostPort, ListenAddr};
use mesh_runtime::grpc::GrpcOptions;
use mesh_runtime::listen::{Listener, bind, bind_unix};
use mesh_runtime::log::Scope;
use mixer_adapter::SomeAdapter;
use mixer_runtime::handler::Factory;
use mixer_runtime::loadshed::LoadShedder;
use mixer_runtime::{Adapters, Controller, ControllerOptions, Engine, EngineMetrics};

use crate::args::{Address, ListenArgs, ServerArgs};
use crate::metrics::ServiceMetrics;
use crate::service::{self, ServiceOptions};
use crate::spans::Tracer;
use crate::{debug, explain, store};

/// The longest time that a handler may take for a call. Callers of 1.1 wait for 5 seconds.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Log scopes of Mixer, named as in 1.1.
pub(crate) const SCOPES: &[Scope] = &[
    Scope {
        name: "adapters",
        description: "Adapters and their handlers",
        targets: &["mixer_adapter", "mixer_adapters"],
    },
    Scope {
        name: "api",
        description: "The service for proxies",
        targets: &["mixer"],
    },
    Scope {
        name: "attributes",
        description: "Attributes of requests",
        targets: &["mixer_attribute"],
    },
    Scope {
        name: "grpcAdapter",
        description: "Adapters in processes of their own",
        targets: &["mixer_dynamic"],
    },
    Scope {
        name: "runtime",
        description: "Configuration, routing and dispatch",
        targets: &["mixer_runtime"],
    },
    Scope {
        name: "loadshedding",
        description: "Requests that are refused because there are too many",
        targets: &["loadshedding"],
    },
    Scope {
        name: "mcp",
        description: "Configuration from Galley",
        targets: &["mesh_mcp"],
    },
];

/// Starts Mixer with the adapters that are built in and with `more`; it runs until the runtime leaves.
///
/// # Errors
///
/// When adapters or flags do not fit together, an address is taken, or there is no way to the configuration.
pub(crate) async fn start(
    runtime: &Runtime,
    args: ServerArgs,
    more: Vec<Box<dyn SomeAdapter>>,
) -> anyhow::Result<()> {
    let ServerArgs {
        listen,
        config,
        probes,
        tracing,
        loadshedding,
        admin,
        log: _,
    } = args;
    let mut adapters = mixer_adapters::all_with(listen.adapters());
    adapters.extend(more);
    let adapters = Arc::new(Adapters::new(adapters)?);
    let metrics = EngineMetrics::register(runtime.metrics())?;
    let service_metrics = ServiceMetrics::register(runtime.metrics())?;
    // The socket is there before the configuration is (§9.1).
    let listener = open(&listen).await?;

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

    let remembered = usize::try_from(listen.num_check_cache_entries)?;
    let engine = Arc::new(Engine::new(metrics.clone()).with_check_cache(remembered));
    let (factory, closer) = Factory::new(Arc::clone(&adapters), runtime.spawner().clone(), metrics.clone());
    let guard = runtime.drain().guard("handlers");
    runtime.spawner().spawn("handlers that are closed", async move {
        closer.run().await;
        drop(guard);
    });
    let (store, events) = store::follow(runtime, &config).await?;
    let controller = Controller::new(
        adapters,
        factory,
        Arc::clone(&engine),
        metrics.clone(),
        ControllerOptions {
            default_namespace: config.default_namespace,
            ..ControllerOptions::default()
        },
        Some(runtime.readiness().task("configuration")),
    );
    let reports = controller.reports();
    let drain = runtime.drain().clone();
    runtime.spawner().spawn_vital("configuration", async move {
        drain.cancel(controller.run(events)).await;
    });

    let router = runtime
        .admin_router()
        .merge(debug::router(reports.clone(), &engine, store));
    let control = router
        .clone()
        .merge(explain::router(reports, &engine, CALL_LIMIT));
    // What asks handlers is not for everybody who may read metrics.
    let only_monitoring = AdminArgs {
        ctrlz_address: String::new(),
        ..admin.clone()
    };
    let only_control = AdminArgs {
        monitoring_addr: ListenAddr::DISABLED,
        monitoring_port: None,
        ..admin
    };
    for (args, router) in [(only_monitoring, router), (only_control, control)] {
        runtime
            .spawn_admin(&args, router)
            .await
            .context("monitoring server")?;
    }

    let options = ServiceOptions {
        slots: match listen.single_threaded {
            true => 1,
            false => usize::try_from(listen.api_worker_pool_size)?,
        },
        call_limit: CALL_LIMIT,
        max_message_size: usize::try_from(listen.max_message_size)?,
        shedding: loadshedding.mode(),
        shedder: LoadShedder::new(loadshedding.limits()),
        throttled: Box::new(move || metrics.throttled()),
        tracer: Tracer::new(runtime, tracing.options())?,
        drain: runtime.drain().clone(),
    };
    let services = service::services(engine, &service_metrics, options);
    let options = GrpcOptions {
        max_concurrent_streams: listen.max_concurrent_streams,
        ..GrpcOptions::default()
    };
    runtime.spawn_grpc_service("mixer", listener, services, options);
    Ok(())
}

async fn open(args: &ListenArgs) -> anyhow::Result<Listener> {
    let tcp = match &args.address {
        Address::Unix(path) => return Ok(bind_unix("--address", path).await?.into()),
        Address::Tcp(address) => bind("--address", address).await?,
        Address::Port => bind("--port", &HostPort::any(args.port)).await?,
    };
    let (listener, _): (_, SocketAddr) = tcp;
    Ok(listener.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_02_9_2_scopes_of_logs_are_those_of_1_1() {
        for name in [
            "adapters",
            "api",
            "attributes",
            "grpcAdapter",
            "loadshedding",
            "mcp",
        ] {
            assert!(SCOPES.iter().any(|scope| scope.name == name), "{name}");
        }
    }
}
