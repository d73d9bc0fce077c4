//! What is not served, and since when.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mesh_config::{ConfigError, Kind, Str};
use serde::Serialize;
use tracing::{info, warn};

use crate::event::Problem;
use crate::metrics::{ProcessingMetrics, label};

/// One reason why something is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemRow {
    /// `file:line`, empty when it is in no file.
    pub location: String,
    /// Kind of the object, as far as it is known.
    pub kind: Option<String>,
    /// The object, such as `VirtualService weather/forecast`, as far as it is known.
    pub object: String,
    /// Path of the field.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// Since when.
    #[serde(serialize_with = "as_text")]
    pub since: Timestamp,
}

/// All problems of a source. Each is told once when it appears and once when it is gone.
#[derive(Debug, Default)]
pub(crate) struct ProblemTable {
    since: BTreeMap<Id, Timestamp>,
    rows: Vec<ProblemRow>,
    kinds: BTreeMap<&'static str, i64>,
}

/// What makes two problems the same. Lines move when something else in the file is edited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    file: Option<Str>,
    /// Tells documents apart that are not readable far enough to have a name.
    document: usize,
    object: String,
    field: String,
    reason: String,
}

fn as_text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

// === impl ProblemTable ===

impl ProblemTable {
    /// Takes all problems that there are at `now`; tells and counts the new ones.
    pub(crate) fn replace(&mut self, problems: &[Problem], now: Timestamp, metrics: &ProcessingMetrics) {
        let mut before = std::mem::take(&mut self.since);
        let mut kinds: BTreeMap<_, i64> = self.kinds.keys().map(|&kind| (kind, 0)).collect();
        self.rows.clear();
        for Problem { kind, errors, .. } in problems {
            *kinds.entry(label(*kind)).or_default() += 1;
            let mut news = false;
            for error in errors {
                let id = Id::of(error);
                let since = match before.remove(&id) {
                    Some(since) => since,
                    // Two faults may look the same.
                    None if self.since.contains_key(&id) => now,
                    None => {
                        tell(*kind, error);
                        news = true;
                        now
                    }
                };
                self.rows.push(row(*kind, error, since));
                self.since.insert(id, since);
            }
            if news {
                metrics.rejected.with_label_values(&[label(*kind)]).inc();
            }
        }
        for Id {
            file,
            object,
            field,
            reason,
            ..
        } in before.into_keys()
        {
            info!(
                file = file.as_deref(),
                object, field, reason, "no longer a problem"
            );
        }
        for (kind, count) in &kinds {
            metrics.invalid.with_label_values(&[kind]).set(*count);
        }
        self.kinds = kinds;
        self.rows
            .sort_by(|a, b| (&a.location, &a.object).cmp(&(&b.location, &b.object)));
    }

    pub(crate) fn rows(&self) -> &[ProblemRow] {
        &self.rows
    }
}

fn tell(kind: Option<Kind>, error: &ConfigError) {
    warn!(
        location = error.location.as_ref().map(tracing::field::display),
        kind = kind.map(tracing::field::display),
        object = error.object,
        field = error.field,
        reason = error.reason,
        "not served"
    );
}

fn row(kind: Option<Kind>, error: &ConfigError, since: Timestamp) -> ProblemRow {
    let ConfigError {
        location,
        object,
        field,
        reason,
    } = error.clone();
    ProblemRow {
        location: location.map(|location| location.to_string()).unwrap_or_default(),
        kind: kind.map(|kind| kind.to_string()),
        object,
        field,
        reason,
        since,
    }
}

// === impl Id ===

impl Id {
    fn of(error: &ConfigError) -> Self {
        let location = error.location.as_ref();
        Self {
            file: location.map(|location| location.file.clone()),
            document: match location {
                Some(location) if error.object.is_empty() => location.document,
                _ => 0,
            },
            object: error.object.clone(),
            field: error.field.clone(),
            reason: error.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_config::Location;
    use mesh_runtime::Metrics;

    use super::*;

    fn problem(kind: Kind, line: usize, reason: &str) -> Problem {
        Problem {
            kind: Some(kind),
            namespace: None,
            errors: vec![ConfigError {
                location: Some(Location {
                    file: "a.yaml".into(),
                    document: 1,
                    line,
                }),
                object: format!("{kind} a/b"),
                field: "spec".to_owned(),
                reason: reason.to_owned(),
            }],
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_problem_keeps_its_time_when_its_line_moves_and_is_counted_once() {
        let registry = Metrics::new();
        let metrics = ProcessingMetrics::register(&registry).unwrap();
        let mut table = ProblemTable::default();
        table.replace(&[problem(Kind::Gateway, 3, "bad")], at(1), &metrics);
        table.replace(
            &[
                problem(Kind::Gateway, 9, "bad"),
                problem(Kind::Sidecar, 1, "worse"),
            ],
            at(2),
            &metrics,
        );
        let rows: Vec<_> = table
            .rows()
            .iter()
            .map(|row| (row.location.as_str(), row.since.as_second()))
            .collect();
        assert_eq!(rows, [("a.yaml:1", 2), ("a.yaml:9", 1)]);
        let text = registry.encode().unwrap();
        for line in [
            "galley_source_rejected_objects_total{kind=\"Gateway\"} 1",
            "galley_source_rejected_objects_total{kind=\"Sidecar\"} 1",
            "galley_source_invalid_objects{kind=\"Gateway\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
        }

        table.replace(&[], at(3), &metrics);
        assert_eq!(table.rows(), []);
        let text = registry.encode().unwrap();
        assert!(
            text.contains("galley_source_invalid_objects{kind=\"Gateway\"} 0\n"),
            "{text}"
        );

        // When it is back, it is new.
        table.replace(&[problem(Kind::Gateway, 3, "bad")], at(4), &metrics);
        assert_eq!(table.rows()[0].since, at(4));
        assert!(
            registry
                .encode()
                .unwrap()
                .contains("galley_source_rejected_objects_total{kind=\"Gateway\"} 2\n")
        );
    }
}
