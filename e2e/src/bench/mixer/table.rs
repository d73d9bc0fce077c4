//! The figures for readers: ours, and in brackets those of Istio 1.1.17.

use std::fmt::Write as _;
use std::time::Duration;

use super::Figures;

const HEAD: &str = "\
| configuration | call | records per call | in flight | calls/s | p50 | p99 | CPU per 1000 records | memory | others, cores |
|---|---|---|---|---|---|---|---|---|---|
";

/// A table of Markdown.
pub(super) fn render(rows: &[Figures]) -> String {
    let mut text = HEAD.to_owned();
    for row in rows {
        let (case, window) = (row.case, &row.window);
        let name = case.name();
        let call = name.split('/').nth(1).unwrap_or_default();
        let before =
            |show: fn(&super::workload::Before) -> f64, digits: usize| match case.before.as_ref().map(show) {
                Some(value) if value.is_finite() && value > 0.0 => format!(" ({value:.digits$})"),
                _ => String::new(),
            };
        let records = as_f64(window.calls()) * as_f64(u64::try_from(case.batch).unwrap_or(u64::MAX));
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "| {} | {call} | {} | {} | {:.0}{} | {:.2} ms{} | {:.2} ms{} | {:.1} ms{} | {} MB{} | {:.1} |",
            case.config,
            case.batch,
            case.in_flight,
            as_f64(window.calls()) / window.cost.wall.as_secs_f64(),
            before(|before| f64::from(before.rate), 0),
            ms(window.p50),
            before(|before| before.p50, 2),
            ms(window.p99),
            before(|before| before.p99, 2),
            ms(window.cost.server) * 1000.0 / records.max(1.0),
            before(|before| before.cpu, 0),
            row.resident / 1_000_000,
            before(|before| f64::from(before.memory), 0),
            window.cost.other_cores(),
        );
    }
    text
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
