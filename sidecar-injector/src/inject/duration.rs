//! Durations the way Go prints them, because the agent's flags were defined by Go's parser.

use std::time::Duration;

/// `45s`, `1m0s`, `1h0m0s`, `1.5s`, `80ms`, `0s` (INJ-35, `formatDuration`).
pub(super) fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (unit, scale) = match nanos {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(nanos, scale));
    }
    let minutes = duration.as_secs() / 60;
    let seconds = decimal(nanos - u128::from(minutes) * 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / scale` without trailing zeros.
fn decimal(value: u128, scale: u128) -> String {
    let fraction = value % scale;
    if fraction == 0 {
        return (value / scale).to_string();
    }
    let width = scale.ilog10() as usize;
    format!(
        "{}.{}",
        value / scale,
        format!("{fraction:0width$}").trim_end_matches('0')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inj_35_durations_are_printed_as_go_prints_them() {
        for (nanos, want) in [
            (0, "0s"),
            (45_000_000_000, "45s"),
            (60_000_000_000, "1m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (90_500_000_000, "1m30.5s"),
            (80_000_000, "80ms"),
            (1_500_000, "1.5ms"),
            (2_000, "2µs"),
            (7, "7ns"),
        ] {
            assert_eq!(format_duration(Duration::from_nanos(nanos)), want);
        }
    }
}
