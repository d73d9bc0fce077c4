//! A call of our own that goes through the API server and comes back to us (pain 18).
//!
//! The configuration that we register has one webhook more than the file: it is asked about Leases of our own namespace
//! that bear a label of ours, and refuses each with the words that the Lease carries. Creating such a Lease (as a trial, so
//! that nothing is stored in any case) shows that the API server knows the configuration, reaches a Galley by it and trusts
//! its certificate; only then are the webhooks registered that everybody's objects depend on. The namespace is one that
//! those webhooks leave out, and nobody else makes such Leases, so that no user ever meets this one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, WebhookClientConfig};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::json;

use crate::configuration::{creation_of, only_in};

/// Where it comes back to.
pub(crate) const PATH: &str = "/admitprobe";

/// Name of its webhook.
pub(crate) const WEBHOOK: &str = "probe.validation.istio.io";

/// Label of its objects.
const LABEL: (&str, &str) = ("galley.istio.io/probe", "true");

/// What a call that came back begins with.
const ANSWER: &str = "the call came back: ";

/// Longer than a busy Galley takes, and short enough to try again soon.
const TIMEOUT_SECONDS: i32 = 5;

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Returned {
    /// It came back.
    Back,
    /// It did not, and why.
    Lost(String),
    /// The API server does not let us make it.
    Forbidden(String),
}

#[derive(Deserialize)]
struct Review {
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
    object: Lease,
}

/// The webhook that calls go to, at the same server as another one.
pub(crate) fn webhook(server: &WebhookClientConfig, namespace: &str) -> ValidatingWebhook {
    let mut client_config = server.clone();
    if let Some(service) = &mut client_config.service {
        service.path = Some(PATH.to_owned());
        service.port.get_or_insert(443);
    }
    if let Some(url) = &mut client_config.url {
        let host = url.find("://").map_or(0, |scheme| scheme + 3);
        let end = url[host..]
            .find(['/', '?', '#'])
            .map_or(url.len(), |path| host + path);
        url.truncate(end);
        url.push_str(PATH);
    }
    ValidatingWebhook {
        name: WEBHOOK.to_owned(),
        client_config,
        rules: Some(vec![creation_of("coordination.k8s.io", "v1", "leases")]),
        namespace_selector: Some(only_in(namespace)),
        object_selector: Some(LabelSelector {
            match_labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
            match_expressions: None,
        }),
        // What stands in the way is said only so. Nobody but us depends on it.
        failure_policy: Some("Fail".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        side_effects: "None".to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        timeout_seconds: Some(TIMEOUT_SECONDS),
        match_conditions: None,
    }
}

/// The answer to a call; `None` for what is none.
pub(crate) fn answer(body: &[u8]) -> Option<Vec<u8>> {
    let Request { uid, object } = serde_json::from_slice::<Review>(body).ok()?.request;
    let words = object.spec?.holder_identity?;
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": uid,
            "allowed": false,
            "status": { "code": 400, "reason": "BadRequest", "message": format!("{ANSWER}{words}") },
        },
    });
    serde_json::to_vec(&answer).ok()
}

/// Makes a call.
pub(crate) async fn make(client: &Client, namespace: &str, service: &str) -> Returned {
    let words = words();
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(format!("{service}-probe")),
            labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(words.clone()),
            ..LeaseSpec::default()
        }),
    };
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let trial = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match leases.create(&trial, &lease).await {
        Ok(_) => Returned::Lost("the API server does not call the webhook yet".to_owned()),
        Err(kube::Error::Api(status)) if status.message.contains(&format!("{ANSWER}{words}")) => {
            Returned::Back
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
            Returned::Forbidden(status.message.clone())
        }
        Err(kube::Error::Api(status)) => Returned::Lost(status.message.clone()),
        Err(error) => Returned::Lost(mesh_runtime::error_chain(&error)),
    }
}

/// Words that no other call has.
fn words() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{number}", std::process::id(), now.as_nanos())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn pain_18_a_call_is_refused_with_its_own_words() {
        let body = json!({ "request": { "uid": "7", "object": { "spec": { "holderIdentity": "abc" } } } });
        let answer: Value = serde_json::from_slice(&answer(body.to_string().as_bytes()).unwrap()).unwrap();
        assert_eq!(answer["response"]["uid"], "7");
        assert_eq!(answer["response"]["allowed"], false);
        assert_eq!(answer["response"]["status"]["message"], "the call came back: abc");
    }

    #[test]
    fn pain_18_what_is_no_call_has_no_answer() {
        for body in [
            "",
            "{}",
            "[]",
            "\u{0}",
            r#"{"request": {"uid": "7", "object": {}}}"#,
        ] {
            assert_eq!(answer(body.as_bytes()), None, "{body:?}");
        }
    }

    #[test]
    fn pain_18_calls_go_where_the_webhooks_are() {
        let url = |url: &str| {
            let server = WebhookClientConfig {
                url: Some(url.to_owned()),
                ..WebhookClientConfig::default()
            };
            webhook(&server, "istio-system").client_config.url.unwrap()
        };
        for given in ["https://galley:8443/admitpilot", "https://galley:8443"] {
            assert_eq!(url(given), "https://galley:8443/admitprobe");
        }
    }
}
