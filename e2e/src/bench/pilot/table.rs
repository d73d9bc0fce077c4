//! The figures for readers: ours beside those of Istio 1.1.17.

use std::fmt::Write as _;
use std::time::Duration;

use super::ads::{Sent, XdsType};
use super::baseline;
use super::figures::{Figures, Step, Unit, number};
use super::results::{Change, ChangeKind, Restart, Run};
use crate::bench::process::Cost;

/// Width of the names of rows.
const NAME: usize = 44;
/// Width of a figure.
const FIGURE: usize = 11;
/// Width of the names of rows about what was sent.
const EVENT: usize = 28;
/// Width of what was sent of a type.
const SENT: usize = 20;
/// Other work on the machine from which figures are not to be trusted, in cores.
const NOISE: f64 = 0.3;

/// Puts lines together.
#[derive(Debug, Default)]
struct Page(String);

/// All figures of a restart.
pub(crate) fn render_restart(restart: &Restart) -> String {
    let mut page = Page::default();
    page.line(&format!(
        "Pilot killed and started again, {} services, {} clients, {}",
        restart.services,
        restart.clients,
        protocol(restart.delta)
    ));
    let bytes = |bytes| Unit::Bytes.show(number(bytes));
    let rows = [
        ("first time: last client complete", show(restart.connect.last)),
        ("  CPU", show(restart.connect.cost.server)),
        ("  memory", bytes(restart.connect.resident)),
        ("again: ready", show(restart.ready)),
        ("  last client complete", show(restart.served)),
        ("  CPU since the start", show(restart.server_cpu)),
        ("  memory", bytes(restart.resident)),
        ("  peak", bytes(restart.peak)),
        ("streams lost afterwards", restart.dropped.to_string()),
        (
            "responses while nothing happened",
            restart.idle_responses.to_string(),
        ),
    ];
    for (name, value) in rows {
        page.row(name, &[&value], NAME, FIGURE);
    }
    page.0
}

/// All figures of a run.
pub(crate) fn render(run: &Run) -> String {
    let mut page = Page::default();
    page.figures(run);
    page.line("");
    page.sent(run);
    page.line("");
    page.rules(run);
    page.line("");
    page.notes(run);
    page.0
}

