//! All addresses of an adapter, one after another (`spec 02` §10.3).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::ClientOptions;
use mesh_runtime::tls::ClientTls;
use tracing::debug;

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
    /// Addresses that the name has no more, until their calls are over and they are taken leave of.
    left: Mutex<Vec<Arc<Endpoint>>>,
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
            left: Mutex::default(),
            next: AtomicUsize::new(0),
        };
        let found = pool.lookup().await?;
        pool.assign(&found)?;
        Ok(pool)
    }

    /// Waits until it is time to resolve the name again, and does.
    pub(super) async fn next(&self) -> Result<BTreeSet<SocketAddr>, String> {
        tokio::time::sleep(self.pace.resolve).await;
        self.lookup().await
    }

    /// Whether the addresses may change: an address that is written as such is always itself.
    pub(super) fn moves(&self) -> bool {
        self.literal().is_none()
    }

    /// All addresses that there may be sessions with.
    pub(super) fn all(&self) -> Vec<Arc<Endpoint>> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        self.endpoints().iter().chain(left.iter()).cloned().collect()
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

    async fn lookup(&self) -> Result<BTreeSet<SocketAddr>, String> {
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
        Ok(found)
    }

    /// These are the addresses from now on. Those that are still there keep their connections; those that had left before, and
    /// that no call uses any more, are returned.
    pub(super) fn assign(&self, found: &BTreeSet<SocketAddr>) -> Result<Vec<Arc<Endpoint>>, String> {
        let options = ClientOptions {
            connect_timeout: self.pace.connect,
            ..ClientOptions::default()
        };
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.endpoints();
        let mut endpoints = Vec::with_capacity(found.len());
        for address in found {
            let address = HostPort {
                host: Some(address.ip().to_string()),
                port: address.port(),
            };
            let mut known = before.iter().chain(left.iter());
            let same = known.find(|known| known.address == address);
            endpoints.push(match same {
                Some(same) => Arc::clone(same),
                None => Endpoint::new(address, &options, self.tls.clone(), self.pace)
                    .map(Arc::new)
                    .map_err(|error| error.to_string())?,
            });
        }
        debug!(address = %self.address, endpoints = endpoints.len(), "resolved");
        let is_there = |one: &Arc<Endpoint>| endpoints.iter().any(|other| Arc::ptr_eq(one, other));
        left.retain(|one| !is_there(one));
        // Calls hold their address; the list of before is let go of, which holds it, too.
        let over = left.extract_if(.., |one| Arc::strong_count(one) == 1).collect();
        left.extend(before.iter().filter(|one| !is_there(one)).cloned());
        *self.endpoints.lock().unwrap_or_else(PoisonError::into_inner) = endpoints.into();
        Ok(over)
    }
}
