//! The figures for readers: ours beside those of Istio 1.1.17.

use std::fmt::Write as _;
use std::time::Duration;

use super::ads::{Sent, XdsType};
use super::baseline;
use super::results::{Change, ChangeKind, Connect, Run};

/// Width of the names of rows.
const NAME: usize = 44;
/// Width of a figure.
const FIGURE: usize = 12;
/// Width of what was sent of a type.
const CELL: usize = 20;
/// Other work on the machine from which figures are not to be trusted, in cores.
const NOISE: f64 = 0.3;

/// A figure with its unit.
#[derive(Clone, Copy, Debug)]
enum Figure {
    Seconds(f64),
    Bytes(f64),
}

#[derive(Debug, Default)]
struct Table {
    text: String,
}

/// All figures of a run.
pub(crate) fn render(run: &Run) -> String {
    let mut table = Table::default();
    table.head(run);
    table.start(run);
    table.connect(run);
    for change in &run.changes {
        table.change(run, change, change.kind.title());
    }
    if let Some(stuck) = &run.stuck {
        table.change(run, stuck, "the same while one client reads nothing");
    }
    table.storm(run);
    table.memory(run);
    table.sent(run);
    table.rules(run);
    table.notes(run);
    table.text
}

// === impl Table ===

impl Table {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn row(&mut self, name: &str, ours: Figure, theirs: Option<Figure>) {
        let (theirs, ratio) = match theirs {
            None => ("-".to_owned(), "-".to_owned()),
            Some(theirs) => (theirs.show(), ratio(theirs.value() / ours.value())),
        };
        let ours = ours.show();
        self.line(&format!(
            "{name:<NAME$}{ours:>FIGURE$}{theirs:>FIGURE$}{ratio:>FIGURE$}"
        ));
    }

    fn head(&mut self, run: &Run) {
        let protocol = if run.delta { "delta" } else { "state of the world" };
        self.line(&format!(
            "Pilot, {} services, {} clients, {protocol}",
            run.services, run.clients
        ));
        let (ours, theirs, ratio) = ("ours", "1.1.17", "ratio");
        self.line(&format!(
            "{:<NAME$}{ours:>FIGURE$}{theirs:>FIGURE$}{ratio:>FIGURE$}",
            ""
        ));
    }

    fn start(&mut self, run: &Run) {
        let theirs = baseline::start(run.services);
        let bytes = |bytes: u64| Figure::Bytes(number(bytes));
        self.row(
            "start: ready after",
            run.start.ready.into(),
            theirs.map(|theirs| Figure::Seconds(theirs.ready_s)),
        );
        self.row(
            "  CPU until idle",
            run.start.cpu_until_idle.into(),
            theirs.map(|theirs| Figure::Seconds(theirs.cpu_until_idle_s)),
        );
        self.row(
            "  memory when idle",
            bytes(run.start.resident_idle),
            theirs.map(|theirs| Figure::megabytes(theirs.resident_mb)),
        );
        self.row(
            "configuration of one client",
            Figure::Bytes(number(run.connect.sent.total_bytes()) / f64::from(run.clients.max(1))),
            theirs.map(|theirs| bytes(theirs.bytes.iter().sum())),
        );
    }

    fn connect(&mut self, run: &Run) {
        let theirs = baseline::connect(run.services, run.clients);
        let per_client = |connect: &Connect| (connect.cost.server / run.clients.max(1)).into();
        for (name, connect) in [
            ("all connect: last complete", &run.connect),
            ("all connect again: last complete", &run.reconnect),
        ] {
            self.row(
                name,
                connect.last.into(),
                theirs.map(|theirs| Figure::Seconds(theirs.last_s)),
            );
            self.row(
                "  CPU per client",
                per_client(connect),
                theirs.map(|theirs| Figure::Seconds(theirs.cpu_per_client_ms / 1e3)),
            );
            self.row(
                "  memory",
                Figure::Bytes(number(connect.resident)),
                theirs.map(|theirs| Figure::megabytes(theirs.resident_mb)),
            );
        }
    }

