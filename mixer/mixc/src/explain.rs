//! What the rules make of a request, as `mixs` explains it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mesh_runtime::args::HostPort;
use mixer_attribute::QuotaParams;
use mixer_attribute::encode::{self, Attributes};
use prost::Message as _;
use serde_json::Value;

use crate::call::WORDS;

/// There is no explanation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    #[error("no ControlZ at {0}")]
    Connect(HostPort, #[source] hyper_util::client::legacy::Error),
    #[error("ControlZ: {0}")]
    Refused(String),
    #[error("ControlZ answers something else than an explanation")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Asks for an explanation, and writes it for people.
pub(crate) async fn explain(
    ctrlz: &HostPort,
    attributes: &Attributes<'_>,
    quotas: &BTreeMap<String, QuotaParams>,
) -> Result<String, ExplainError> {
    let read = |error: Box<dyn std::error::Error + Send + Sync>| ExplainError::Read(error);
    let request = encode::check_request(attributes, quotas, String::new(), WORDS);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{ctrlz}/debug/explain"))
        .body(Full::new(Bytes::from(request.encode_to_vec())))
        .map_err(|error| read(error.into()))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client
        .request(request)
        .await
        .map_err(|error| ExplainError::Connect(ctrlz.clone(), error))?;
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|error| read(error.into()))?;
    let body = body.to_bytes();
    if status != StatusCode::OK {
        let reason = String::from_utf8_lossy(&body);
        return Err(ExplainError::Refused(format!("{status}: {}", reason.trim())));
    }
    let answer: Value = serde_json::from_slice(&body).map_err(|error| read(error.into()))?;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _written = write(&mut text, &answer);
    Ok(text)
}

fn write(out: &mut String, answer: &Value) -> std::fmt::Result {
    let explanation = &answer["explanation"];
    writeln!(
        out,
        "Configuration {} (generation {}), rules of namespace {:?} and of the default one",
        explanation["id"],
        word(&explanation["generation"]),
        word(&explanation["namespace"])
    )?;
    pairs(out, "Attributes", &explanation["attributes"])?;
    pairs(out, "Added by generators", &explanation["added"])?;
    for rule in list(&explanation["rules"]) {
        writeln!(out, "{} ({})", word(&rule["rule"]), word(&rule["phase"]))?;
        writeln!(
            out,
            "  match: {} = {}",
            word(&rule["condition"]),
            word(&rule["matches"])
        )?;
        for action in list(&rule["actions"]) {
            self::action(out, action)?;
        }
    }
    let left_out = list(&answer["leftOut"]);
    if !left_out.is_empty() {
        writeln!(out, "Left out of the configuration")?;
    }
    for problem in left_out {
        writeln!(out, "  {}", word(problem))?;
    }
    writeln!(out, "Answer: {}", word(&explanation["answer"]))
}

fn action(out: &mut String, action: &Value) -> std::fmt::Result {
    write!(out, "  {}", word(&action["instance"]))?;
    if !word(&action["handler"]).is_empty() {
        write!(
            out,
            " ({}) -> {} ({})",
            word(&action["template"]),
            word(&action["handler"]),
            word(&action["adapter"])
        )?;
    }
    writeln!(out)?;
    for pair in list(&action["fields"]) {
        writeln!(out, "    {} = {:?}", word(&pair[0]), word(&pair[1]))?;
    }
    writeln!(
        out,
        "    => {} [{} µs]",
        word(&action["verdict"]),
        action["micros"]
    )
}

fn pairs(out: &mut String, title: &str, pairs: &Value) -> std::fmt::Result {
    if list(pairs).is_empty() {
        return Ok(());
    }
    writeln!(out, "{title}")?;
    for pair in list(pairs) {
        writeln!(out, "  {} = {:?}", word(&pair[0]), word(&pair[1]))?;
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pain_25_an_explanation_is_readable() {
        let answer = json!({
            "explanation": {
                "id": 3, "generation": "00ab", "namespace": "weather",
                "attributes": [["source.name", "frontend"]], "added": [],
                "rules": [{
                    "rule": "rule weather/deny", "phase": "check",
                    "condition": "source.name == \"frontend\"", "matches": "true",
                    "actions": [{
                        "instance": "entry.instance.weather", "template": "listentry",
                        "handler": "deny.handler.weather", "adapter": "denier",
                        "fields": [["value", "frontend"]],
                        "verdict": "PERMISSION_DENIED (no), valid for 5s and 1000 uses", "micros": 12,
                    }],
                }],
                "answer": "PERMISSION_DENIED (deny.weather:no), valid for 5s and 1000 uses",
            },
            "leftOut": ["rule weather/x: actions[0].handler: there is no handler y"],
        });
        let mut text = String::new();
        write(&mut text, &answer).unwrap();
        let expected = "\
Configuration 3 (generation 00ab), rules of namespace \"weather\" and of the default one
Attributes
  source.name = \"frontend\"
rule weather/deny (check)
  match: source.name == \"frontend\" = true
  entry.instance.weather (listentry) -> deny.handler.weather (denier)
    value = \"frontend\"
    => PERMISSION_DENIED (no), valid for 5s and 1000 uses [12 µs]
Left out of the configuration
  rule weather/x: actions[0].handler: there is no handler y
Answer: PERMISSION_DENIED (deny.weather:no), valid for 5s and 1000 uses
";
        assert_eq!(text, expected);
    }
}
