//! Which API server is asked.

use std::env;
use std::time::Duration;

use mesh_api::adapter::kubernetesenv::config::Params;
use mixer_adapter::ConfigErrors;

/// How long a watch lives unless it is said.
const REFRESH: Duration = Duration::from_secs(300);

/// Where the Secrets of other clusters are when nobody says it, and this is no pod.
const NAMESPACE: &str = "istio-system";

/// A handler's parameters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Config {
    /// A kubeconfig file. Empty: the one of the pod that this process runs in.
    pub(super) kubeconfig: String,
    /// How long a watch lives before it is begun anew where it ended; this lists nothing.
    pub(super) refresh: Duration,
    /// Namespace with the Secrets of other clusters.
    pub(super) registries: String,
}

/// Parameters that nobody gave.
pub(super) fn defaults() -> Params {
    Params {
        cache_refresh_duration: prost_types::Duration::try_from(REFRESH).ok(),
        ..Params::default()
    }
}

// === impl Config ===

impl Config {
    pub(super) fn new(params: &Params, errors: &mut ConfigErrors) -> Self {
        let refresh = errors.duration("cacheRefreshDuration", params.cache_refresh_duration.as_ref());
        // 0 is the default, as in 1.1.
        let refresh = if refresh.is_zero() { REFRESH } else { refresh };
        Self {
            kubeconfig: params.kubeconfig_path.clone(),
            refresh,
            registries: params.cluster_registries_namespace.clone(),
        }
    }

    /// With what the environment says: `KUBECONFIG` counts more than the parameter, `POD_NAMESPACE` less.
    pub(super) fn for_this_process(self) -> Self {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        self.within(variable("KUBECONFIG"), variable("POD_NAMESPACE"))
    }

    fn within(self, kubeconfig: Option<String>, namespace: Option<String>) -> Self {
        Self {
            kubeconfig: kubeconfig.unwrap_or(self.kubeconfig),
            refresh: self.refresh,
            registries: Some(self.registries)
                .filter(|registries| !registries.is_empty())
                .or(namespace)
                .unwrap_or_else(|| NAMESPACE.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `spec 02` §7.10.
    #[test]
    fn the_environment_fills_what_is_missing_and_wins_for_the_kubeconfig() {
        let config = Config::new(&defaults(), &mut ConfigErrors::default());
        assert_eq!(config.refresh, Duration::from_secs(300));
        let alone = config.clone().within(None, None);
        assert_eq!(
            (alone.kubeconfig.as_str(), alone.registries.as_str()),
            ("", "istio-system")
        );
        let given = Params {
            kubeconfig_path: "/given".to_owned(),
            cluster_registries_namespace: "registries".to_owned(),
            ..defaults()
        };
        let given = Config::new(&given, &mut ConfigErrors::default());
        let both = given.within(Some("/of-environment".to_owned()), Some("pod".to_owned()));
        assert_eq!(
            (both.kubeconfig.as_str(), both.registries.as_str()),
            ("/of-environment", "registries")
        );
        assert_eq!(config.within(None, Some("pod".to_owned())).registries, "pod");
    }
}
