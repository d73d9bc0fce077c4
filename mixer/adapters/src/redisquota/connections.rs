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

/// How long an answer may take at most. Callers have deadlines of their own, at which they stop waiting.
const ANSWER: Duration = Duration::from_secs(30);

/// How long connecting, and being asked whether it is there, may take a Redis. No caller waits for it.
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

/// A connection of now, which its caller can tell to be broken. One that is dropped before its call was answered is tested.
pub(super) struct Borrowed {
    pub(super) connection: MultiplexedConnection,
    health: Arc<Health>,
    answered: bool,
    slot: Arc<Slot>,
}

/// What callers tell of a connection.
#[derive(Debug, Default)]
struct Health {
    broken: Notify,
    /// Somebody waited in vain.
    doubtful: Notify,
}

/// Room for one connection.
#[derive(Debug, Default)]
struct Slot(Mutex<Option<Live>>);

/// A connection, and how it is told to be broken: who waits in vain must not break the one that came after it.
#[derive(Clone, Debug)]
struct Live {
    connection: MultiplexedConnection,
    health: Arc<Health>,
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
            let Live { connection, health } = slot.get()?;
            Some(Borrowed {
                connection,
                health,
                answered: false,
                slot: Arc::clone(slot),
            })
        })
    }
}

// === impl Borrowed ===

impl Borrowed {
    /// The call was answered.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }

    /// Nobody gets this connection any more.
    pub(super) fn give_up(mut self) {
        self.answered = true;
        self.slot.clear(&self.health);
        self.health.broken.notify_one();
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.answered {
            self.health.doubtful.notify_one();
        }
    }
}

// === impl Slot ===

impl Slot {
    fn get(&self) -> Option<Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// By what callers tell how the connection is.
    fn set(&self, connection: MultiplexedConnection) -> Live {
        let live = Live {
            connection,
            health: Arc::default(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(live.clone());
        live
    }

    /// Takes the connection out that this tells of, unless another one is there.
    fn clear(&self, health: &Arc<Health>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_if(|live| Arc::ptr_eq(&live.health, health));
    }
}

/// Keeps a connection in `slot` for ever.
async fn keep(
    slot: Arc<Slot>,
    server: HostPort,
    scripts: Scripts,
    mut first: Option<(Live, Driver)>,
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
            Ok((live, driver)) => {
                if told && speaks {
                    info!(%server, "connected to Redis again");
                }
                tokio::select! {
                    () = driver => {}
                    () = live.health.broken.notified() => {}
                    () = silent(&live) => {}
                }
                slot.clear(&live.health);
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

/// Returns when somebody has waited in vain and the Redis does not answer us either.
async fn silent(live: &Live) {
    loop {
        live.health.doubtful.notified().await;
        let mut connection = live.connection.clone();
        let ping: RedisResult<()> =
            match time::timeout(CONNECT, redis::cmd("PING").exec_async(&mut connection)).await {
                Ok(answer) => answer,
                Err(_) => return,
            };
        if ping.is_err() {
            return;
        }
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
