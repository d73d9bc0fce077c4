//! One address of an adapter.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::{ClientOptions, ConnectError, connect_observed};
use mesh_runtime::tls::ClientTls;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::pool::Pace;
use super::session::Sessions;

/// An address with its connection, which is made when it is needed.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: HostPort,
    pub(super) channel: Channel,
    pub(super) sessions: Sessions,
    health: Arc<Health>,
}

/// How connecting to an address went.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// How many connections were made: what a process knew before the last one may be gone with it.
    connections: AtomicU64,
    down: Mutex<Option<Down>>,
}

/// An address that could not be connected to.
#[derive(Debug)]
struct Down {
    until: Instant,
    pause: Duration,
    reason: String,
}

// === impl Endpoint ===

impl Endpoint {
    pub(super) fn new(
        address: HostPort,
        options: &ClientOptions,
        tls: Option<ClientTls>,
        pace: Pace,
    ) -> Result<Self, ConnectError> {
        let health = Arc::new(Health::default());
        let told = {
            let health = Arc::clone(&health);
            move |outcome: Result<(), &io::Error>| health.connected(outcome, pace)
        };
        Ok(Self {
            channel: connect_observed(&address, options, tls, told)?,
            address,
            sessions: Sessions::default(),
            health,
        })
    }

    /// How many connections there have been.
    pub(super) fn connections(&self) -> u64 {
        self.health.connections.load(Ordering::Acquire)
    }

    /// Why it must not be called now.
    pub(super) fn down(&self) -> Option<String> {
        let down = self.health.down();
        let down = down.as_ref().filter(|down| Instant::now() < down.until)?;
        Some(format!("{}: {}", self.address, down.reason))
    }
}

// === impl Health ===

impl Health {
    fn down(&self) -> std::sync::MutexGuard<'_, Option<Down>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self, outcome: Result<(), &io::Error>, pace: Pace) {
        let mut down = self.down();
        match outcome {
            Ok(()) => {
                self.connections.fetch_add(1, Ordering::AcqRel);
                *down = None;
            }
            Err(error) => {
                let pause = down
                    .as_ref()
                    .map_or(pace.first_pause, |down| (down.pause * 2).min(pace.longest_pause));
                *down = Some(Down {
                    until: Instant::now() + pause,
                    pause,
                    reason: format!("cannot connect: {error}"),
                });
            }
        }
    }
}
