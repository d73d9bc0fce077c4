//! CPU quantities.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Whole cores, rounded up; `None` when the text is no CPU quantity or not above zero (INJ-50).
pub(super) fn cores_rounded_up(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim();
    let (number, per_unit) = match text
        .char_indices()
        .find(|(_, c)| !c.is_ascii_digit() && *c != '.')
    {
        None => (text, 1.0),
        Some((at, _)) => {
            let scale = match &text[at..] {
                "n" => 1e-9,
                "u" => 1e-6,
                "m" => 1e-3,
                "k" => 1e3,
                _ => return None,
            };
            (&text[..at], scale)
        }
    };
    let cores = number.parse::<f64>().ok()? * per_unit;
    // A thousand cores is more than any node has; above it the text is a mistake.
    (cores > 0.0 && cores <= 1000.0).then(|| (cores - 1e-9).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inj_50_cores_are_rounded_up() {
        for (text, want) in [
            ("10m", Some(1)),
            ("1", Some(1)),
            ("1000m", Some(1)),
            ("1001m", Some(2)),
            ("2000m", Some(2)),
            ("2.5", Some(3)),
            ("0", None),
            ("-1", None),
            ("1Gi", None),
            ("", None),
            ("many", None),
        ] {
            assert_eq!(cores_rounded_up(&Quantity(text.to_owned())), want, "{text}");
        }
    }
}
