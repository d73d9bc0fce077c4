//! `opa`: decisions by policies in Rego (`spec 02` §7.11).

mod ast;
mod config;
mod deciders;
mod extensions;
mod functions;
mod handler;
mod input;
#[cfg(test)]
mod recorded;
mod recursion;
mod unlike;

use std::sync::Arc;

use mesh_api::adapter::opa::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;
use tracing::warn;

use self::deciders::Deciders;

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Opa;

impl Adapter for Opa {
    type Params = Params;

    const INFO: Info = Info {
        name: "opa",
        description: "Istio Authorization with Open Policy Agent engine",
        templates: &[Template::Authorization],
    };

    /// A policy that cannot be compiled is no error where `fail_close` says what becomes of requests then.
    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        match config::compile(params) {
            Err(errors) if !params.fail_close => errors,
            Ok(_) | Err(_) => ConfigErrors::default(),
        }
    }

    async fn build(&self, params: Params, _: &Inferred, env: Env) -> Result<Handler, BuildError> {
        let policy = match config::compile(&params) {
            Ok(policy) => Some(policy),
            Err(errors) if params.fail_close => {
                warn!(handler = env.handler(), %errors, "all requests are refused");
                None
            }
            Err(errors) => return Err(BuildError(errors.to_string())),
        };
        let deciders = policy.as_ref().map(Deciders::start).transpose();
        let deciders = deciders.map_err(|error| BuildError(format!("no thread for decisions: {error}")))?;
        let engine = handler::Engine::new(deciders, params.fail_close, env.handler());
        Ok(Handler::default().with(Handle::Authorization(Arc::new(engine))))
    }
}
