//! The scripts that count: one for each algorithm, each call is one step for everybody who shares the Redis.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, Script};

/// Largest number that Lua knows exactly.
pub(super) const LARGEST: i64 = 1 << 53;

/// How grants are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// From the first grant on.
    FixedWindow,
    /// In the last while; grants of a bucket are counted together.
    RollingWindow {
        /// Length of a bucket.
        bucket: Duration,
    },
}

const FIXED_WINDOW: &str = include_str!("fixed_window.lua");
const ROLLING_WINDOW: &str = include_str!("rolling_window.lua");

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Call {
    /// What the counter is called.
    pub key: String,
    /// How it counts.
    pub algorithm: Algorithm,
    /// Most that is granted in a window.
    pub max_amount: i64,
    /// The window.
    pub valid_duration: Duration,
    /// How much; negative gives back.
    pub amount: i64,
    /// A part is welcome.
    pub best_effort: bool,
    /// The same for a call that is made again. Empty: never the same.
    pub deduplication_id: String,
    /// Since any moment; `None`: the clock of the Redis.
    pub now: Option<Duration>,
}

/// What is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How much; of a negative amount, how much was given back.
    pub amount: i64,
    /// What is left of the window.
    pub valid_duration: Duration,
}

/// The scripts.
#[derive(Clone, Debug)]
pub struct Scripts {
    fixed_window: Script,
    rolling_window: Script,
}

// === impl Scripts ===

impl Default for Scripts {
    fn default() -> Self {
        Self {
            fixed_window: Script::new(FIXED_WINDOW),
            rolling_window: Script::new(ROLLING_WINDOW),
        }
    }
}

impl Scripts {
    /// Lets a Redis know them, which says whether it can run them.
    ///
    /// # Errors
    ///
    /// When it cannot, or is gone.
    pub async fn load(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        for (script, text) in [
            (&self.fixed_window, FIXED_WINDOW),
            (&self.rolling_window, ROLLING_WINDOW),
        ] {
            let mut load = redis::cmd("SCRIPT");
            let hash: String = load.arg("LOAD").arg(text).query_async(connection).await?;
            if hash != script.get_hash() {
                let reason = "it knows the script by another name";
                return Err(RedisError::from((ErrorKind::UnexpectedReturnType, reason)));
            }
        }
        Ok(())
    }

    /// Counts. A Redis that has forgotten the script learns it again.
    ///
    /// # Errors
    ///
    /// When the Redis is gone or cannot count.
    pub async fn count(&self, connection: &mut MultiplexedConnection, call: &Call) -> RedisResult<Counted> {
        let (script, bucket) = match call.algorithm {
            Algorithm::FixedWindow => (&self.fixed_window, Duration::ZERO),
            Algorithm::RollingWindow { bucket } => (&self.rolling_window, bucket),
        };
        let key = &call.key;
        let (granted, left): (i64, u64) = script
            .key(format!("{key}.meta"))
            .key(format!("{key}.data"))
            .key(format!("{}-{key}.meta", call.deduplication_id))
            .arg(call.max_amount)
            .arg(micros(call.valid_duration))
            .arg(micros(bucket))
            .arg(call.amount.clamp(-LARGEST, LARGEST))
            .arg(i32::from(call.best_effort))
            .arg(i32::from(!call.deduplication_id.is_empty()))
            .arg(call.now.map(|now| micros(now).to_string()).unwrap_or_default())
            .invoke_async(connection)
            .await?;
        Ok(Counted {
            amount: granted,
            valid_duration: Duration::from_micros(left),
        })
    }
}

/// What Lua can count exactly; the longest duration of protobuf is longer.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros())
        .unwrap_or(u64::MAX)
        .min(LARGEST.unsigned_abs())
}
