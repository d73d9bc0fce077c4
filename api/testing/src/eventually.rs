//! Waiting for a condition.

use std::fmt;
use std::time::Duration;

use tokio::time::{self, Instant};

/// Between the first attempts; later ones are further apart.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A condition that did not come true in time.
///
/// Shows the same text as an error and in a panic, so a test may unwrap it.
#[derive(Clone, PartialEq, Eq)]
pub struct NotYet {
    /// How long it was waited for.
    pub timeout: Duration,
    /// Why the last attempt failed.
    pub last: String,
}

/// Tries until an attempt succeeds, and says why the last one failed if none does within `timeout`.
///
/// An attempt that is under way when the time is up is given up.
///
/// # Errors
///
/// [`NotYet`] when the time is up.
pub async fn eventually<T, E: fmt::Display>(
    timeout: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, NotYet> {
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    let mut last = "the first attempt did not end".to_owned();
    loop {
        match time::timeout_at(deadline, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => return Err(NotYet { timeout, last }),
        }
        if Instant::now() + pause > deadline {
            return Err(NotYet { timeout, last });
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

// === impl NotYet ===

impl fmt::Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not within {:?}: {}", self.timeout, self.last)
    }
}

impl fmt::Debug for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for NotYet {}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_success_ends_the_wait() {
        let mut attempts = 0;
        let value = eventually(Duration::from_secs(5), async || {
            attempts += 1;
            if attempts < 4 {
                Err(format!("attempt {attempts}"))
            } else {
                Ok(attempts)
            }
        })
        .await;
        assert_eq!(value.unwrap(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_failure_is_told() {
        let result: Result<(), _> = eventually(Duration::from_secs(1), async || Err("503")).await;
        assert_eq!(result.unwrap_err().to_string(), "not within 1s: 503");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_given_up() {
        let result = eventually(Duration::from_secs(1), async || {
            pending::<Result<(), String>>().await
        })
        .await;
        assert_eq!(
            format!("{:?}", result.unwrap_err()),
            "not within 1s: the first attempt did not end"
        );
    }
}
