//! Kubeconfigs that are data of somebody else, such as those of remote clusters in Secrets (P4.3).

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// A kubeconfig that makes no client. The text never holds what was in it but names: there are secrets in it.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// It is not YAML, or not a kubeconfig.
    #[error("it cannot be read as a kubeconfig")]
    Unreadable,
    /// It tells us to run or to read something of this machine.
    #[error("{0} is not taken from a kubeconfig that others write: give the data itself")]
    Refused(&'static str),
    /// It names no server or user, or its data are damaged.
    #[error("{0}")]
    Incomplete(KubeconfigError),
    /// The configuration is readable but makes no client, such as a certificate that is none.
    #[error("cannot make a Kubernetes client: {0}")]
    Client(#[from] kube::Error),
}

/// A client by a kubeconfig that somebody else wrote. The server is not asked.
///
/// Programs that it names (`exec`, `auth-provider`) are never run, and files that it names never read: whoever may write
/// the object that it came in would otherwise run commands as this process, or have its files sent to a server of their
/// choice. Only its current context counts.
///
/// # Errors
/// When it cannot be used as it is.
pub async fn foreign_client(text: &str) -> Result<Client, ForeignError> {
    let mut kubeconfig = Kubeconfig::from_yaml(text).map_err(|_| ForeignError::Unreadable)?;
    narrow(&mut kubeconfig);
    if let Some(field) = named_on_this_machine(&kubeconfig) {
        return Err(ForeignError::Refused(field));
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(ForeignError::Incomplete)?;
    Ok(Client::try_from(config)?)
}

/// Leaves what the current context names, so that nothing else can make a difference.
fn narrow(kubeconfig: &mut Kubeconfig) {
    let current = kubeconfig.current_context.clone().unwrap_or_default();
    kubeconfig.contexts.retain(|context| context.name == current);
    let contexts = kubeconfig.contexts.iter();
    let contexts: Vec<_> = contexts.filter_map(|context| context.context.clone()).collect();
    kubeconfig
        .clusters
        .retain(|cluster| contexts.iter().any(|context| context.cluster == cluster.name));
    let users = &mut kubeconfig.auth_infos;
    users.retain(|user| {
        contexts
            .iter()
            .any(|context| context.user.as_ref() == Some(&user.name))
    });
}

/// The first field that would make us run or read something.
fn named_on_this_machine(kubeconfig: &Kubeconfig) -> Option<&'static str> {
    let is_given = |field: &Option<String>| field.as_ref().is_some_and(|path| !path.is_empty());
    let clusters = kubeconfig.clusters.iter();
    for cluster in clusters.filter_map(|cluster| cluster.cluster.as_ref()) {
        if is_given(&cluster.certificate_authority) {
            return Some("certificate-authority");
        }
    }
    let users = kubeconfig.auth_infos.iter();
    for user in users.filter_map(|user| user.auth_info.as_ref()) {
        let fields = [
            (user.exec.is_some(), "exec"),
            (user.auth_provider.is_some(), "auth-provider"),
            (is_given(&user.token_file), "tokenFile"),
            (is_given(&user.client_certificate), "client-certificate"),
            (is_given(&user.client_key), "client-key"),
        ];
        if let Some((_, field)) = fields.into_iter().find(|(is_given, _)| *is_given) {
            return Some(field);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kubeconfig(cluster: &Value, user: &Value) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "contexts": [
                { "name": "here", "context": { "cluster": "c", "user": "u" } },
                { "name": "there", "context": { "cluster": "other", "user": "other" } },
            ],
            "clusters": [{ "name": "c", "cluster": cluster }],
            "users": [{ "name": "u", "user": user }, { "name": "other", "user": { "exec": { "command": "true" } } }],
        })
        .to_string()
    }

    #[tokio::test]
    async fn p4_3_a_kubeconfig_of_others_runs_nothing_and_reads_no_file() {
        let server = json!({ "server": "https://192.0.2.1:6443" });
        let exec = json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1", "command": "true" } });
        let in_file = json!({ "server": "https://192.0.2.1:6443", "certificate-authority": "/etc/ca.pem" });
        for (cluster, user, field) in [
            (&server, exec, "exec"),
            (
                &server,
                json!({ "auth-provider": { "name": "gcp" } }),
                "auth-provider",
            ),
            (&server, json!({ "tokenFile": "/etc/hostname" }), "tokenFile"),
            (
                &server,
                json!({ "client-certificate": "/etc/hostname" }),
                "client-certificate",
            ),
            (&server, json!({ "client-key": "/etc/hostname" }), "client-key"),
            (&in_file, json!({ "token": "t" }), "certificate-authority"),
        ] {
            let error = foreign_client(&kubeconfig(cluster, &user)).await.map(drop);
            assert!(
                matches!(error, Err(ForeignError::Refused(refused)) if refused == field),
                "{error:?}"
            );
        }
        foreign_client(&kubeconfig(&server, &json!({ "token": "t" })))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn p4_3_what_is_no_kubeconfig_is_refused_without_a_word_of_its_text() {
        for text in [
            "",
            "{",
            "token: geheim",
            "users: geheim",
            "[geheim]",
            "current-context: nowhere",
        ] {
            let error = foreign_client(text).await.map(drop).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{text}: {error}");
        }
    }
}
