//! The figures that are compared: the same rows for what we measured, for Istio 1.1.17 and for our goals.

use std::collections::BTreeMap;
use std::time::Duration;

use super::results::{Change, ChangeKind, Connect, Run};

/// What a figure says. The order is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    /// From the start of the server until it is ready.
    Ready,
    /// CPU time until it has nothing more to do.
    CpuUntilIdle,
    MemoryIdle,
    /// Size of what one client gets.
    Configuration,
    /// When all connect at once.
    Connect(ConnectMeasure),
    Change(Step, Measure),
    /// After the changes.
    MemoryEnd,
    MemoryPeak,
    Storm(StormMeasure),
    Turns(TurnsMeasure),
    /// When the same clients connect again: nothing that they share is made anew.
    Reconnect(ConnectMeasure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConnectMeasure {
    /// When the last client has its configuration.
    Last,
    /// Server CPU time for one of them.
    CpuPerClient,
    Memory,
}

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    VirtualService,
    Endpoint,
    Service,
    Nothing,
    /// A VirtualService, while one client reads nothing.
    Stuck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    P50,
    P99,
    Last,
    /// Responses to all clients together.
    Responses,
    /// Server CPU time for one change.
    Cpu,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StormMeasure {
    /// From the last change until all have it.
    Settled,
    Cpu,
    ResponsesPerClient,
    /// When all have everything.
    Memory,
    MemoryPeak,
}

/// What is measured of changes one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TurnsMeasure {
    MemoryBefore,
    MemoryAfter,
    /// Server CPU time for one change.
    Cpu,
}

/// How a figure is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    Count,
}

/// Figures by row, in seconds, bytes or pieces.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures(BTreeMap<Row, f64>);

// === impl Row ===

impl Row {
    /// What the table calls it.
    pub(crate) fn title(self) -> String {
        let connect = |first: &str, measure| match measure {
            ConnectMeasure::Last => format!("{first}: last client complete"),
            ConnectMeasure::CpuPerClient => "  CPU per client".to_owned(),
            ConnectMeasure::Memory => "  memory".to_owned(),
        };
        match self {
            Self::Ready => "start: ready".to_owned(),
            Self::CpuUntilIdle => "  CPU until idle".to_owned(),
            Self::MemoryIdle => "  memory when idle".to_owned(),
            Self::Configuration => "configuration of one client".to_owned(),
            Self::Connect(measure) => connect("all connect", measure),
            Self::Reconnect(measure) => connect("all connect again", measure),
            Self::Change(Step::Nothing, Measure::Responses) => {
                format!("{}: responses", Step::Nothing.title())
            }
            Self::Change(step, Measure::P50) => format!("{}: p50", step.title()),
            Self::Change(_, Measure::P99) => "  p99".to_owned(),
            Self::Change(_, Measure::Last) => "  last client".to_owned(),
            Self::Change(_, Measure::Responses) => "  responses".to_owned(),
            Self::Change(_, Measure::Cpu) | Self::Storm(StormMeasure::Cpu) => "  CPU".to_owned(),
            Self::Turns(TurnsMeasure::MemoryBefore) => "changes in turn: memory before".to_owned(),
            Self::Turns(TurnsMeasure::MemoryAfter) => "  memory after".to_owned(),
            Self::Turns(TurnsMeasure::Cpu) => "  CPU per change".to_owned(),
            Self::Storm(StormMeasure::Memory) => "  memory".to_owned(),
            Self::MemoryEnd => "memory after the changes".to_owned(),
            Self::MemoryPeak => "  peak".to_owned(),
            Self::Storm(StormMeasure::Settled) => "storm of changes: settled".to_owned(),
            Self::Storm(StormMeasure::ResponsesPerClient) => "  responses per client".to_owned(),
            Self::Storm(StormMeasure::MemoryPeak) => "  peak memory".to_owned(),
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Ready
            | Self::CpuUntilIdle
            | Self::Connect(ConnectMeasure::Last | ConnectMeasure::CpuPerClient)
            | Self::Reconnect(ConnectMeasure::Last | ConnectMeasure::CpuPerClient)
            | Self::Change(_, Measure::P50 | Measure::P99 | Measure::Last | Measure::Cpu)
            | Self::Turns(TurnsMeasure::Cpu)
            | Self::Storm(StormMeasure::Settled | StormMeasure::Cpu) => Unit::Seconds,
            Self::MemoryIdle
            | Self::Configuration
            | Self::Connect(ConnectMeasure::Memory)
            | Self::Reconnect(ConnectMeasure::Memory)
            | Self::MemoryEnd
            | Self::MemoryPeak
            | Self::Turns(TurnsMeasure::MemoryBefore | TurnsMeasure::MemoryAfter)
            | Self::Storm(StormMeasure::Memory | StormMeasure::MemoryPeak) => Unit::Bytes,
            Self::Change(_, Measure::Responses) | Self::Storm(StormMeasure::ResponsesPerClient) => {
                Unit::Count
            }
        }
    }
}