    fn change(&mut self, run: &Run, change: &Change, title: &str) {
        let theirs = baseline::change(run.services, run.clients, change.kind);
        if change.kind != ChangeKind::Nothing {
            let ms = |value: f64| Figure::Seconds(value / 1e3);
            self.row(
                &format!("{title}: p50"),
                change.p50.into(),
                theirs.map(|theirs| ms(theirs.p50_ms)),
            );
            self.row("  p99", change.p99.into(), theirs.map(|theirs| ms(theirs.p99_ms)));
            self.row(
                "  last client",
                change.last.into(),
                theirs.map(|theirs| ms(theirs.last_ms)),
            );
        } else {
            self.line(&format!(
                "{title}: {} responses",
                change.sent.responses.iter().sum::<u64>()
            ));
        }
        self.row(
            "  CPU",
            change.server_cpu().into(),
            theirs.map(|theirs| Figure::Seconds(theirs.cpu_s)),
        );
    }

    fn storm(&mut self, run: &Run) {
        let Some(storm) = &run.storm else { return };
        self.row(
            &format!("storm of {} changes: settled after", storm.changes),
            storm.settled.into(),
            None,
        );
        self.row("  CPU", storm.cost.server.into(), None);
        let responses = number(storm.sent.responses.iter().sum());
        let per_client = responses / f64::from(run.clients.max(1));
        self.line(&format!(
            "{:<NAME$}{per_client:>FIGURE$.1}",
            "  responses to each client"
        ));
        self.row("  peak memory", Figure::Bytes(number(storm.peak)), None);
    }

    fn memory(&mut self, run: &Run) {
        let theirs = baseline::memory(run.services, run.clients);
        self.row(
            "memory after the changes",
            Figure::Bytes(number(run.resident_end)),
            theirs.map(|theirs| Figure::megabytes(theirs.end_mb)),
        );
        self.row(
            "  peak",
            Figure::Bytes(number(run.peak)),
            theirs.map(|theirs| Figure::megabytes(theirs.peak_mb)),
        );
    }

    fn sent(&mut self, run: &Run) {
        self.line("");
        let mut head = format!("{:<28}", "sent to each client");
        for xds_type in XdsType::ALL {
            let _ = write!(head, "{:>CELL$}", xds_type.short());
        }
        self.line(&head);
        self.sent_row("connect", &run.connect.sent, f64::from(run.clients));
        if let Some(theirs) = baseline::start(run.services) {
            let mut row = format!("{:<28}", "  1.1.17, also each change");
            for bytes in theirs.bytes {
                let _ = write!(row, "{:>CELL$}", Figure::Bytes(number(bytes)).show());
            }
            self.line(&row);
        }
        for change in &run.changes {
            let events = f64::from(run.clients) * f64::from(change.rounds);
            self.sent_row(change.kind.title(), &change.sent, events);
        }
    }

    fn sent_row(&mut self, name: &str, sent: &Sent, events: f64) {
        let mut row = format!("{name:<28}");
        for xds_type in XdsType::ALL {
            let index = xds_type as usize;
            let each = |counts: [u64; 4]| number(counts[index]) / events.max(1.0);
            let cell = if sent.responses[index] == 0 {
                "-".to_owned()
            } else {
                let bytes = Figure::Bytes(each(sent.bytes)).show();
                format!("{:.0} in {bytes}", each(sent.resources))
            };
            let _ = write!(row, "{cell:>CELL$}");
        }
        self.line(&row);
    }

    /// The rules that Pilot is built by, as they show in the figures.
    fn rules(&mut self, run: &Run) {
        let change = |kind| run.changes.iter().find(|change| change.kind == kind);
        self.line("");
        if let (Some(rules), Some(endpoint)) =
            (change(ChangeKind::VirtualService), change(ChangeKind::Endpoint))
        {
            self.line(&format!(
                "endpoints have a path of their own: {} of CPU for one, {} for a VirtualService",
                show(endpoint.server_cpu()),
                show(rules.server_cpu())
            ));
        }
        let [cold, warm] = [&run.connect, &run.reconnect].map(|connect| connect.cost.server);
        self.line(&format!(
            "what clients share is made once: {} of CPU for all at first, {} when all come back",
            show(cold),
            show(warm)
        ));
        let types: Vec<String> = run
            .changes
            .iter()
            .map(|change| {
                let sent = XdsType::ALL
                    .into_iter()
                    .filter(|xds_type| change.sent.responses[*xds_type as usize] > 0)
                    .map(XdsType::short);
                let sent: Vec<_> = sent.collect();
                let sent = if sent.is_empty() {
                    "nothing".to_owned()
                } else {
                    sent.join("+")
                };
                format!("{}: {sent}", change.kind.title())
            })
            .collect();
        self.line(&format!("only what changed is sent: {}", types.join(", ")));
        if let (Some(stuck), Some(without)) = (&run.stuck, change(ChangeKind::VirtualService)) {
            self.line(&format!(
                "a slow stream lags alone: p99 of the others {} while one reads nothing, {} without it",
                show(stuck.p99),
                show(without.p99)
            ));
        }
    }

