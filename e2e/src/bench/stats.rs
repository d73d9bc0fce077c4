//! Percentiles.

use std::time::Duration;

/// The value below which a share of the values lies, by nearest rank; zero without values.
pub(crate) fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank is a small number, and not negative"
    )]
    let rank = (values.len() as f64 * share).ceil() as usize;
    let position = rank.clamp(1, values.len().max(1)) - 1;
    values.get(position).copied().unwrap_or_default()
}

/// The median; the lower one of two.
pub(crate) fn median(values: impl IntoIterator<Item = Duration>) -> Duration {
    percentile(&mut values.into_iter().collect::<Vec<_>>(), 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let ms = Duration::from_millis;
        for (count, p50, p99, last) in [
            (1, 1, 1, 1),
            (2, 1, 2, 2),
            (100, 50, 99, 100),
            (500, 250, 495, 500),
        ] {
            let mut values: Vec<_> = (1..=count).rev().map(ms).collect();
            assert_eq!(percentile(&mut values, 0.5), ms(p50));
            assert_eq!(percentile(&mut values, 0.99), ms(p99));
            assert_eq!(percentile(&mut values, 1.0), ms(last));
        }
        assert_eq!(median([]), Duration::ZERO);
        assert_eq!(median([ms(9), ms(1), ms(5)]), ms(5));
    }
}
