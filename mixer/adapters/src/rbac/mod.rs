//! `rbac`: gone (`spec 02` §7.12).
//!
//! Its kind and its parameters are known, so that configuration which names it is understood, and told what to do.

use mesh_api::adapter::rbac::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handler, Inferred, Info};
use mixer_template::Template;

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Rbac;

impl Adapter for Rbac {
    type Params = Params;

    const INFO: Info = Info {
        name: "rbac",
        description: "Istio RBAC adapter (deprecated)",
        templates: &[Template::Authorization],
    };

    fn defaults() -> Params {
        Params {
            cache_duration: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            ..Params::default()
        }
    }

    fn validate(_: &Params, _: &Inferred) -> ConfigErrors {
        ConfigErrors::default()
    }

    async fn build(&self, _: Params, _: &Inferred, _: Env) -> Result<Handler, BuildError> {
        Err(BuildError(
            "the adapter rbac is deprecated: Envoy enforces roles itself, see ClusterRbacConfig, ServiceRole and \
             ServiceRoleBinding"
                .to_owned(),
        ))
    }
}
