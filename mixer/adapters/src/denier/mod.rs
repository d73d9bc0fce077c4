//! `denier`: always says no (`spec 02` §7.7).

mod config;
mod handler;

use std::sync::Arc;

use mesh_api::adapter::denier::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Denier;

impl Adapter for Denier {
    type Params = Params;

    const INFO: Info = Info {
        name: "denier",
        description: "Rejects any check and quota request with a configurable error",
        templates: &[Template::CheckNothing, Template::ListEntry, Template::Quota],
    };

    fn defaults() -> Params {
        config::defaults()
    }

    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        let mut errors = ConfigErrors::default();
        config::answer(params, &mut errors);
        errors
    }

    async fn build(&self, params: Params, _: &Inferred, _: Env) -> Result<Handler, BuildError> {
        let mut errors = ConfigErrors::default();
        let denial = Arc::new(handler::Denial(config::answer(&params, &mut errors)));
        errors.into_result()?;
        Ok(Handler::default()
            .with(Handle::CheckNothing(denial.clone()))
            .with(Handle::ListEntry(denial.clone()))
            .with(Handle::Quota(denial)))
    }
}
