//! Connections to a Redis, which are kept: one that is lost is made again.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mesh_runtime::Backoff;
use mesh_runtime::args::HostPort;
use mixer_adapter::Env;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, RedisResult};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time;
use tracing::{debug, info, warn};

use super::script::Scripts;

/// How long an answer may take. A check that waits longer is no use to its caller.
const ANSWER: Duration = Duration::from_secs(1);

/// How long connecting may take, for which no check waits.
const CONNECT: Duration = Duration::from_secs(5);

/// Between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The connections of a handler. Calls take turns on them, many at a time on each.
#[derive(Debug)]
pub(super) struct Connections {
    slots: Vec<Arc<Slot>>,
    next: AtomicUsize,
}

/// A connection of now, which its caller can tell to be broken.
pub(super) struct Borrowed {
    pub(super) connection: MultiplexedConnection,
    broken: Arc<Notify>,
    slot: Arc<Slot>,
}

/// Room for one connection.
#[derive(Debug, Default)]
struct Slot(Mutex<Option<Live>>);

/// A connection, and how it is told to be broken: who waits in vain must not break the one that came after it.
#[derive(Clone, Debug)]
struct Live {
    connection: MultiplexedConnection,
    broken: Arc<Notify>,
}

/// What keeps a connection going; ends with it.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

// === impl Connections ===

impl Connections {
    /// Connects, and keeps `size` connections while the handler lives.
    ///
    /// # Errors
    ///
    /// When the Redis cannot be reached now, or cannot run the scripts.
    pub(super) async fn start(
        server: &HostPort,
        size: usize,
        scripts: &Scripts,
        env: &Env,
    ) -> RedisResult<Self> {
        let mut first = Some(connect(server, scripts).await?);
        let slots: Vec<Arc<Slot>> = (0..size.max(1)).map(|_| Arc::default()).collect();
        for (number, slot) in slots.iter().enumerate() {
            let (slot, server, scripts) = (Arc::clone(slot), server.clone(), scripts.clone());
            let first = first
                .take()
                .map(|(connection, driver)| (slot.set(connection), driver));
            // What the first one meets is what all meet.
            env.spawn(keep(slot, server, scripts, first, number == 0));
        }
        Ok(Self {
            slots,
            next: AtomicUsize::new(0),
        })
    }

    /// A connection, if there is any.
    pub(super) fn borrow_one(&self) -> Option<Borrowed> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        (0..self.slots.len()).find_map(|offset| {
            let slot = &self.slots[start.wrapping_add(offset) % self.slots.len()];
            let Live { connection, broken } = slot.get()?;
            Some(Borrowed {
                connection,
                broken,
                slot: Arc::clone(slot),
            })
        })
    }
}

// === impl Borrowed ===

impl Borrowed {
    /// Nobody gets this connection any more.
    pub(super) fn give_up(self) {
        self.slot.clear(&self.broken);
        self.broken.notify_one();
    }
}

// === impl Slot ===

impl Slot {
    fn get(&self) -> Option<Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What tells that the connection is broken.
    fn set(&self, connection: MultiplexedConnection) -> Arc<Notify> {
        let broken = Arc::new(Notify::new());
        let live = Live {
            connection,
            broken: Arc::clone(&broken),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(live);
        broken
    }

    /// Takes the connection out that this tells of, unless another one is there.
    fn clear(&self, broken: &Arc<Notify>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_if(|live| Arc::ptr_eq(&live.broken, broken));
    }
}

/// Keeps a connection in `slot` for ever.
async fn keep(
    slot: Arc<Slot>,
    server: HostPort,
    scripts: Scripts,
    mut first: Option<(Arc<Notify>, Driver)>,
    speaks: bool,
) {
    let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut told = false;
    loop {
        let connected = match first.take() {
            Some(first) => Ok(first),
            None => connect(&server, &scripts)
                .await
                .map(|(connection, driver)| (slot.set(connection), driver)),
        };
        match connected {
            Ok((broken, driver)) => {
                if told && speaks {
                    info!(%server, "connected to Redis again");
                }
                tokio::select! {
                    () = driver => {}
                    () = broken.notified() => {}
                }
                slot.clear(&broken);
                pause.reset();
                if speaks {
                    warn!(%server, "lost the connection to Redis");
                }
            }
            Err(error) if told || !speaks => debug!(%server, %error, "cannot connect to Redis"),
            Err(error) => warn!(%server, %error, "cannot connect to Redis, trying on"),
        }
        told = true;
        pause.wait().await;
    }
}

/// A connection to a Redis that answers and that knows the scripts.
async fn connect(server: &HostPort, scripts: &Scripts) -> RedisResult<(MultiplexedConnection, Driver)> {
    time::timeout(CONNECT, handshake(server, scripts))
        .await
        .unwrap_or_else(|_| Err(io_error(io::ErrorKind::TimedOut)))
}

async fn handshake(server: &HostPort, scripts: &Scripts) -> RedisResult<(MultiplexedConnection, Driver)> {
    let host = server.host.as_deref().unwrap_or_default();
    let stream = TcpStream::connect((host, server.port)).await?;
    stream.set_nodelay(true)?;
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER));
    let (mut connection, driver) =
        MultiplexedConnection::new_with_config(&RedisConnectionInfo::default(), stream, config).await?;
    let mut driver: Driver = Box::pin(driver);
    // Nothing moves on a connection whose driver does not.
    tokio::select! {
        ready = scripts.load(&mut connection) => ready?,
        () = &mut driver => return Err(io_error(io::ErrorKind::ConnectionReset)),
    }
    Ok((connection, driver))
}

fn io_error(kind: io::ErrorKind) -> RedisError {
    RedisError::from(io::Error::from(kind))
}
