//! What kubectl says.

use serde_json::{Value, json};

use super::site::{Site, bad, good, shared};

fn mixers(kind: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "config.istio.io/v1alpha2", "kind": kind, "metadata": { "name": "a" }, "spec": spec,
    })
    .to_string()
}

#[tokio::test]
async fn g8_4_kubectl_shows_field_and_reason() {
    let site = Site::new(shared().await).await;
    let galley = site.serving().await;
    let passed = galley.metric("galley_validation_passed").await;
    site.done("apply --dry-run=server -f -", &good("forecast")).await;
    site.done("apply -f -", &good("forecast")).await;
    for line in ["apply -f -", "apply --dry-run=server -f -"] {
        let text = site.refused(line, &bad("forecast")).await;
        for words in [
            "admission webhook \"pilot.validation.istio.io\" denied the request: ",
            "http[0].retires: unknown field `retires`, did you mean `retries`?",
        ] {
            assert!(text.contains(words), "{words:?} is not in {text}");
        }
    }
    assert!(galley.metric("galley_validation_passed").await >= passed + 2.0);
    let failed = "galley_validation_failed{group=\"networking.istio.io\",reason=\"crd_conversion_error\",\
                  resource=\"virtualservices\",version=\"v1alpha3\"}";
    assert!(galley.metric(failed).await >= 2.0);
    site.done("delete -f -", &good("forecast")).await;

    let denier = mixers("denier", &json!({ "status": { "code": 7 } }));
    site.done("create -f -", &denier).await;
    site.done("delete -f -", &denier).await;
    let nonsense = mixers("denier", &json!({ "validDuration": "soon" }));
    let text = site.refused("create -f -", &nonsense).await;
    assert!(text.contains("validDuration: "), "{text}");
    let text = site
        .refused(
            "create -f -",
            &mixers("instance", &json!({ "compiledTemplat": "metric" })),
        )
        .await;
    let words = "\"mixer.validation.istio.io\" denied the request: ";
    assert!(text.contains(words) && text.contains("compiledTemplat"), "{text}");
}

#[tokio::test]
async fn pain_9_kube_system_and_our_own_namespace_are_not_checked() {
    let site = Site::new(shared().await).await;
    let galley = site.serving().await;
    // Nobody is there to ask any more.
    drop(galley);
    for namespace in ["kube-system", &site.namespace] {
        let line = format!("-n {namespace} create -f -");
        site.done(&line, &bad("unchecked")).await;
        site.done(&format!("-n {namespace} delete -f -"), &bad("unchecked"))
            .await;
    }
    let text = site.refused("create -f -", &good("forecast")).await;
    assert!(
        text.contains("failed calling webhook \"pilot.validation.istio.io\""),
        "{text}"
    );
}
