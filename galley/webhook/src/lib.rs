//! Galley's validation webhook as a running server (spec 04 G8, G9.1).
//!
//! ```text
//! API server ─HTTPS─> serve ─> galley_validation::Webhook ─> answer, metrics
//!     ▲                 ▲ certificate files, followed
//!     └─ registration: file ─> ValidatingWebhookConfiguration, repaired for ever
//!              └ call: through the API server and back, before anybody depends on it
//! ```

mod args;
mod call;
mod configuration;
mod file;
mod metrics;
mod poll;
mod registration;
mod removal;
mod serve;
mod service;

use std::net::SocketAddr;
use std::sync::Arc;

use galley_validation::Warnings;
use mesh_kube::Client;
use mesh_runtime::Runtime;
use mesh_runtime::args::HostPort;
use mesh_runtime::listen::{BindError, Listener, bind};
use mesh_runtime::metrics::MetricsError;
use mesh_runtime::tls::{ClientAuth, Credentials, HTTP_1, ServerTls};
use tokio::sync::watch;
use tracing::info;

pub use self::args::{RemoveArgs, ValidationArgs, WebhookName};
pub use self::removal::{RemoveError, remove};

use self::configuration::Registrant;
use self::file::FileReader;
use self::metrics::ValidationMetrics;
use self::poll::Poll;
use self::registration::Registration;

/// The webhook could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its port is not available.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its metrics are registered already.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// Serves the webhook until the process leaves, registers it where a file says how, and returns where it listens.
///
/// The process is not ready before our own port answers with a certificate of `credentials`, and a call came back through the
/// API server. `namespace` is the one that this process runs in; `warnings` says more about objects that are admitted.
///
/// # Errors
///
/// When the port is taken. Whatever may come later is waited for.
pub async fn start(
    runtime: &Runtime,
    args: ValidationArgs,
    credentials: Credentials,
    client: Client,
    namespace: &str,
    warnings: Arc<dyn Warnings>,
) -> Result<SocketAddr, StartError> {
    let metrics = ValidationMetrics::register(runtime.metrics())?;
    let address = HostPort {
        host: None,
        port: args.port,
    };
    let (listener, local) = bind("--validation-port", &address).await?;
    let tls = ServerTls::new(credentials.clone(), ClientAuth::None, &[HTTP_1]);
    let router = serve::router(warnings, metrics.clone());
    runtime.spawn_http("validation", Listener::tls(listener, tls), router);

    let host = watch::Sender::new(format!("{}.{namespace}.svc", args.service));
    let poll = Poll {
        port: local.port(),
        credentials: credentials.clone(),
        host: host.subscribe(),
    };
    let polling = poll.run(runtime.readiness().clone(), runtime.drain().clone());
    runtime.spawner().spawn_vital("validationReadiness", polling);
    if args.config_file.as_os_str().is_empty() {
        info!("--validation-webhook-config-file is not given: the webhook is registered by somebody else");
    } else {
        spawn_registration(runtime, args, client, namespace, &credentials, host, metrics);
    }
    Ok(local)
}

/// Reads the file and keeps the API server at what it says.
fn spawn_registration(
    runtime: &Runtime,
    args: ValidationArgs,
    client: Client,
    namespace: &str,
    credentials: &Credentials,
    host: watch::Sender<String>,
    metrics: ValidationMetrics,
) {
    let task = |name: String| Some(runtime.readiness().task(name));
    let ValidationArgs {
        port: _,
        config_file,
        names,
        deployment,
        service,
        delete_on_shutdown,
    } = args;
    let namespace = namespace.to_owned();
    let current = watch::Sender::new(None);
    let registration = Registration {
        client: client.clone(),
        registrant: Registrant {
            name: names.webhook_name.clone(),
            namespace: namespace.clone(),
            owner: None,
        },
        files: current.subscribe(),
        certificates: credentials.subscribe(),
        metrics: metrics.clone(),
        addressed: task(format!("validation: address of service {namespace}/{service}")),
        returned: task("validation: call through the API server".to_owned()),
        service,
    };
    let reader = FileReader {
        pending: task(format!("validation: {}", config_file.display())),
        path: config_file,
        current,
        host,
        metrics,
    };
    let drain = runtime.drain().clone();
    runtime
        .spawner()
        .spawn_vital("validation configuration file", async move {
            drain.cancel(reader.run()).await.unwrap_or(Ok(()))
        });
    let drain = runtime.drain().clone();
    let leaving = drain.guard("webhook configuration");
    runtime.spawner().spawn_vital("webhook registration", async move {
        drain.cancel(Box::pin(registration.run())).await;
        if delete_on_shutdown {
            removal::with_deployment(&client, &namespace, &deployment, &names.webhook_name).await;
        }
        drop(leaving);
    });
}
