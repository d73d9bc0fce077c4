//! Dashboards of Grafana, as tests read them: what Grafana would refuse or show empty, and what it would ask Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The variable by which every panel finds its data source.
const DATA_SOURCE: &str = "datasource";

/// The oldest schema that is written: that of Grafana 10 and 11. Newer ones read it.
const SCHEMA: u64 = 39;

/// Grafana's own variable: an interval in which a rate has at least two values.
const RATE_INTERVAL: &str = "__rate_interval";

/// Columns of the grid.
const COLUMNS: u64 = 24;

/// What begins the name of a metric.
const METRICS: [&str; 9] = [
    "container_",
    "endpoint_",
    "envoy_",
    "galley_",
    "grpc_io_",
    "istio_",
    "mixer_",
    "pilot_",
    "process_",
];

/// Kinds of panels that need no plugin.
const PANELS: [&str; 4] = ["row", "stat", "table", "timeseries"];

/// A dashboard.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// The name of its file.
    pub file: String,
    json: Value,
}

/// A variable whose values Prometheus knows.
#[derive(Clone, Debug)]
pub struct Variable {
    /// How queries name it.
    pub name: String,
    /// The series whose labels are the values; may name variables before it.
    pub selector: String,
    /// The label whose values it has.
    pub label: String,
    /// What stands for all of them, where all can be chosen.
    pub all: Option<String>,
}

/// What a panel asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Query {
    /// The panel's title.
    pub panel: String,
    /// PromQL with variables.
    pub expr: String,
}

// === impl Dashboard ===

impl Dashboard {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is no JSON.
    pub fn read(path: &Path) -> Result<Self> {
        let context = || path.display().to_string();
        let text = fs::read_to_string(path).with_context(context)?;
        Ok(Self {
            file: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            json: serde_json::from_str(&text).with_context(context)?,
        })
    }

    /// Reads all files of a folder, in the order of their names.
    ///
    /// # Errors
    ///
    /// As [`Self::read`], for any of them.
    pub fn folder(path: &Path) -> Result<Vec<Self>> {
        let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// What Grafana knows it by.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.json["uid"].as_str().unwrap_or_default()
    }

    /// What users know it by.
    #[must_use]
    pub fn title(&self) -> &str {
        self.json["title"].as_str().unwrap_or_default()
    }

    /// The variables whose values come from Prometheus, in order.
    ///
    /// # Errors
    ///
    /// When the values of one are not those of a label.
    pub fn variables(&self) -> Result<Vec<Variable>> {
        let all = array(&self.json["templating"]["list"]).iter();
        all.filter(|variable| variable["type"] == "query")
            .map(Variable::read)
            .collect()
    }

    /// What its panels ask.
    #[must_use]
    pub fn queries(&self) -> Vec<Query> {
        let of = |panel: &Value| {
            let title = text(&panel["title"]).to_owned();
            let exprs = array(&panel["targets"])
                .iter()
                .map(|target| text(&target["expr"]).to_owned());
            exprs
                .map(|expr| Query {
                    panel: title.clone(),
                    expr,
                })
                .collect::<Vec<_>>()
        };
        self.panels().iter().flat_map(of).collect()
    }

    /// What is not as Grafana expects it, or cannot work.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expect = |holds: bool, problem: String| {
            if !holds {
                problems.push(format!("{}: {problem}", self.file));
            }
        };
        let uid = self.uid();
        expect((1..=40).contains(&uid.len()), format!("uid {uid:?}"));
        expect(!self.title().is_empty(), "no title".to_owned());
        expect(
            self.json["id"].is_null(),
            "an id belongs to one Grafana".to_owned(),
        );
        let schema = self.json["schemaVersion"].as_u64().unwrap_or_default();
        expect(schema >= SCHEMA, format!("schema {schema}"));

        let source = array(&self.json["templating"]["list"]).first();
        let source =
            source.is_some_and(|source| source["name"] == DATA_SOURCE && source["query"] == "prometheus");
        expect(source, "the first variable is not the data source".to_owned());
        let variables = self.variables().unwrap_or_else(|error| {
            expect(false, error.to_string());
            Vec::new()
        });
        let mut known: BTreeSet<&str> = [RATE_INTERVAL].into();
        let mut used = BTreeSet::new();
        for variable in &variables {
            for name in names(&variable.selector) {
                expect(
                    known.contains(name),
                    format!("variable {} names {name}", variable.name),
                );
                used.insert(name);
            }
            expect(
                known.insert(&variable.name),
                format!("two variables {}", variable.name),
            );
        }
        let queries = self.queries();
        for query in &queries {
            for name in names(&query.expr) {
                expect(known.contains(name), format!("{} names {name}", query.panel));
                used.insert(name);
            }
        }
        for variable in &variables {
            let used = used.contains(variable.name.as_str());
            expect(used, format!("variable {} changes nothing", variable.name));
        }

        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in self.panels() {
            let title = text(&panel["title"]);
            expect(!title.is_empty(), format!("no title of {}", panel["id"]));
            expect(
                panel["id"].as_u64().is_some_and(|id| ids.insert(id)),
                format!("id of {title}"),
            );
            let kind = text(&panel["type"]);
            expect(PANELS.contains(&kind), format!("{title} is a {kind:?}"));
            expect(in_grid(panel, &mut taken), format!("place of {title}"));
            if kind == "row" {
                continue;
            }
            expect(has_source(panel), format!("data source of {title}"));
            let targets = array(&panel["targets"]);
            expect(!targets.is_empty(), format!("{title} asks nothing"));
            let references: BTreeSet<_> = targets.iter().map(|target| text(&target["refId"])).collect();
            expect(
                references.len() == targets.len(),
                format!("references of {title}"),
            );
            for target in targets {
                expect(has_source(target), format!("data source of a query of {title}"));
                expect(!text(&target["expr"]).is_empty(), format!("{title} asks nothing"));
            }
        }
        problems
    }

    fn panels(&self) -> &[Value] {
        array(&self.json["panels"])
    }
}

