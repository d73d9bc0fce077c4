//! `redisquota`: quotas that several Mixers share (`spec 02` §7.9).

mod config;
mod connections;
mod handler;
mod script;

use std::sync::Arc;

use mesh_api::adapter::redisquota::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;

use self::connections::Connections;

pub use self::script::{Algorithm, Call, Counted, Scripts};

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Redisquota;

impl Adapter for Redisquota {
    type Params = Params;

    const INFO: Info = Info {
        name: "redisquota",
        description: "Redis-based quotas",
        templates: &[Template::Quota],
    };

    fn defaults() -> Params {
        config::defaults()
    }

    fn validate(params: &Params, inferred: &Inferred) -> ConfigErrors {
        let mut errors = ConfigErrors::default();
        config::read(params, inferred, "", &mut errors);
        errors
    }

    /// A Redis that cannot be reached, or that does not take the scripts, makes the handler invalid.
    async fn build(&self, params: Params, inferred: &Inferred, env: Env) -> Result<Handler, BuildError> {
        let mut errors = ConfigErrors::default();
        let settings = config::read(&params, inferred, env.handler(), &mut errors);
        errors.into_result()?;
        let Some(settings) = settings else {
            return Err(BuildError("the parameters are incomplete".to_owned()));
        };
        settings.quotas.check_covers(inferred)?;
        let scripts = Scripts::default();
        let connections = Connections::start(&settings.server, settings.pool_size, &scripts, &env)
            .await
            .map_err(|error| BuildError(format!("Redis at {}: {error}", settings.server)))?;
        let shared = handler::Shared::new(settings.quotas, connections, scripts, env.handler());
        Ok(Handler::default().with(Handle::Quota(Arc::new(shared))))
    }
}
