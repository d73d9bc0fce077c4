//! `sleep`: a pod that exists only to send requests from.

use std::time::Duration;

use clap::Args;

use super::server::Stop;

/// Flags of the role.
#[derive(Debug, Args)]
pub(super) struct SleepArgs {
    /// How long: a number of seconds, or with a unit s, m, h or d; several are added up
    #[arg(value_name = "DURATION", value_parser = duration, default_value = "infinity")]
    durations: Vec<Duration>,
}

impl SleepArgs {
    pub(super) async fn run(self, stop: Stop) {
        let total = self
            .durations
            .into_iter()
            .fold(Duration::ZERO, Duration::saturating_add);
        tokio::select! {
            () = tokio::time::sleep(total) => (),
            () = stop => (),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    if text == "infinity" {
        return Ok(Duration::MAX);
    }
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        Some((at, 'd')) => (&text[..at], 86400.0),
        _ => (text, 1.0),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * unit).ok())
        .ok_or_else(|| format!("{text:?} is not a duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_command_of_the_same_name() {
        assert_eq!(duration("3650d"), Ok(Duration::from_secs(3650 * 86400)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("infinity"), Ok(Duration::MAX));
        for wrong in ["", "d", "-1", "1w", "nan"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
