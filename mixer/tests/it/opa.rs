//! Policies in Rego (`spec 02` §7.11), with the sample and the default vocabulary.

use std::path::Path;

use crate::harness::{Facts, Mixer};

const PERMISSION_DENIED: i32 = 7;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(path).unwrap()
}

fn request(app: &'static str, version: &'static str, method: &str, path: &str) -> Facts {
    Facts::default()
        .text("destination.namespace", "weather")
        .map("source.labels", &[("app", app), ("version", version)])
        .map("destination.labels", &[("app", "advertisement")])
        .text("request.method", method)
        .text("request.path", path)
}

/// What the policy allows passes, and what it does not is refused in the words of 1.1.
#[tokio::test]
async fn spec_02_7_11_a_policy_in_rego_decides() {
    let folder = tempfile::tempdir().unwrap();
    for path in [
        "charts/mixer/config/attributes.yaml",
        "e2e/samples/mixer-rules/opa.yaml",
    ] {
        let name = Path::new(path).file_name().unwrap();
        std::fs::write(folder.path().join(name), text(path)).unwrap();
    }
    let mixer = Mixer::at(&format!("fs://{}", folder.path().display()), &[]).await;
    let errors = mixer.json("/debug/errors").await;
    assert_eq!(errors["errors"].as_array().unwrap().len(), 0, "{errors}");
    for (app, version, method, path, allowed) in [
        ("frontend", "v1", "GET", "/ad/7", true),
        ("frontend", "v1", "GET", "/private", false),
        ("frontend", "v1", "POST", "/ad/7", false),
        ("frontend", "v2", "POST", "/ad/7", true),
        ("stranger", "v2", "GET", "/ad/7", false),
    ] {
        let answer = mixer
            .check(request(app, version, method, path).check())
            .await
            .unwrap();
        let status = answer.precondition.unwrap().status.unwrap();
        let expected = match allowed {
            true => (0, ""),
            false => (PERMISSION_DENIED, "authz.weather:opa: request was rejected"),
        };
        assert_eq!(
            (status.code, status.message.as_str()),
            expected,
            "{app} {version} {method} {path}"
        );
    }
}
