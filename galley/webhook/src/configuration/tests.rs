//! Files as operators have them.

use serde_json::json;

use super::*;

/// As the charts of 1.1 wrote it.
const FILE: &str = "
apiVersion: admissionregistration.k8s.io/v1beta1
kind: ValidatingWebhookConfiguration
metadata:
  name: istio-galley
  labels: {app: galley}
webhooks:
- name: pilot.validation.istio.io
  clientConfig:
    service: {name: istio-galley, namespace: istio-system, path: /admitpilot}
    caBundle: ''
  rules:
  - operations: [CREATE, UPDATE]
    apiGroups: [networking.istio.io]
    apiVersions: ['*']
    resources: [virtualservices]
  namespaceSelector:
    matchLabels: {validated: 'true'}
- name: mixer.validation.istio.io
  clientConfig:
    service: {name: istio-galley, namespace: istio-system, path: /admitmixer}
  failurePolicy: Ignore
  timeoutSeconds: 3
";

fn registrant() -> Registrant {
    Registrant {
        name: "istio-galley".to_owned(),
        namespace: "istio-system".to_owned(),
        owner: None,
    }
}

fn error(text: &str) -> String {
    ConfigurationFile::parse(text).unwrap_err().to_string()
}

#[test]
fn g8_6_a_file_of_1_1_is_completed() {
    let file = ConfigurationFile::parse(FILE).unwrap();
    assert_eq!(file.host().as_deref(), Some("istio-galley.istio-system.svc"));
    let object = file.desired(&registrant(), "PEM", true).object();
    let object = serde_json::to_value(object).unwrap();
    assert_eq!(object["apiVersion"], "admissionregistration.k8s.io/v1");
    assert_eq!(
        object["metadata"],
        json!({ "name": "istio-galley", "labels": { "app": "galley" } })
    );
    let excluded = json!({
        "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["istio-system", "kube-system"],
    });
    assert_eq!(
        object["webhooks"][0],
        json!({
            "name": "pilot.validation.istio.io",
            "clientConfig": {
                "service": { "name": "istio-galley", "namespace": "istio-system", "path": "/admitpilot", "port": 443 },
                "caBundle": "UEVN",
            },
            "rules": [{
                "operations": ["CREATE", "UPDATE"], "apiGroups": ["networking.istio.io"], "apiVersions": ["*"],
                "resources": ["virtualservices"], "scope": "*",
            }],
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "namespaceSelector": { "matchLabels": { "validated": "true" }, "matchExpressions": [excluded] },
            "objectSelector": {},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 10,
        })
    );
    let mixer = &object["webhooks"][1];
    assert_eq!(
        (mixer["failurePolicy"].as_str(), mixer["timeoutSeconds"].as_i64()),
        (Some("Ignore"), Some(3))
    );
    assert_eq!(mixer["namespaceSelector"]["matchExpressions"], json!([excluded]));
    assert_eq!(object["webhooks"][2]["name"], call::WEBHOOK);
}

#[test]
fn pain_18_before_a_call_came_back_only_its_webhook_is_registered() {
    let file = ConfigurationFile::parse(FILE).unwrap();
    let first = file.desired(&registrant(), "PEM", false).object();
    let names: Vec<_> = first
        .webhooks
        .iter()
        .flatten()
        .map(|webhook| &webhook.name)
        .collect();
    assert_eq!(names, [call::WEBHOOK]);
    assert!(!file.is_part_of(&first));
    assert!(file.is_part_of(&file.desired(&registrant(), "PEM", true).object()));
}

#[test]
fn g8_6_only_webhooks_and_owners_are_compared_and_written() {
    let file = ConfigurationFile::parse(FILE).unwrap();
    let desired = file.desired(&registrant(), "PEM", true);
    let mut object = desired.object();
    object.metadata.labels = None;
    object.metadata.resource_version = Some("7".to_owned());
    assert!(desired.is(&object));
    assert!(!file.desired(&registrant(), "other", true).is(&object));
    object.webhooks = None;
    assert!(!desired.is(&object));
    desired.write(&mut object);
    assert!(desired.is(&object) && object.metadata.labels.is_none());
    let owned = Registrant {
        owner: Some(OwnerReference {
            name: "istio-system".to_owned(),
            ..OwnerReference::default()
        }),
        ..registrant()
    };
    let desired = file.desired(&owned, "PEM", true);
    assert!(!desired.is(&object));
    desired.write(&mut object);
    assert!(desired.is(&object));
}

#[test]
fn g8_6_what_is_wrong_with_a_file_is_named_with_its_field() {
    assert!(error("a: [").starts_with("not YAML: "));
    assert_eq!(
        error("{}"),
        "kind: expected ValidatingWebhookConfiguration, found \"\""
    );
    assert_eq!(
        error(&FILE.replace("v1beta1", "v2")),
        "apiVersion: expected admissionregistration.k8s.io/v1, found \"admissionregistration.k8s.io/v2\""
    );
    assert_eq!(
        error(&FILE.replace("failurePolicy", "failurePolcy")),
        "webhooks[1].failurePolcy: unknown field"
    );
    assert_eq!(
        error(&FILE.replace("resources:", "resource:")),
        "webhooks[0].rules[0].resource: unknown field"
    );
    assert_eq!(
        error(&FILE.replace("mixer.", "pilot.")),
        "webhooks[1].name: pilot.validation.istio.io is taken"
    );
    assert_eq!(
        error(&FILE.replace("mixer.", "probe.")),
        "webhooks[1].name: probe.validation.istio.io is taken"
    );
    assert_eq!(
        error(&FILE.replace("caBundle: ''", "url: https://galley")),
        "webhooks[0].clientConfig: either service or url must be given"
    );
    assert!(error(&FILE.replace("timeoutSeconds: 3", "timeoutSeconds: soon")).starts_with("webhooks: "));
    let none = FILE.split("webhooks:").next().unwrap();
    assert_eq!(error(none), "webhooks: there is none");
}