    fn notes(&mut self, run: &Run) {
        self.line("");
        self.line("Times of changes include 100 ms for which both gather changes.");
        if let Some(seconds) = baseline::service_entries_s(run.services) {
            self.line(&format!(
                "Of 1.1.17's CPU for a change, {} is paid by meshes of ServiceEntries only.",
                Figure::Seconds(seconds).show()
            ));
        }
        let steps: Vec<_> = [("connecting", run.connect.cost), ("connecting again", run.reconnect.cost)]
            .into_iter()
            .chain(run.changes.iter().map(|change| (change.kind.title(), change.cost)))
            .collect();
        let tool: Vec<_> = steps
            .iter()
            .map(|(name, cost)| format!("{name} {}", show(cost.client)))
            .collect();
        self.line(&format!("CPU of the load tool on the same cores: {}.", tool.join(", ")));
        let noisy: Vec<_> = steps
            .iter()
            .filter(|(_, cost)| cost.other_cores() > NOISE)
            .map(|(name, cost)| format!("{name} {:.1}", cost.other_cores()))
            .collect();
        if !noisy.is_empty() {
            self.line(&format!(
                "Not to be trusted, as other work kept cores busy meanwhile: {}.",
                noisy.join(", ")
            ));
        }
        let lost = run.connect.sent.lost_streams
            + run.reconnect.sent.lost_streams
            + run
                .changes
                .iter()
                .map(|change| change.sent.lost_streams)
                .sum::<u64>();
        if lost > 0 {
            self.line(&format!("Streams that were lost and opened again: {lost}."));
        }
    }
}

// === impl Figure ===

impl Figure {
    fn megabytes(value: f64) -> Self {
        Self::Bytes(value * 1e6)
    }

    fn value(self) -> f64 {
        match self {
            Self::Seconds(value) | Self::Bytes(value) => value,
        }
    }

    fn show(self) -> String {
        match self {
            Self::Seconds(s) if s >= 10.0 => format!("{s:.0} s"),
            Self::Seconds(s) if s >= 1.0 => format!("{s:.2} s"),
            Self::Seconds(s) if s >= 0.1 => format!("{:.0} ms", s * 1e3),
            Self::Seconds(s) => format!("{:.1} ms", s * 1e3),
            Self::Bytes(b) if b >= 1e9 => format!("{:.2} GB", b / 1e9),
            Self::Bytes(b) if b >= 1e7 => format!("{:.0} MB", b / 1e6),
            Self::Bytes(b) if b >= 1e6 => format!("{:.2} MB", b / 1e6),
            Self::Bytes(b) if b >= 1e3 => format!("{:.1} kB", b / 1e3),
            Self::Bytes(b) => format!("{b:.0} B"),
        }
    }
}

impl From<Duration> for Figure {
    fn from(duration: Duration) -> Self {
        Self::Seconds(duration.as_secs_f64())
    }
}

fn show(duration: Duration) -> String {
    Figure::from(duration).show()
}

fn ratio(ratio: f64) -> String {
    match ratio {
        ratio if !ratio.is_finite() => "-".to_owned(),
        ratio if ratio >= 10.0 => format!("{ratio:.0}x"),
        ratio => format!("{ratio:.1}x"),
    }
}

#[allow(clippy::cast_precision_loss, reason = "a figure to look at")]
fn number(count: u64) -> f64 {
    count as f64
}
