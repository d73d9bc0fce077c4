//! `AdmissionReview` of `admission.k8s.io/v1`, as far as it is used.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outcome::Resource;
use crate::verdict::{MAX_PROBLEMS, Verdict};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// What the API server asks.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    pub(crate) uid: String,
    #[serde(default)]
    pub(crate) kind: GroupVersionKind,
    #[serde(default)]
    resource: GroupVersionResource,
    #[serde(default)]
    pub(crate) sub_resource: String,
    #[serde(default)]
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) namespace: String,
    /// Absent when something is removed.
    #[serde(default)]
    pub(crate) object: Value,
    /// Absent when something is created.
    #[serde(default)]
    pub(crate) old_object: Value,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct GroupVersionKind {
    #[serde(default)]
    pub(crate) group: String,
    #[serde(default)]
    pub(crate) kind: String,
}

#[derive(Debug, Default, Deserialize)]
struct GroupVersionResource {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    resource: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestReview {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    request: Option<Request>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseReview<'a> {
    api_version: &'a str,
    kind: &'a str,
    response: Response<'a>,
}

#[derive(Debug, Serialize)]
struct Response<'a> {
    /// That of the request; the API server compares them.
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

/// `Status` of the API machinery: why something is refused.
#[derive(Debug, Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
}

#[derive(Debug, Serialize)]
struct Details<'a> {
    causes: Vec<Cause<'a>>,
}

#[derive(Debug, Serialize)]
struct Cause<'a> {
    reason: &'a str,
    message: &'a str,
    field: &'a str,
}

/// Reads a request.
///
/// # Errors
///
/// In words: that it is no review, or not of the version that is served.
pub(crate) fn read(body: &[u8]) -> Result<Request, String> {
    let review: RequestReview =
        serde_json::from_slice(body).map_err(|error| format!("could not decode the body: {error}"))?;
    if review.kind != KIND || review.api_version != API_VERSION {
        return Err(format!(
            "could not decode the body: expected {KIND} of {API_VERSION}, found {:?} of {:?}",
            shortened(&review.kind),
            shortened(&review.api_version)
        ));
    }
    review
        .request
        .ok_or_else(|| "could not decode the body: the review holds no request".to_owned())
}

/// Writes the answer to the request `uid`.
///
/// # Errors
///
/// Never in practice: everything in it has a JSON form.
pub(crate) fn write(uid: &str, verdict: &Verdict) -> Result<Vec<u8>, serde_json::Error> {
    let causes: Vec<_> = verdict
        .problems
        .iter()
        .take(MAX_PROBLEMS)
        .map(|problem| Cause {
            reason: "FieldValueInvalid",
            message: &problem.reason,
            field: &problem.field,
        })
        .collect();
    let status = (!verdict.allowed).then(|| Status {
        code: 400,
        reason: "BadRequest",
        message: &verdict.message,
        details: (!causes.is_empty()).then_some(Details { causes }),
    });
    serde_json::to_vec(&ResponseReview {
        api_version: API_VERSION,
        kind: KIND,
        response: Response {
            uid,
            allowed: verdict.allowed,
            status,
            warnings: &verdict.warnings,
        },
    })
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

// === impl Request ===

impl Request {
    /// Labels of the counters.
    pub(crate) fn labels(&self) -> Resource {
        Resource {
            group: self.resource.group.clone(),
            version: self.resource.version.clone(),
            resource: self.resource.resource.clone(),
        }
    }
}
