//! Taking the webhook configuration away (G8.6).
//!
//! With `failurePolicy: Fail` a configuration without a Galley keeps everybody from changing what it is about.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DeleteParams;
use kube::{Api, Client};
use mesh_kube::ClientError;
use tracing::{info, warn};

use crate::args::RemoveArgs;

/// Less than a process has to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// The configuration could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is no way to the API server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The API server refuses, or does not answer.
    #[error("cannot remove ValidatingWebhookConfiguration {name}: {source}")]
    Kube {
        /// Name of the configuration.
        name: String,
        /// What it says.
        source: Box<kube::Error>,
    },
}

/// Removes the configuration, for users who are locked out because no Galley answers; says what was done. A Galley that
/// runs puts it back.
///
/// # Errors
///
/// When there is no way to the API server or it refuses.
pub async fn remove(args: &RemoveArgs) -> Result<String, RemoveError> {
    let client = args.kube.client().await?;
    let name = &args.name.webhook_name;
    match delete(&client, name).await {
        Ok(true) => Ok(format!("ValidatingWebhookConfiguration {name} is removed")),
        Ok(false) => Ok(format!("there is no ValidatingWebhookConfiguration {name}")),
        Err(source) => Err(RemoveError::Kube {
            name: name.clone(),
            source: Box::new(source),
        }),
    }
}

async fn delete(client: &Client, name: &str) -> kube::Result<bool> {
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    match configurations.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the configuration where the Deployment of this process goes too. A process that is only replaced leaves it,
/// so that there is no time without validation.
pub(crate) async fn with_deployment(client: &Client, namespace: &str, deployment: &str, name: &str) {
    let reason = match tokio::time::timeout(PATIENCE, follow(client, namespace, deployment, name)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => mesh_runtime::error_chain(&error),
        Err(_) => "the API server did not answer in time".to_owned(),
    };
    warn!(
        name,
        reason, "webhook configuration is not removed, which `galley remove-webhook` does"
    );
}

async fn follow(client: &Client, namespace: &str, deployment: &str, name: &str) -> kube::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    if deployments
        .get_opt(deployment)
        .await?
        .is_some_and(|deployment| stays(&deployment))
    {
        info!(
            namespace,
            deployment, name, "webhook configuration stays, as the deployment does"
        );
        return Ok(());
    }
    let removed = delete(client, name).await?;
    info!(name, removed, "webhook configuration is not there any more");
    Ok(())
}

fn stays(deployment: &Deployment) -> bool {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    deployment.metadata.deletion_timestamp.is_none() && replicas != Some(0)
}
