//! Which values Envoy accepts. One that it does not would make it reject the whole route configuration.

use prost_types::Duration;

/// Longer than anybody waits, and short enough for Envoy's arithmetic: ten years.
const MAX_SECONDS: i64 = 10 * 365 * 24 * 60 * 60;

/// A duration in the form that Envoy accepts: `None` when it is negative or malformed, cut at ten years.
pub(super) fn duration(duration: &Duration) -> Option<Duration> {
    match (duration.seconds, duration.nanos) {
        (0.., 0..1_000_000_000) if duration.seconds < MAX_SECONDS => Some(*duration),
        (0.., 0..1_000_000_000) => Some(Duration {
            seconds: MAX_SECONDS,
            nanos: 0,
        }),
        _ => None,
    }
}

/// Whether a text can be the name of a header, pseudo-headers such as `:path` included.
pub(super) fn is_header_name(name: &str) -> bool {
    let bare = name.strip_prefix(':').unwrap_or(name);
    !bare.is_empty()
        && name.len() <= MAX_HEADER_BYTES
        && bare
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_|~`".contains(&byte))
}

/// Whether a text can be the value of a header.
pub(super) fn is_header_value(value: &str) -> bool {
    value.len() <= MAX_HEADER_BYTES && !value.bytes().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}

/// Envoy's limit for header names and values in configuration.
const MAX_HEADER_BYTES: usize = 16384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_cut_to_what_envoy_takes() {
        for (seconds, nanos, expected) in [
            (0, 0, Some((0, 0))),
            (1, 500_000_000, Some((1, 500_000_000))),
            (-1, 0, None),
            (0, -1, None),
            (0, 1_000_000_000, None),
            (i64::MAX, 1, Some((MAX_SECONDS, 0))),
        ] {
            let result = duration(&Duration { seconds, nanos });
            assert_eq!(
                result,
                expected.map(|(seconds, nanos)| Duration { seconds, nanos })
            );
        }
    }

    #[test]
    fn header_names_are_tokens() {
        for (name, valid) in [
            ("x-user", true),
            ("User-Agent", true),
            (":path", true),
            ("", false),
            (":", false),
            ("a b", false),
            ("a\n", false),
            ("ü", false),
        ] {
            assert_eq!(is_header_name(name), valid, "{name:?}");
        }
    }
}
