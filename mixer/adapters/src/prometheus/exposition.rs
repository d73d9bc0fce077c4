//! Prometheus' text format 0.0.4, with numbers as Go writes them: rules and dashboards name buckets by their text.

use std::fmt::Write as _;

use super::config::Kind;
use super::series::{Family, Sample, Value};

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

// === impl Exposition ===

impl Exposition {
    /// All of it.
    pub(super) fn text(self) -> String {
        self.0
    }

    /// Adds a metric. Without series there is nothing to show of it.
    pub(super) fn family(&mut self, family: &Family, help: &str) {
        let samples = family.samples();
        if samples.is_empty() {
            return;
        }
        let kind = match family.shape.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Distribution(_) => "histogram",
        };
        self.head(&family.name, help, kind);
        for sample in &samples {
            self.sample(family, sample);
        }
    }

    /// Adds how many series the metrics have, and how many values found no room.
    pub(super) fn series<'f>(&mut self, families: impl Iterator<Item = &'f Family> + Clone) {
        if families.clone().next().is_none() {
            return;
        }
        let name = "mixer_prometheus_series";
        self.head(name, "Series of the metrics that handlers have.", "gauge");
        for family in families.clone() {
            self.count(name, family, family.live() as u64);
        }
        let name = "mixer_prometheus_series_overflow_total";
        let help = "Values that were counted under the labels \"other\", because a handler has as many series as it may.";
        self.head(name, help, "counter");
        for family in families {
            self.count(name, family, family.overflowed());
        }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.0.push_str("# HELP ");
        self.0.push_str(name);
        self.0.push(' ');
        escape(&mut self.0, help, false);
        self.0.push_str("\n# TYPE ");
        self.0.push_str(name);
        self.0.push(' ');
        self.0.push_str(kind);
        self.0.push('\n');
    }

    fn count(&mut self, name: &str, family: &Family, count: u64) {
        let metric = &family.name;
        // A string takes whatever is written.
        let _ = writeln!(self.0, "{name}{{metric=\"{metric}\"}} {count}");
    }

    fn sample(&mut self, family: &Family, sample: &Sample) {
        match (&sample.value, &family.shape.kind) {
            (Value::Distribution { counts, sum }, Kind::Distribution(bounds)) => {
                let mut total = 0;
                let bounds = bounds.iter().copied().chain([f64::INFINITY]);
                for (bound, count) in bounds.zip(counts) {
                    total += count;
                    self.line(family, "_bucket", sample, Some(bound), total as f64);
                }
                self.line(family, "_sum", sample, None, *sum);
                self.line(family, "_count", sample, None, total as f64);
            }
            (Value::Number(number), _) => self.line(family, "", sample, None, *number),
            // Series are made for the kind of their metric.
            (Value::Distribution { .. }, _) => {}
        }
    }

    fn line(&mut self, family: &Family, suffix: &str, sample: &Sample, bound: Option<f64>, value: f64) {
        self.0.push_str(&family.name);
        self.0.push_str(suffix);
        let mut separator = '{';
        for (label, text) in family.shape.labels.iter().zip(sample.labels()) {
            self.0.push(separator);
            self.0.push_str(&label.name);
            self.0.push_str("=\"");
            escape(&mut self.0, text, true);
            self.0.push('"');
            separator = ',';
        }
        if let Some(bound) = bound {
            self.0.push(separator);
            self.0.push_str("le=\"");
            number(&mut self.0, bound);
            self.0.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.0.push('}');
        }
        self.0.push(' ');
        number(&mut self.0, value);
        self.0.push('\n');
    }
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '\n', '"']) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        out.push_str(match special.as_bytes()[0] {
            b'\\' => "\\\\",
            b'\n' => "\\n",
            _ if quotes => "\\\"",
            _ => "\"",
        });
        rest = &special[1..];
    }
    out.push_str(rest);
}

/// Writes a number as Go does in its form `g`: with an exponent below 0.0001 and from a million on.
fn number(out: &mut String, number: f64) {
    let magnitude = number.abs();
    // A string takes whatever is written.
    let _ = if number.is_infinite() {
        write!(out, "{}Inf", if number > 0.0 { '+' } else { '-' })
    } else if number.is_nan() {
        write!(out, "NaN")
    } else if magnitude == 0.0 || (1e-4..1e6).contains(&magnitude) {
        // Nearly all of them.
        write!(out, "{number}")
    } else {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or_default();
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{mantissa}e{sign}{:02}", exponent.abs())
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_go() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.005, "0.005"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (999_999.0, "999999"),
            (1_000_000.0, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            let mut out = String::new();
            number(&mut out, value);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn texts_are_escaped() {
        let mut out = String::new();
        escape(&mut out, "a\\b\n\"c\"ä", true);
        assert_eq!(out, r#"a\\b\n\"c\"ä"#);
        out.clear();
        escape(&mut out, "a\\b\n\"c\"", false);
        assert_eq!(out, r#"a\\b\n"c""#);
    }
}
