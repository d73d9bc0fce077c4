//! Which API server, and who we are to it.

use std::path::PathBuf;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// The flag by which every service of 1.1 finds its API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct KubeArgs {
    /// Use a Kubernetes configuration file instead of in-cluster configuration
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub kubeconfig: String,
}

/// No client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file named by `--kubeconfig` cannot be used.
    #[error("kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KubeconfigError,
    },
    /// No file is named, and this is no pod of a cluster.
    #[error("no --kubeconfig is given, and there is no configuration of a pod: {0}")]
    InCluster(#[from] InClusterError),
    /// The configuration is readable but makes no client, such as a certificate that is none.
    #[error("cannot make a Kubernetes client: {0}")]
    Client(#[from] kube::Error),
}

// === impl KubeArgs ===

impl KubeArgs {
    /// Reads the configuration: of the file, or of the pod that this process runs in. The server is not asked.
    ///
    /// # Errors
    /// When there is none that can be used.
    pub async fn config(&self) -> Result<Config, ClientError> {
        if self.kubeconfig.is_empty() {
            return Ok(Config::incluster()?);
        }
        let fail = |source| ClientError::Kubeconfig {
            path: self.kubeconfig.clone().into(),
            source,
        };
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).map_err(fail)?;
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(fail)
    }

    /// A client, where there is an API server to talk to: a file is named, or this is a pod of a cluster.
    ///
    /// # Errors
    /// As [`Self::config`], but for being in no cluster, which is no error.
    pub async fn find(&self) -> Result<Option<Client>, ClientError> {
        match self.client().await {
            Ok(client) => Ok(Some(client)),
            Err(ClientError::InCluster(InClusterError::ReadEnvironmentVariable(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A client. It belongs to the runtime that it is made in.
    ///
    /// # Errors
    /// As [`Self::config`].
    pub async fn client(&self) -> Result<Client, ClientError> {
        Ok(Client::try_from(self.config().await?)?)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        kube: KubeArgs,
    }

    fn args(words: &[&str]) -> KubeArgs {
        Program::parse_from(words).kube
    }

    #[tokio::test]
    async fn p6_4_without_a_kubeconfig_it_is_the_one_of_the_pod() {
        for words in [&["pilot-discovery"][..], &["pilot-discovery", "--kubeconfig", ""]] {
            let error = args(words).config().await.unwrap_err();
            assert!(matches!(error, ClientError::InCluster(_)), "{error}");
            assert!(args(words).find().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn p6_4_a_kubeconfig_that_cannot_be_used_is_named() {
        let error = args(&["galley", "--kubeconfig", "/nowhere/config"])
            .find()
            .await
            .map(drop)
            .unwrap_err();
        assert!(
            error.to_string().starts_with("kubeconfig /nowhere/config: "),
            "{error}"
        );
    }
}
