//! Targets of fuzzing: rounds that can be repeated, and what becomes of good input on its way.
//!
//! | variable | what it changes |
//! |---|---|
//! | `FUZZ_SECONDS` | how long a target goes on; it then tells how many rounds that were, and what they cost |
//! | `FUZZ_FROM` | the first round, as failures name it |

mod bytes;
mod text;

use std::cell::Cell;
use std::env;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use crate::objects::Choices;

pub use self::bytes::{damaged, message_changed, string};
pub use self::text::{ODDITIES, changed};

/// How long a target goes on in an ordinary run of the tests.
const PATIENCE: Duration = Duration::from_secs(3);

/// A round that takes longer than this, in time of the processor, is told: somebody may find worse.
const SLOW: Duration = Duration::from_secs(1);

/// Does something with the choices of each round until the time is over. One round is done in any case.
///
/// # Errors
///
/// The round that panicked; it repeats with `FUZZ_FROM`.
pub fn rounds(target: &str, mut each: impl FnMut(&mut Choices<'_>)) -> Result<(), String> {
    let asked = number("FUZZ_SECONDS");
    let patience = asked.map_or(PATIENCE, Duration::from_secs);
    let first = number("FUZZ_FROM").unwrap_or(0);
    let began = Instant::now();
    let memory = peak_memory();
    let mut slowest = (Duration::ZERO, first);
    let mut round = first;
    loop {
        let before = processor_time();
        if catch_unwind(AssertUnwindSafe(|| each(&mut Choices::seeded(round)))).is_err() {
            return Err(format!("{target}: round {round} panics"));
        }
        let took = processor_time().saturating_sub(before);
        if asked.is_some() && took > SLOW {
            eprintln!("{target}: round {round} took {took:?}");
        }
        slowest = slowest.max((took, round));
        round += 1;
        if began.elapsed() >= patience {
            break;
        }
    }
    if asked.is_some() {
        let (took, slow) = slowest;
        let grown = peak_memory().saturating_sub(memory) / 1024;
        eprintln!(
            "{target}: {} rounds from {first}; round {slow} took longest, {took:?}; {grown} MiB more than before",
            round - first
        );
    }
    Ok(())
}

/// How many panics there were on this thread since this was first called, those that somebody caught among them.
pub fn panics() -> u64 {
    thread_local! {
        static PANICS: Cell<u64> = const { Cell::new(0) };
    }
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
    PANICS.get()
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// What this thread has used of processors: other programs on the machine do not count.
fn processor_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else {
        return Duration::ZERO;
    };
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    let micros = micros(usage.user_time()) + micros(usage.system_time());
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

/// The largest memory that this process ever had, in KiB.
fn peak_memory() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF);
    usage
        .ok()
        .and_then(|usage| u64::try_from(usage.max_rss()).ok())
        .unwrap_or_default()
}
