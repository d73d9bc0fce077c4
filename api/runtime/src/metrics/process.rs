//! The `process_*` metrics that Prometheus clients of every language show, read from `/proc/self`.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

/// Ticks per second in `/proc`: fixed in the kernel's interface on every supported architecture.
const USER_HZ: f64 = 100.0;

/// Reads `/proc/self` each time metrics are collected; a value that cannot be read is left out.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    descs: Vec<Desc>,
}

/// One reading; `None` for what the system does not tell.
#[derive(Debug, Default, PartialEq)]
struct Reading {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    start_seconds: Option<f64>,
}

const CPU: (&str, &str) = (
    "process_cpu_seconds_total",
    "Total user and system CPU time spent in seconds.",
);
const RESIDENT: (&str, &str) = ("process_resident_memory_bytes", "Resident memory size in bytes.");
const VIRTUAL: (&str, &str) = ("process_virtual_memory_bytes", "Virtual memory size in bytes.");
const OPEN_FDS: (&str, &str) = ("process_open_fds", "Number of open file descriptors.");
const MAX_FDS: (&str, &str) = ("process_max_fds", "Maximum number of open file descriptors.");
const START: (&str, &str) = (
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
);

// === impl ProcessCollector ===

impl Default for ProcessCollector {
    fn default() -> Self {
        let descs = [CPU, RESIDENT, VIRTUAL, OPEN_FDS, MAX_FDS, START]
            .into_iter()
            .filter_map(|(name, help)| Desc::new(name.to_owned(), help.to_owned(), vec![], [].into()).ok())
            .collect();
        Self { descs }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let reading = Reading::of_this_process();
        let gauges = [
            (RESIDENT, reading.resident_bytes),
            (VIRTUAL, reading.virtual_bytes),
            (OPEN_FDS, reading.open_fds),
            (MAX_FDS, reading.max_fds),
            (START, reading.start_seconds),
        ];
        let cpu = reading.cpu_seconds.and_then(|seconds| {
            let counter = Counter::new(CPU.0, CPU.1).ok()?;
            counter.inc_by(seconds);
            Some(counter.collect())
        });
        let gauges = gauges.into_iter().filter_map(|((name, help), value)| {
            let gauge = Gauge::new(name, help).ok()?;
            gauge.set(value?);
            Some(gauge.collect())
        });
        cpu.into_iter().chain(gauges).flatten().collect()
    }
}

// === impl Reading ===

impl Reading {
    fn of_this_process() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut reading = Self::parse(
            &read("/proc/self/stat"),
            &read("/proc/self/status"),
            &read("/proc/self/limits"),
            &read("/proc/stat"),
        );
        reading.open_fds = fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| entries.count() as f64);
        reading
    }

    fn parse(stat: &str, status: &str, limits: &str, system_stat: &str) -> Self {
        // The second field is the command in parentheses and may itself hold spaces and parentheses.
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split_ascii_whitespace().collect())
            .unwrap_or_default();
        // `fields[0]` is field 3 of proc(5).
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let seconds = |field: usize| ticks(field).map(|ticks| ticks / USER_HZ);
        let kilobytes = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            value
                .trim()
                .strip_suffix(" kB")?
                .parse::<f64>()
                .ok()
                .map(|value| value * 1024.0)
        };
        let boot = system_stat
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        let max_fds = limits.lines().find_map(|line| {
            line.strip_prefix("Max open files")?
                .split_ascii_whitespace()
                .next()?
                .parse()
                .ok()
        });
        Self {
            cpu_seconds: seconds(14).zip(seconds(15)).map(|(user, system)| user + system),
            resident_bytes: kilobytes("VmRSS:"),
            virtual_bytes: kilobytes("VmSize:"),
            open_fds: None,
            max_fds,
            start_seconds: boot.zip(seconds(22)).map(|(boot, since)| boot + since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc_are_read_field_by_field() {
        let stat = "42 (odd) name) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 2000 1000 5";
        let status = "Name:\todd\nVmSize:\t    2048 kB\nVmRSS:\t     512 kB\n";
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024     4096     files\n";
        let reading = Reading::parse(stat, status, limits, "cpu 1 2\nbtime 1700000000\n");
        assert_eq!(
            reading,
            Reading {
                cpu_seconds: Some(2.0),
                resident_bytes: Some(524_288.0),
                virtual_bytes: Some(2_097_152.0),
                open_fds: None,
                max_fds: Some(1024.0),
                start_seconds: Some(1_700_000_020.0),
            }
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(
            Reading::parse("", "garbage", "Max open files unlimited", "btime x"),
            Reading::default()
        );
    }
}
