//! What becomes of a call.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use mesh_api::envoy::config::core::v3::{HeaderValueOption, Metadata};
use serde::Serialize;

use super::ProxyConfig;

/// What becomes of a call. Fields that say nothing are left out of the serialised form.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default)]
pub struct Outcome {
    /// The listener that takes it; empty when the connection is refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub listener: String,
    /// The virtual host that takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<String>,
    /// What the route is called in traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The VirtualService that the route comes from, as its API path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The status with which the proxy itself answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// Where a redirect leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The only cluster that it can go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The clusters that it can go to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Share>,
    /// Those clusters that the proxy does not have: calls to them fail.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub missing_clusters: BTreeSet<String>,
    /// Path and query that the backend sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Host that the backend sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The deadline of the whole call; `0s` is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// The most that a gRPC caller may ask for; `0s` is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_grpc_timeout: Option<String>,
    /// What is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// The cluster that gets a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// An artificial delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// An artificial failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
    /// Cross-origin rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Changes of the request.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub request_headers: HeaderChanges,
    /// Changes of the response.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub response_headers: HeaderChanges,
    /// What is hashed to choose an endpoint: `header NAME`, `cookie NAME TTL PATH`, `source ip`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hash: Vec<String>,
}

/// One of several clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Share {
    /// Its name.
    pub cluster: String,
    /// Its share relative to the others.
    pub weight: u32,
    /// Changes of requests that go there.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub request_headers: HeaderChanges,
    /// Changes of responses that come from there.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub response_headers: HeaderChanges,
}

/// What is tried again.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Retries {
    /// Attempts after the first one.
    pub attempts: u32,
    /// Conditions.
    pub on: String,
    /// Status codes that count as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status_codes: Vec<u32>,
    /// The deadline of each attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<String>,
    /// How often another endpoint than those that failed is looked for.
    pub host_selection_attempts: i64,
    /// What keeps attempts away from endpoints.
    pub host_predicates: Vec<String>,
}

/// An artificial delay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Delay {
    /// How long.
    pub duration: String,
    /// Share of the calls.
    pub percent: f64,
}

/// An artificial failure.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Abort {
    /// The answer.
    pub status: u32,
    /// Share of the calls.
    pub percent: f64,
}

/// Cross-origin rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cors {
    /// Whether the origin of this call is allowed.
    pub allowed: bool,
    /// Allowed methods.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub methods: String,
    /// Allowed request headers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub headers: String,
    /// Response headers that scripts may read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expose: String,
    /// Seconds for which a preflight may be remembered.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_age: String,
    /// Whether credentials may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<bool>,
}

/// Changes of headers in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderChanges {
    /// Replaced.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Added to what there is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
    /// Removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

// === impl Outcome ===

impl Outcome {
    /// Notes which of the clusters the proxy does not have.
    pub(super) fn note_missing_clusters(&mut self, config: &ProxyConfig) {
        let known = |name: &str| config.clusters.iter().any(|cluster| cluster.name == name);
        let named = self
            .cluster
            .iter()
            .chain(&self.mirror)
            .chain(self.clusters.iter().map(|share| &share.cluster));
        self.missing_clusters = named.filter(|name| !known(name)).cloned().collect();
    }
}

// === impl HeaderChanges ===

impl HeaderChanges {
    pub(super) fn new(put: &[HeaderValueOption], remove: &[String]) -> Self {
        let mut changes = Self {
            remove: remove.to_vec(),
            ..Self::default()
        };
        for option in put {
            let Some(header) = &option.header else { continue };
            let appends = option.append_action == i32::from(HeaderAppendAction::AppendIfExistsOrAdd);
            let headers = if appends {
                &mut changes.add
            } else {
                &mut changes.set
            };
            headers.insert(header.key.clone(), header.value.clone());
        }
        changes
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The object that part of a message comes from, as its API path.
pub(super) fn rule(metadata: Option<&Metadata>) -> Option<String> {
    let istio = metadata?.filter_metadata.get("istio")?;
    match &istio.fields.get("config")?.kind {
        Some(prost_types::value::Kind::StringValue(path)) => Some(path.clone()),
        _ => None,
    }
}