// === impl Variable ===

impl Variable {
    fn read(variable: &Value) -> Result<Self> {
        let name = text(&variable["name"]).to_owned();
        let query = text(&variable["query"]["query"]);
        let (selector, label) = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')')?.rsplit_once(','))
            .with_context(|| format!("variable {name} is {query:?}"))?;
        let all = variable["includeAll"] == true;
        Ok(Self {
            name,
            selector: selector.trim().to_owned(),
            label: label.trim().to_owned(),
            all: all.then(|| text(&variable["allValue"]).to_owned()),
        })
    }
}

/// The names of the metrics in PromQL, without the endings of a histogram's series.
#[must_use]
pub fn metrics(expr: &str) -> BTreeSet<&str> {
    let words = expr.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words
        .filter(|word| METRICS.iter().any(|start| word.starts_with(start)))
        .map(|word| {
            let mut endings = ["_bucket", "_sum", "_count"].into_iter();
            // Some counts of 1.1 end like a histogram's.
            let ending = endings.find(|ending| word.ends_with(ending) && !word.starts_with("mixer_config_"));
            let ending = ending.filter(|_| !word.starts_with("mixer_handler_"));
            ending
                .and_then(|ending| word.strip_suffix(ending))
                .unwrap_or(word)
        })
        .collect()
}

/// PromQL with the values of variables, and an interval for rates.
#[must_use]
pub fn substituted(expr: &str, values: &BTreeMap<String, String>, interval: &str) -> String {
    let mut text = String::new();
    let mut rest = expr;
    while let Some((before, after)) = rest.split_once('$') {
        let name = leading_name(after);
        text.push_str(before);
        match values.get(name) {
            Some(value) => text.push_str(value),
            None if name == RATE_INTERVAL => text.push_str(interval),
            None => text.extend(["$", name]),
        }
        rest = &after[name.len()..];
    }
    text + rest
}

/// The variables that PromQL names.
fn names(expr: &str) -> impl Iterator<Item = &str> {
    expr.split('$').skip(1).map(leading_name)
}

fn leading_name(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    &text[..end.unwrap_or(text.len())]
}

fn has_source(of: &Value) -> bool {
    of["datasource"]["type"] == "prometheus" && of["datasource"]["uid"] == format!("${{{DATA_SOURCE}}}")
}

/// Whether a panel is in the grid, on cells that no panel has taken.
fn in_grid(panel: &Value, taken: &mut BTreeSet<(u64, u64)>) -> bool {
    let part = |name: &str| panel["gridPos"][name].as_u64();
    let (Some(x), Some(y), Some(width), Some(height)) = (part("x"), part("y"), part("w"), part("h")) else {
        return false;
    };
    let (columns, rows) = (x..x.saturating_add(width), y..y.saturating_add(height));
    let inside = width > 0 && height > 0 && height <= COLUMNS && columns.end <= COLUMNS;
    inside
        && columns
            .flat_map(|column| rows.clone().map(move |row| (column, row)))
            .all(|cell| taken.insert(cell))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m69_metrics_are_found_in_queries() {
        let expr = "histogram_quantile(0.5, sum(rate(istio_request_bytes_bucket{reporter=\"a\"}[5m])) by (le)) \
             / mixer_config_rule_config_count * on (grpc_server_method) pilot_xds";
        let expected = [
            "istio_request_bytes",
            "mixer_config_rule_config_count",
            "pilot_xds",
        ];
        assert_eq!(metrics(expr), expected.into());
    }

    #[test]
    fn m69_variables_are_replaced_by_their_whole_names() {
        let values = [("pod", "a"), ("podns", "b")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = substituted(
            "x{a=\"$pod\",b=~\"$podns\"}[$__rate_interval] $no",
            &values.into(),
            "1m",
        );
        assert_eq!(text, "x{a=\"a\",b=~\"b\"}[1m] $no");
    }
}
