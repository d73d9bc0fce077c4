//! Answers as 1.1 prints them.

use mesh_api::google::rpc;
use mesh_api::istio::mixer::v1::referenced_attributes::AttributeMatch;
use mesh_api::istio::mixer::v1::{CheckResponse, ReferencedAttributes};
use mesh_runtime::args::GoDuration;
use mixer_attribute::{Words, code_name, span};
use tonic::{Code, Status};

/// What Mixer says to a check.
pub(crate) fn checked(response: &CheckResponse) -> String {
    let precondition = response.precondition.clone().unwrap_or_default();
    let status = status(&precondition.status.unwrap_or_default());
    let mut text = format!("Check RPC completed successfully. Check status was {status}\n");
    text.push_str(&format!(
        "  Valid use count: {}, valid duration: {}\n",
        precondition.valid_use_count,
        duration(precondition.valid_duration)
    ));
    let referenced = precondition.referenced_attributes.unwrap_or_default();
    text.push_str("  Referenced Attributes\n");
    for line in references(&referenced) {
        text.push_str(&format!("    {line}\n"));
    }
    text.push('\n');
    if !response.quotas.is_empty() {
        let mut rows = vec![[
            "Quota".to_owned(),
            "Granted Amount".to_owned(),
            "Duration".to_owned(),
        ]];
        rows.extend(response.quotas.iter().map(|(name, quota)| {
            [
                name.clone(),
                quota.granted_amount.to_string(),
                duration(quota.valid_duration),
            ]
        }));
        text.push_str(&table(&rows));
        text.push('\n');
    }
    text
}

/// Why a call failed, in the words of Go's gRPC.
pub(crate) fn rpc_status(status: &Status) -> String {
    let code = match status.code() {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        code => format!("{code:?}"),
    };
    with_message(code, status.message())
}

fn status(status: &rpc::Status) -> String {
    let name = code_name(status.code).map_or_else(|| format!("Code {}", status.code), str::to_owned);
    with_message(name, &status.message)
}

fn with_message(name: String, message: &str) -> String {
    match message {
        "" => name,
        _ => format!("{name} ({message})"),
    }
}

/// As Go writes it.
fn duration(duration: Option<prost_types::Duration>) -> String {
    let duration = duration.as_ref().and_then(span).unwrap_or_default();
    GoDuration::from(duration).to_string()
}

/// What was read, sorted.
fn references(referenced: &ReferencedAttributes) -> Vec<String> {
    let words: Words<'_> = referenced.words.iter().map(String::as_str).collect();
    let word = |index| match words.get(index) {
        Ok(word) => word.to_string(),
        Err(_) => format!("<word {index}>"),
    };
    let line = |found: &AttributeMatch| {
        let key = match found.map_key {
            0 => String::new(),
            key => format!("::{}", word(key)),
        };
        format!("{}{key} {}", word(found.name), found.condition().as_str_name())
    };
    let mut lines: Vec<_> = referenced.attribute_matches.iter().map(line).collect();
    lines.sort();
    lines
}

/// Columns that are two apart.
fn table(rows: &[[String; 3]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    let mut text = String::new();
    for [name, amount, duration] in rows {
        text.push_str(&format!("  {name:first$}  {amount:second$}  {duration}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use mesh_api::istio::mixer::v1::check_response::{PreconditionResult, QuotaResult};
    use mesh_api::istio::mixer::v1::referenced_attributes::Condition;

    use super::*;

    #[test]
    fn answers_are_printed_as_those_of_1_1() {
        let read = |name, map_key, condition: Condition| AttributeMatch {
            name,
            map_key,
            condition: condition.into(),
            ..Default::default()
        };
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let response = CheckResponse {
            precondition: Some(PreconditionResult {
                status: Some(rpc::Status {
                    code: 7,
                    message: "h:no".to_owned(),
                    details: Vec::new(),
                }),
                valid_duration: seconds(300),
                valid_use_count: 10_000,
                referenced_attributes: Some(ReferencedAttributes {
                    words: vec!["clnt".to_owned()],
                    attribute_matches: vec![
                        read(15, -1, Condition::Exact),
                        read(201, 0, Condition::Absence),
                        read(-7, 0, Condition::Exact),
                    ],
                }),
                route_directive: None,
            }),
            quotas: [(
                "requestcount".to_owned(),
                QuotaResult {
                    granted_amount: 5,
                    valid_duration: seconds(1),
                    ..Default::default()
                },
            )]
            .into(),
        };
        assert_eq!(
            checked(&response),
            "Check RPC completed successfully. Check status was PERMISSION_DENIED (h:no)
  Valid use count: 10000, valid duration: 5m0s
  Referenced Attributes
    <word -7> EXACT
    context.reporter.kind ABSENCE
    request.headers::clnt EXACT

  Quota         Granted Amount  Duration
  requestcount  5               1s

"
        );
        let book = rpc::Status {
            code: 1333,
            ..Default::default()
        };
        assert_eq!(status(&book), "Code 1333");
        assert_eq!(rpc_status(&Status::internal("x")), "Internal (x)");
        assert_eq!(rpc_status(&Status::cancelled("")), "Canceled");
    }
}
