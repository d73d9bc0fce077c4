//! Flags of the webhook, as 1.1 has them (G9.2).

use std::path::PathBuf;

use clap::ArgAction;
use clap::builder::{OsStringValueParser, TypedValueParser};
use mesh_kube::KubeArgs;

/// Name of the configuration, of the service and of the Deployment.
const GALLEY: &str = "istio-galley";

/// How the webhook is served and registered.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Validation")]
pub struct ValidationArgs {
    /// Port of the webhook.
    #[arg(long = "validation-port", value_name = "PORT", default_value_t = 443)]
    pub port: u16,

    /// File with the ValidatingWebhookConfiguration that is registered. Without it the webhook is served, and registered by
    /// somebody else.
    #[arg(
        long = "validation-webhook-config-file",
        value_name = "PATH",
        default_value = "",
        hide_default_value = true,
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub config_file: PathBuf,

    /// Which configuration is ours.
    #[command(flatten)]
    pub names: WebhookName,

    /// Deployment that this process belongs to.
    #[arg(long = "deployment-name", value_name = "NAME", default_value = GALLEY)]
    pub deployment: String,

    /// Service by which the API server reaches the webhook.
    #[arg(long = "service-name", value_name = "NAME", default_value = GALLEY)]
    pub service: String,

    /// Remove the webhook configuration when this process leaves because its Deployment is removed or has no replicas.
    #[arg(long = "validation-webhook-delete-on-shutdown", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "false", action = ArgAction::Set)]
    pub delete_on_shutdown: bool,
}

/// Which webhook configuration is ours.
#[derive(Clone, Debug, clap::Args)]
pub struct WebhookName {
    /// Name of the ValidatingWebhookConfiguration.
    #[arg(long = "webhook-name", value_name = "NAME", default_value = GALLEY)]
    pub webhook_name: String,
}

/// Flags of `galley remove-webhook`.
#[derive(Clone, Debug, clap::Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub(crate) name: WebhookName,
    #[command(flatten)]
    pub(crate) kube: KubeArgs,
}
