//! `bypass`: hands everything to another process over gRPC (`spec 02` §7.14).

mod backend;
mod config;
mod handler;
mod instance;

use std::sync::Arc;

use mesh_api::adapter::bypass::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;

use self::backend::Backend;

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Bypass;

impl Adapter for Bypass {
    type Params = Params;

    const INFO: Info = Info {
        name: "bypass",
        description: "Calls gRPC backends via the inline adapter model (useful for testing)",
        templates: &[
            Template::CheckNothing,
            Template::Metric,
            Template::Quota,
            Template::ReportNothing,
        ],
    };

    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        let mut errors = ConfigErrors::default();
        config::address(params, &mut errors);
        errors
    }

    /// Waits for the back end, and asks one with sessions whether it takes the parameters, and for a session.
    async fn build(&self, params: Params, inferred: &Inferred, _: Env) -> Result<Handler, BuildError> {
        let mut errors = ConfigErrors::default();
        let address = config::address(&params, &mut errors);
        errors.into_result()?;
        let address = address.ok_or_else(|| BuildError("there is no address".to_owned()))?;
        let backend = Backend::connect(&address, params, inferred)
            .await
            .map_err(|reason| BuildError(format!("the back end at {address}: {reason}")))?;
        let backend = Arc::new(backend);
        let bypass = Arc::new(handler::Bypassed(Arc::clone(&backend)));
        Ok(Handler::default()
            .with(Handle::CheckNothing(bypass.clone()))
            .with(Handle::Metric(bypass.clone()))
            .with(Handle::Quota(bypass.clone()))
            .with(Handle::ReportNothing(bypass))
            .on_close(move || async move { backend.close().await }))
    }
}
