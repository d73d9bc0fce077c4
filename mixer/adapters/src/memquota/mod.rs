//! `memquota`: quotas in the memory of one Mixer (`spec 02` §7.8).
//!
//! Nothing survives a restart, and every Mixer counts for itself.

mod config;
mod counters;
mod handler;
mod window;

use std::sync::Arc;

use mesh_api::adapter::memquota::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;

pub use counters::{Counters, Grant, Limit};

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Memquota;

impl Adapter for Memquota {
    type Params = Params;

    const INFO: Info = Info {
        name: "memquota",
        description: "Volatile memory-based quota tracking",
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

    async fn build(&self, params: Params, inferred: &Inferred, env: Env) -> Result<Handler, BuildError> {
        let mut errors = ConfigErrors::default();
        let settings = config::read(&params, inferred, env.handler(), &mut errors);
        errors.into_result()?;
        settings.quotas.check_covers(inferred)?;
        Ok(Handler::default().with(Handle::Quota(Arc::new(handler::Memory::new(settings)))))
    }
}
