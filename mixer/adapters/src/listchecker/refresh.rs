//! Keeps the list of a provider.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest as _, Sha256};
use tokio::time::{self, Instant};
use tracing::{debug, warn};

use super::config::Provider;
use super::entries::{Entries, Symbol};
use super::fetch::Fetcher;

/// The list of a provider, or why there is none.
#[derive(Debug, Default)]
pub(super) struct Provided(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// The list, and until when it counts.
    list: Option<(Entries, Instant)>,
    /// Why the list could not be fetched the last time that it could not.
    failure: String,
}

/// Asks the provider again and again.
#[derive(Debug)]
pub(super) struct Refresh {
    provider: Provider,
    fetcher: Fetcher,
    provided: Arc<Provided>,
    /// Of the list that counts.
    digest: Option<[u8; 32]>,
}

// === impl Provided ===

impl Provided {
    pub(super) fn contains(&self, symbol: &Symbol) -> Result<bool, String> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &state.list {
            Some((entries, until)) if Instant::now() < *until => Ok(entries.contains(symbol)),
            Some(_) if state.failure.is_empty() => Err("the list is too old".to_owned()),
            Some(_) | None => Err(state.failure.clone()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

// === impl Refresh ===

impl Refresh {
    pub(super) fn new(provider: Provider, authorities: &Path, provided: Arc<Provided>) -> Self {
        Self {
            fetcher: Fetcher::new(provider.url.clone(), authorities),
            provider,
            provided,
            digest: None,
        }
    }

    /// Fetches until the end of the handler.
    pub(super) async fn run(mut self) {
        loop {
            time::sleep(self.provider.refresh_interval).await;
            self.fetch().await;
        }
    }

    /// Fetches once. When that fails the list of before stays until its time is over.
    pub(super) async fn fetch(&mut self) {
        if let Err(reason) = self.try_fetch().await {
            warn!(url = %self.provider.url, reason, "cannot fetch the list");
            let now = Instant::now();
            self.provided.change(|state| {
                state.failure = reason;
                if state.list.as_ref().is_some_and(|(_, until)| *until <= now) {
                    state.list = None;
                    self.digest = None;
                }
            });
        }
    }

    async fn try_fetch(&mut self) -> Result<(), String> {
        let body = self.fetcher.fetch().await?;
        let until = Instant::now() + self.provider.ttl;
        let digest: [u8; 32] = Sha256::digest(&body).into();
        if self.digest == Some(digest) {
            self.provided.change(|state| {
                if let Some((_, of_before)) = &mut state.list {
                    *of_before = until;
                }
            });
            return Ok(());
        }
        let entries = Entries::parse(self.provider.entry_type, &body)?;
        debug!(url = %self.provider.url, "fetched a new list");
        self.digest = Some(digest);
        self.provided.change(|state| {
            *state = State {
                list: Some((entries, until)),
                failure: String::new(),
            };
        });
        Ok(())
    }
}
