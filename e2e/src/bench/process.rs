//! What processes cost, read from `/proc`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Length of a tick in `/proc`: fixed in the kernel's interface on every supported architecture.
const TICK: Duration = Duration::from_millis(10);

/// Fields of `/proc/PID/stat` between the command and `utime`.
const FIELDS_BEFORE_UTIME: usize = 11;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Resident memory now, in bytes.
    pub(crate) resident: u64,
    /// The most resident memory so far, in bytes.
    pub(crate) peak: u64,
}

/// Measures a span of time: what a server, we and all others used.
#[derive(Debug)]
pub(crate) struct Meter {
    server: u32,
    start: Sample,
}

/// What a span of time cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// How long it was.
    pub(crate) wall: Duration,
    /// CPU time of the server.
    pub(crate) server: Duration,
    /// CPU time of this process.
    pub(crate) client: Duration,
    /// CPU time of everything else on the machine.
    pub(crate) others: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    server: Duration,
    client: Duration,
    machine: Duration,
}

// === impl Usage ===

impl Usage {
    /// What a process has used.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = read(&format!("/proc/{pid}/status"))?;
        Ok(Self {
            cpu: cpu(&pid.to_string())?,
            resident: kib(&status, "VmRSS:") * 1024,
            peak: kib(&status, "VmHWM:") * 1024,
        })
    }
}

// === impl Meter ===

impl Meter {
    /// Starts measuring.
    pub(crate) fn start(server: u32) -> Result<Self> {
        let start = Sample::take(server)?;
        Ok(Self { server, start })
    }

    /// The cost since the start.
    pub(crate) fn cost(&self) -> Result<Cost> {
        let now = Sample::take(self.server)?;
        let server = now.server.saturating_sub(self.start.server);
        let client = now.client.saturating_sub(self.start.client);
        let machine = now.machine.saturating_sub(self.start.machine);
        Ok(Cost {
            wall: now.at.duration_since(self.start.at),
            server,
            client,
            others: machine.saturating_sub(server + client),
        })
    }
}

// === impl Cost ===

impl Cost {
    /// How many cores others kept busy.
    pub(crate) fn other_cores(&self) -> f64 {
        self.others.as_secs_f64() / self.wall.as_secs_f64().max(f64::EPSILON)
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.wall += other.wall;
        self.server += other.server;
        self.client += other.client;
        self.others += other.others;
    }
}

// === impl Sample ===

impl Sample {
    fn take(server: u32) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            server: cpu(&server.to_string())?,
            client: cpu("self")?,
            machine: busy(&read("/proc/stat")?),
        })
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

fn cpu(process: &str) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    process_cpu(&read(&path)?).with_context(|| format!("{path} has no CPU time"))
}

/// User and system time in `/proc/PID/stat`. The kernel scales both to the exact run time, so their sum is exact to
/// a tick however short the process ran at a time.
fn process_cpu(stat: &str) -> Option<Duration> {
    // The command may hold anything but ends at the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(FIELDS_BEFORE_UTIME);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}

/// The time in `/proc/stat` that all cores together did not idle or wait.
fn busy(stat: &str) -> Duration {
    let mut fields = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1);
    let mut tick = || -> u64 {
        fields
            .next()
            .and_then(|field| field.parse().ok())
            .unwrap_or_default()
    };
    let (user, nice, system) = (tick(), tick(), tick());
    let (_idle, _iowait) = (tick(), tick());
    let (irq, softirq, steal) = (tick(), tick(), tick());
    let ticks = user + nice + system + irq + softirq + steal;
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// A value of `/proc/PID/status` in KiB; zero when it is missing.
fn kib(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_a_command_with_blanks_and_parentheses() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 120 30 13 14 15";
        assert_eq!(process_cpu(stat), Some(Duration::from_millis(1500)));
        assert_eq!(process_cpu("7 (a) S 1"), None);
    }

    #[test]
    fn the_machine_is_busy_when_it_neither_idles_nor_waits() {
        let stat = "cpu  100 10 20 5000 70 1 2 3 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(busy(stat), Duration::from_millis(1360));
    }

    #[test]
    fn memory_is_read_by_name() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(
            (kib(status, "VmRSS:"), kib(status, "VmHWM:"), kib(status, "VmX:")),
            (1024, 2048, 0)
        );
    }

    #[test]
    fn this_process_is_measured() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident > 0 && usage.peak >= usage.resident);
        let meter = Meter::start(std::process::id()).unwrap();
        assert!(meter.cost().unwrap().other_cores() >= 0.0);
        assert!(Usage::of(u32::MAX).is_err());
    }
}
