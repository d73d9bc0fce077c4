//! `listchecker`: who is on a list, and who is not (`spec 02` §7.6).

mod config;
mod entries;
mod fetch;
mod handler;
mod refresh;

use std::path::PathBuf;
use std::sync::Arc;

use mesh_api::adapter::list::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;

use self::refresh::Provided;
use crate::dial;

/// The adapter.
#[derive(Clone, Debug)]
pub struct Listchecker {
    /// Authorities by which providers are recognized, a file of certificates (PEM).
    pub authorities: PathBuf,
}

impl Default for Listchecker {
    /// Providers are recognized by the authorities of the system.
    fn default() -> Self {
        Self {
            authorities: PathBuf::from(dial::AUTHORITIES),
        }
    }
}

impl Adapter for Listchecker {
    type Params = Params;

    const INFO: Info = Info {
        name: "listchecker",
        description: "Checks whether an entry is present in a list",
        templates: &[Template::ListEntry],
    };

    fn defaults() -> Params {
        config::defaults()
    }

    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        let mut errors = ConfigErrors::default();
        config::read(params, &mut errors);
        errors
    }

    /// Fetches the list before the handler is used; a provider that does not answer is asked again later.
    async fn build(&self, params: Params, _: &Inferred, env: Env) -> Result<Handler, BuildError> {
        let mut errors = ConfigErrors::default();
        let settings = config::read(&params, &mut errors);
        errors.into_result()?;
        let provided = match settings.provider {
            None => None,
            Some(provider) => {
                let provided = Arc::new(Provided::default());
                let mut refresh = refresh::Refresh::new(provider, &self.authorities, Arc::clone(&provided));
                refresh.fetch().await;
                env.spawn(refresh.run());
                Some(provided)
            }
        };
        let list = handler::List {
            overrides: settings.overrides,
            provided,
            blacklist: params.blacklist,
            valid_duration: settings.caching_interval,
            valid_use_count: params.caching_use_count,
        };
        Ok(Handler::default().with(Handle::ListEntry(Arc::new(list))))
    }
}