// === impl Step ===

impl Step {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::VirtualService => "VirtualService changed",
            Self::Endpoint => "endpoint changed",
            Self::Service => "service added",
            Self::Nothing => "nothing changed",
            Self::Stuck => "VirtualService changed, one client stuck",
        }
    }
}

impl From<ChangeKind> for Step {
    fn from(kind: ChangeKind) -> Self {
        match kind {
            ChangeKind::VirtualService => Self::VirtualService,
            ChangeKind::Endpoint => Self::Endpoint,
            ChangeKind::Service => Self::Service,
            ChangeKind::Nothing => Self::Nothing,
        }
    }
}

// === impl Unit ===

impl Unit {
    /// A value with its unit.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value >= 10.0 => format!("{value:.0} s"),
            Self::Seconds if value >= 1.0 => format!("{value:.2} s"),
            Self::Seconds if value >= 0.1 => format!("{:.0} ms", value * 1e3),
            Self::Seconds => format!("{:.1} ms", value * 1e3),
            Self::Bytes if value >= 1e9 => format!("{:.2} GB", value / 1e9),
            Self::Bytes if value >= 1e7 => format!("{:.0} MB", value / 1e6),
            Self::Bytes if value >= 1e6 => format!("{:.2} MB", value / 1e6),
            Self::Bytes if value >= 1e3 => format!("{:.1} kB", value / 1e3),
            Self::Bytes => format!("{value:.0} B"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

// === impl Figures ===

impl Figures {
    /// The figures of a run.
    pub(crate) fn of(run: &Run) -> Self {
        let mut figures = Self::default();
        let clients = f64::from(run.clients.max(1));
        figures.set(Row::Ready, run.start.ready.as_secs_f64());
        figures.set(Row::CpuUntilIdle, run.start.cpu_until_idle.as_secs_f64());
        figures.set(Row::MemoryIdle, number(run.start.resident_idle));
        figures.set(
            Row::Configuration,
            number(run.connect.sent.total_bytes()) / clients,
        );
        figures.set_connect(Row::Connect, &run.connect, run.clients);
        figures.set_connect(Row::Reconnect, &run.reconnect, run.clients);
        for change in &run.changes {
            figures.set_change(change.kind.into(), change);
        }
        if let Some(stuck) = &run.stuck {
            figures.set_change(Step::Stuck, stuck);
        }
        if let Some(storm) = &run.storm {
            let mut set = |measure, value| figures.set(Row::Storm(measure), value);
            set(StormMeasure::Settled, storm.settled.as_secs_f64());
            set(StormMeasure::Cpu, storm.cost.server.as_secs_f64());
            let responses = number(storm.sent.responses.iter().sum());
            set(StormMeasure::ResponsesPerClient, responses / clients);
            set(StormMeasure::Memory, number(storm.resident));
            set(StormMeasure::MemoryPeak, number(storm.peak));
        }
        if let Some(turns) = &run.turns {
            let mut set = |measure, value| figures.set(Row::Turns(measure), value);
            set(TurnsMeasure::MemoryBefore, number(turns.resident_before));
            set(TurnsMeasure::MemoryAfter, number(turns.resident_after));
            let cpu = turns.cost.server / turns.changes.max(1);
            set(TurnsMeasure::Cpu, cpu.as_secs_f64());
        }
        figures.set(Row::MemoryEnd, number(run.resident_end));
        figures.set(Row::MemoryPeak, number(run.peak));
        figures
    }

    /// The figure of a row.
    pub(crate) fn get(&self, row: Row) -> Option<f64> {
        self.0.get(&row).copied()
    }

    /// All figures, in the order of the table.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Row, f64)> {
        self.0.iter().map(|(row, value)| (*row, *value))
    }

    pub(crate) fn set(&mut self, row: Row, value: f64) {
        self.0.insert(row, value);
    }

    fn set_connect(&mut self, row: impl Fn(ConnectMeasure) -> Row, connect: &Connect, clients: u32) {
        let cpu = connect.cost.server / clients.max(1);
        self.set(row(ConnectMeasure::Last), connect.last.as_secs_f64());
        self.set(row(ConnectMeasure::CpuPerClient), cpu.as_secs_f64());
        self.set(row(ConnectMeasure::Memory), number(connect.resident));
    }

    fn set_change(&mut self, step: Step, change: &Change) {
        let mut set =
            |measure, duration: Duration| self.set(Row::Change(step, measure), duration.as_secs_f64());
        set(Measure::Cpu, change.server_cpu());
        if step == Step::Nothing {
            let responses = number(change.sent.responses.iter().sum());
            self.set(Row::Change(step, Measure::Responses), responses);
        } else {
            set(Measure::P50, change.p50);
            set(Measure::P99, change.p99);
            set(Measure::Last, change.last);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a figure to look at")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}
