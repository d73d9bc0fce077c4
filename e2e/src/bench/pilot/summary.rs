//! Several runs in one table, in the form of `pilot/BENCHMARKS.md`.

use super::baseline;
use super::figures::{ConnectMeasure, Figures, Measure, Row, Step, StormMeasure, TurnsMeasure};
use super::results::Run;

/// A column: its title and the figures that it shows, one after the other.
type Column = (&'static str, &'static [Row]);

const COLUMNS: &[Column] = &[
    (
        "connect: CPU per client",
        &[Row::Connect(ConnectMeasure::CpuPerClient)],
    ),
    (
        "VirtualService changed: p99, CPU",
        &[
            Row::Change(Step::VirtualService, Measure::P99),
            Row::Change(Step::VirtualService, Measure::Cpu),
        ],
    ),
    (
        "endpoint changed: p99, CPU",
        &[
            Row::Change(Step::Endpoint, Measure::P99),
            Row::Change(Step::Endpoint, Measure::Cpu),
        ],
    ),
    (
        "service added: p99, CPU",
        &[
            Row::Change(Step::Service, Measure::P99),
            Row::Change(Step::Service, Measure::Cpu),
        ],
    ),
    ("one stuck: p99", &[Row::Change(Step::Stuck, Measure::P99)]),
    (
        "storm: settled, CPU, memory after",
        &[
            Row::Storm(StormMeasure::Settled),
            Row::Storm(StormMeasure::Cpu),
            Row::Storm(StormMeasure::Memory),
        ],
    ),
    ("all connected", &[Row::Connect(ConnectMeasure::Memory)]),
    ("after the changes, highest", &[Row::MemoryEnd, Row::MemoryPeak]),
];

/// A Markdown table with a line for each run. In brackets: Istio 1.1.17.
pub(crate) fn render(runs: &[Run]) -> String {
    let mut page = String::from("| services | clients | protocol |");
    for (title, _) in COLUMNS {
        page.push_str(&format!(" {title} |"));
    }
    page.push_str(&format!("\n{}|\n", "|---".repeat(COLUMNS.len() + 3)));
    for run in runs {
        let protocol = if run.delta { "delta" } else { "SotW" };
        page.push_str(&format!("| {} | {} | {protocol} |", run.services, run.clients));
        let (ours, theirs) = (Figures::of(run), baseline::figures(run.services, run.clients));
        for (_, rows) in COLUMNS {
            let cells: Vec<String> = rows.iter().map(|&row| cell(&ours, &theirs, row)).collect();
            page.push_str(&format!(" {} |", cells.join(", ")));
        }
        page.push('\n');
    }
    for run in runs {
        if let Some(turns) = &run.turns {
            let figures = Figures::of(run);
            let figure = |measure| cell(&figures, &Figures::default(), Row::Turns(measure));
            page.push_str(&format!(
                "\n{} changes in turn ({} services, {} clients, {}): memory {} before, {} after, {} of CPU for each.\n",
                turns.changes,
                run.services,
                run.clients,
                if run.delta { "delta" } else { "SotW" },
                figure(TurnsMeasure::MemoryBefore),
                figure(TurnsMeasure::MemoryAfter),
                figure(TurnsMeasure::Cpu),
            ));
        }
    }
    page
}

fn cell(ours: &Figures, theirs: &Figures, row: Row) -> String {
    let show = |value| row.unit().show(value);
    match (ours.get(row), theirs.get(row)) {
        (Some(ours), Some(theirs)) => format!("{} ({})", show(ours), show(theirs)),
        (Some(ours), None) => show(ours),
        (None, _) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::run;
    use super::*;

    #[test]
    fn runs_are_lines_of_a_table() {
        let page = render(&[run(1000, 100), run(77, 3)]);
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(lines.len(), 4);
        let cells = |line: &str| line.matches('|').count();
        assert!(lines.iter().all(|line| cells(line) == COLUMNS.len() + 4));
        assert!(
            lines[2].starts_with("| 1000 | 100 | SotW | 1.0 ms (108 ms) | 200 ms (7.11 s), 20.0 ms (12 s) |")
        );
        assert!(lines[3].starts_with("| 77 | 3 | SotW | 1.0 ms | 200 ms, 20.0 ms |"));
    }
}