// === impl Page ===

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    fn row(&mut self, name: &str, cells: &[&str], name_width: usize, width: usize) {
        let mut row = format!("{name:<name_width$}");
        for cell in cells {
            // Writing to a String does not fail.
            let _ = write!(row, "{cell:>width$}");
        }
        self.line(&row);
    }

    fn figures(&mut self, run: &Run) {
        self.line(&format!(
            "Pilot, {} services, {} clients, {}",
            run.services,
            run.clients,
            protocol(run.delta)
        ));
        self.row("", &["ours", "1.1.17", "less by", "goal"], NAME, FIGURE);
        let ours = Figures::of(run);
        let theirs = baseline::figures(run.services, run.clients);
        let goals = baseline::goals(run.services, run.clients);
        for (row, value) in ours.iter() {
            let show =
                |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| row.unit().show(value));
            let ratio = theirs.get(row).map(|theirs| theirs / value);
            let cells = [
                show(Some(value)),
                show(theirs.get(row)),
                ratio.map_or_else(|| "-".to_owned(), times),
                show(goals.get(row)),
            ];
            self.row(&row.title(), &cells.each_ref().map(String::as_str), NAME, FIGURE);
        }
    }

    /// What one client was sent on each event, by type: resources and bytes.
    fn sent(&mut self, run: &Run) {
        self.row(
            "sent to each client",
            &XdsType::ALL.map(XdsType::short),
            EVENT,
            SENT,
        );
        self.sent_row("connect", &run.connect.sent, f64::from(run.clients));
        for change in &run.changes {
            let events = f64::from(run.clients) * f64::from(change.rounds);
            self.sent_row(Step::from(change.kind).title(), &change.sent, events);
        }
        if let Some(theirs) = baseline::sent(run.services) {
            let cells = theirs.map(|bytes| Unit::Bytes.show(number(bytes)));
            self.row(
                "1.1.17, on each of them",
                &cells.each_ref().map(String::as_str),
                EVENT,
                SENT,
            );
        }
    }

    fn sent_row(&mut self, name: &str, sent: &Sent, events: f64) {
        let cells = XdsType::ALL.map(|xds_type| {
            let index = xds_type as usize;
            let each = |counts: [u64; 4]| number(counts[index]) / events.max(1.0);
            if sent.responses[index] == 0 {
                "-".to_owned()
            } else {
                format!(
                    "{:.0} in {}",
                    each(sent.resources),
                    Unit::Bytes.show(each(sent.bytes))
                )
            }
        });
        self.row(name, &cells.each_ref().map(String::as_str), EVENT, SENT);
    }

    /// The rules that Pilot is built by, as they show in the figures.
    fn rules(&mut self, run: &Run) {
        let change = |kind| run.changes.iter().find(|change| change.kind == kind);
        let cpu = |kind| show(change(kind).map_or(Duration::ZERO, Change::server_cpu));
        self.line(&format!(
            "Endpoints have a path of their own: {} of CPU for one of them, {} for a VirtualService.",
            cpu(ChangeKind::Endpoint),
            cpu(ChangeKind::VirtualService)
        ));
        let [cold, warm] =
            [&run.connect, &run.reconnect].map(|connect| show(connect.cost.server / run.clients.max(1)));
        self.line(&format!(
            "What clients share is made once: {cold} of CPU per client, {warm} when all is made."
        ));
        let types: Vec<String> = run.changes.iter().map(types).collect();
        self.line(&format!(
            "A type is sent when its bytes changed: {}.",
            types.join(", ")
        ));
        if let (Some(stuck), Some(without)) = (&run.stuck, change(ChangeKind::VirtualService)) {
            self.line(&format!(
                "A slow stream lags alone: p99 of the others {} with one that reads nothing, {} without.",
                show(stuck.p99),
                show(without.p99)
            ));
        }
    }

    fn notes(&mut self, run: &Run) {
        self.line("Times of changes include the 100 ms for which both gather changes.");
        if let Some(seconds) = baseline::service_entries_s(run.services) {
            self.line(&format!(
                "Of 1.1.17's CPU for a change, {} is paid by meshes of ServiceEntries only.",
                Unit::Seconds.show(seconds)
            ));
        }
        let steps: Vec<(&str, Cost)> = [
            ("connecting", run.connect.cost),
            ("connecting again", run.reconnect.cost),
        ]
        .into_iter()
        .chain(
            run.changes
                .iter()
                .map(|change| (Step::from(change.kind).title(), change.cost)),
        )
        .collect();
        let client = |(name, cost): &(&str, Cost)| format!("{name} {}", show(cost.client));
        self.line(&format!(
            "CPU of the load tool, on the same cores: {}.",
            steps.iter().map(client).collect::<Vec<_>>().join(", ")
        ));
        let noise: Vec<String> = steps
            .iter()
            .filter(|(_, cost)| cost.other_cores() > NOISE)
            .map(|(name, cost)| format!("{name} {:.1}", cost.other_cores()))
            .collect();
        if !noise.is_empty() {
            self.line(&format!(
                "Times are too long, as other work kept cores busy: {}.",
                noise.join(", ")
            ));
        }
        let sent = run.changes.iter().map(|change| &change.sent);
        let lost: u64 = sent
            .chain([&run.connect.sent, &run.reconnect.sent])
            .map(|sent| sent.lost_streams)
            .sum();
        if lost > 0 {
            self.line(&format!("Streams that were lost and opened again: {lost}."));
        }
    }
}

