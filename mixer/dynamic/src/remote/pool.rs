//! All addresses of an adapter, one after another (`spec 02` §10.3).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::ClientOptions;
use mesh_runtime::tls::ClientTls;
use tracing::{debug, warn};

use super::endpoint::Endpoint;

/// How long things are waited for, and how often they are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long an address that could not be connected to is left alone at first.
    pub first_pause: Duration,
    /// How long at last: the pauses double.
    pub longest_pause: Duration,
    /// How often the name of an adapter is resolved again.
    pub resolve: Duration,
    /// How long connecting may take.
    pub connect: Duration,
}

/// The addresses of an adapter.
#[derive(Debug)]
pub(super) struct Pool {
    address: HostPort,
    tls: Option<ClientTls>,
    pace: Pace,
    endpoints: Mutex<Arc<[Arc<Endpoint>]>>,
    next: AtomicUsize,
}

// === impl Pace ===

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            resolve: Duration::from_secs(30),
            connect: Duration::from_secs(5),
        }
    }
}

// === impl Pool ===

impl Pool {
    /// Resolves the name of an adapter; nothing is connected yet.
    pub(super) async fn new(address: HostPort, tls: Option<ClientTls>, pace: Pace) -> Result<Self, String> {
        let pool = Self {
            address,
            tls,
            pace,
            endpoints: Mutex::default(),
            next: AtomicUsize::new(0),
        };
        pool.resolve().await?;
        Ok(pool)
    }

    /// Resolves the name from time to time; never ends. Addresses that are still there keep their connections.
    pub(super) async fn follow(self: Arc<Self>) {
        if self.literal().is_some() {
            return;
        }
        loop {
            tokio::time::sleep(self.pace.resolve).await;
            if let Err(reason) = self.resolve().await {
                warn!(reason, "the former addresses of the adapter stay in use");
            }
        }
    }

    /// The addresses of the moment.
    pub(super) fn endpoints(&self) -> Arc<[Arc<Endpoint>]> {
        let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&endpoints)
    }

    /// The address whose turn it is, of those that can be connected to.
    pub(super) fn pick(&self) -> Result<Arc<Endpoint>, String> {
        let endpoints = self.endpoints();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut reason = None;
        for offset in 0..endpoints.len() {
            let endpoint = &endpoints[first.wrapping_add(offset) % endpoints.len()];
            match endpoint.down() {
                None => return Ok(Arc::clone(endpoint)),
                Some(why) => reason = reason.or(Some(why)),
            }
        }
        Err(reason.unwrap_or_else(|| format!("{} has no address", self.address)))
    }

    fn literal(&self) -> Option<IpAddr> {
        self.address.host.as_deref()?.parse().ok()
    }

    async fn resolve(&self) -> Result<(), String> {
        let Some(host) = self.address.host.as_deref() else {
            return Err(format!("{} has no host", self.address));
        };
        let found: BTreeSet<SocketAddr> = match self.literal() {
            Some(address) => [SocketAddr::new(address, self.address.port)].into(),
            None => tokio::net::lookup_host((host, self.address.port))
                .await
                .map_err(|error| format!("cannot resolve {host}: {error}"))?
                .collect(),
        };
        if found.is_empty() {
            return Err(format!("{host} has no address"));
        }
        let options = ClientOptions {
            connect_timeout: self.pace.connect,
            ..ClientOptions::default()
        };
        let before = self.endpoints();
        let mut endpoints = Vec::with_capacity(found.len());
        for address in found {
            let address = HostPort {
                host: Some(address.ip().to_string()),
                port: address.port(),
            };
            let same = before.iter().find(|before| before.address == address);
            endpoints.push(match same {
                Some(same) => Arc::clone(same),
                None => Endpoint::new(address, &options, self.tls.clone(), self.pace)
                    .map(Arc::new)
                    .map_err(|error| error.to_string())?,
            });
        }
        debug!(address = %self.address, endpoints = endpoints.len(), "resolved");
        *self.endpoints.lock().unwrap_or_else(PoisonError::into_inner) = endpoints.into();
        Ok(())
    }
}
