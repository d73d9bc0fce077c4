//! What OPA itself answers, from a table (`testdata/opa`).

use std::collections::BTreeMap;
use std::path::Path;

use mesh_api::adapter::opa::config::Params;
use serde::Deserialize;
use serde_json::Value as Json;

use super::deciders::{evaluate, on_a_large_stack};
use super::{Opa, config};
use mixer_adapter::{Adapter as _, Inferred};
use regorus::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    policy: Option<String>,
    #[serde(default)]
    modules: Vec<String>,
    #[serde(default)]
    check: Option<String>,
    inputs: Vec<Json>,
    /// Why ours is another answer.
    #[serde(default)]
    differs: Option<String>,
    #[serde(default)]
    ours: Option<Ours>,
}

/// What ours says where OPA says something else.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Ours {
    /// `refused` or `undecided`.
    Word(String),
    /// One for each input.
    Values(Vec<Json>),
}

#[derive(Debug, Deserialize)]
struct Recording {
    opa: String,
    cases: BTreeMap<String, Outcome>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outcome {
    /// The kind of its error.
    refused: Option<String>,
    answers: Vec<Answer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    value: Option<Json>,
    undefined: bool,
    error: Option<String>,
}

/// What somebody makes of a policy: refuses it, or says something to each input, `None` where that is nothing.
#[derive(Debug, PartialEq)]
enum Said {
    Refused,
    Values(Vec<Option<Json>>),
}

// === impl Case ===

impl Case {
    fn params(&self) -> Params {
        let modules = self.modules.iter().chain(&self.policy);
        Params {
            policy: modules.cloned().collect(),
            check_method: self.check.clone().unwrap_or_else(|| "data.t.allow".to_owned()),
            fail_close: false,
        }
    }

    /// What ours says.
    fn ask(&self) -> (Said, String) {
        let policy = match config::compile(&self.params()) {
            Ok(policy) => policy,
            Err(errors) => return (Said::Refused, errors.to_string()),
        };
        let mut reasons = Vec::new();
        let mut values = Vec::new();
        for input in &self.inputs {
            let said = on_a_large_stack(|| evaluate(&policy, Value::from(input.clone())));
            values.push(match said {
                Some(Ok(Value::Undefined)) => None,
                Some(Ok(value)) => Some(serde_json::from_str(&value.to_json_str().unwrap()).unwrap()),
                Some(Err(reason)) => {
                    reasons.push(reason);
                    None
                }
                None => Some("the engine panicked".into()),
            });
        }
        (Said::Values(values), reasons.join("; "))
    }

    /// What ours is expected to say, where OPA says this.
    fn expected(&self, recorded: &Outcome) -> Said {
        match &self.ours {
            Some(Ours::Word(word)) if word == "refused" => Said::Refused,
            Some(Ours::Word(word)) if word == "undecided" => {
                Said::Values(self.inputs.iter().map(|_| None).collect())
            }
            Some(Ours::Word(word)) => panic!("{}: ours cannot be {word}", self.name),
            Some(Ours::Values(values)) => {
                let values = values.iter().cloned();
                Said::Values(
                    values
                        .map(|value| Some(value).filter(|value| !value.is_null()))
                        .collect(),
                )
            }
            None => recorded.said(),
        }
    }
}

// === impl Outcome ===

impl Outcome {
    fn said(&self) -> Said {
        if self.refused.is_some() {
            return Said::Refused;
        }
        let answers = self.answers.iter();
        Said::Values(
            answers
                .map(|answer| {
                    // No answer is one, whatever the reason for it is.
                    assert!(answer.value.is_some() || answer.undefined || answer.error.is_some());
                    answer.value.clone()
                })
                .collect(),
        )
    }
}

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/opa");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn table() -> (Vec<Case>, Recording) {
    let cases: Vec<Case> = serde_saphyr::from_str(&read("cases.yaml")).unwrap();
    let recorded = serde_json::from_str(&read("recorded.json")).unwrap();
    (cases, recorded)
}

/// Numbers are equal whose values are.
fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(a), Json::Number(b)) => {
            a == b
                || a.as_f64()
                    .zip(b.as_f64())
                    .is_some_and(|(a, b)| a.total_cmp(&b).is_eq())
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => one == other,
    }
}

fn agree(one: &Said, other: &Said) -> bool {
    match (one, other) {
        (Said::Values(a), Said::Values(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| match (a, b) {
                    (Some(a), Some(b)) => same(a, b),
                    (a, b) => a.is_none() && b.is_none(),
                })
        }
        _ => one == other,
    }
}

/// §7.11: each answer is that of OPA, or the table says which one it is instead, and why.
#[test]
fn spec_02_7_11_answers_are_those_of_opa() {
    let (cases, recording) = table();
    assert!(cases.len() >= 60 && !recording.opa.is_empty());
    let names: Vec<&String> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(
        recording.cases.len(),
        names.len(),
        "go run . cases.yaml > recorded.json"
    );
    let mut wrong = Vec::new();
    for case in &cases {
        let recorded = &recording.cases[&case.name];
        let opa = recorded.said();
        let expected = case.expected(recorded);
        let differs = !agree(&opa, &expected);
        if differs != case.differs.is_some() {
            wrong.push(format!(
                "{}: OPA says {opa:?}, which the table does not say",
                case.name
            ));
        }
        let (said, reasons) = case.ask();
        if !agree(&said, &expected) {
            wrong.push(format!(
                "{}: {said:?} is not {expected:?} ({:?}) {reasons}",
                case.name, recorded.refused
            ));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// What OPA refuses is refused where policies fail open, and refuses requests where they fail closed.
#[test]
fn spec_02_7_11_policies_that_opa_refuses_are_told() {
    let (cases, recording) = table();
    for case in &cases {
        if recording.cases[&case.name].refused.is_some() && case.differs.is_none() {
            let mut params = case.params();
            assert!(
                !Opa::validate(&params, &Inferred::new()).0.is_empty(),
                "{}",
                case.name
            );
            params.fail_close = true;
            assert!(
                Opa::validate(&params, &Inferred::new()).0.is_empty(),
                "{}",
                case.name
            );
        }
    }
}