/// The types that a change sent.
fn types(change: &Change) -> String {
    let sent: Vec<&str> = XdsType::ALL
        .into_iter()
        .filter(|xds_type| change.sent.responses[*xds_type as usize] > 0)
        .map(XdsType::short)
        .collect();
    let sent = if sent.is_empty() {
        "no type".to_owned()
    } else {
        sent.join("+")
    };
    format!("{} {sent}", Step::from(change.kind).title())
}

fn protocol(delta: bool) -> &'static str {
    if delta { "delta" } else { "state of the world" }
}

fn show(duration: Duration) -> String {
    Unit::Seconds.show(duration.as_secs_f64())
}

fn times(ratio: f64) -> String {
    match ratio {
        ratio if !ratio.is_finite() => "-".to_owned(),
        ratio if ratio >= 10.0 => format!("{ratio:.0}x"),
        ratio => format!("{ratio:.1}x"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::results::{Connect, Start};
    use super::*;

    pub(in super::super) fn run(services: u32, clients: u32) -> Run {
        let ms = Duration::from_millis;
        let sent = |responses: [u64; 4]| Sent {
            responses,
            resources: responses,
            bytes: responses.map(|count| count * 1000),
            lost_streams: 0,
        };
        let change = |kind, types: [u64; 4]| Change {
            kind,
            rounds: 2,
            p50: ms(150),
            p99: ms(200),
            last: ms(200),
            cost: Cost {
                server: ms(40),
                ..Cost::default()
            },
            sent: sent(types.map(|responses| responses * u64::from(clients) * 2)),
        };
        let connect = Connect {
            last: ms(570),
            cost: Cost {
                server: ms(u64::from(clients)),
                ..Cost::default()
            },
            sent: sent([u64::from(clients); 4]),
            resident: 50_000_000,
        };
        Run {
            services,
            clients,
            delta: false,
            start: Start {
                ready: ms(270),
                cpu_until_idle: ms(100),
                resident_idle: 20_000_000,
            },
            connect,
            changes: vec![
                change(ChangeKind::VirtualService, [0, 0, 0, 1]),
                change(ChangeKind::Endpoint, [0, 1, 0, 0]),
                change(ChangeKind::Nothing, [0; 4]),
            ],
            reconnect: connect,
            stuck: None,
            storm: None,
            turns: None,
            resident_end: 60_000_000,
            peak: 60_000_000,
        }
    }

    fn cells<'a>(page: &'a str, row: &str) -> Vec<&'a str> {
        let line = page.lines().find_map(|line| line.strip_prefix(row)).unwrap();
        line.split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect()
    }

    #[test]
    fn figures_stand_beside_those_of_the_baseline() {
        let page = render(&run(1000, 100));
        assert_eq!(
            cells(&page, "all connect: last client complete"),
            ["570 ms", "5.70 s", "10x", "-"]
        );
        assert_eq!(
            cells(&page, "  CPU per client"),
            ["1.0 ms", "108 ms", "108x", "3.0 ms"]
        );
        assert_eq!(
            cells(&page, "endpoint changed: p50"),
            ["150 ms", "3.24 s", "22x", "-"]
        );
        assert_eq!(cells(&page, "nothing changed: responses"), ["0", "-", "-", "-"]);
    }

    #[test]
    fn what_was_sent_is_told_by_client_and_event() {
        let page = render(&run(1000, 100));
        let row = |name: &str| {
            page.lines()
                .rev()
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
        };
        assert_eq!(
            row("endpoint changed")
                .split_ascii_whitespace()
                .collect::<Vec<_>>(),
            ["-", "1", "in", "1.0", "kB", "-", "-"]
        );
        assert!(page.contains("VirtualService changed RDS, endpoint changed EDS, nothing changed no type."));
    }

    #[test]
    fn a_mesh_that_was_never_measured_has_no_baseline() {
        let page = render(&run(77, 3));
        assert_eq!(
            cells(&page, "all connect: last client complete"),
            ["570 ms", "-", "-", "-"]
        );
        assert!(!page.contains("1.1.17, on each"));
    }
}
