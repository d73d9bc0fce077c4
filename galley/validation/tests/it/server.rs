//! The webhooks behind a real API server, and what kubectl shows of them.

use std::path::Path;

use serde_json::{Value, json};

use crate::webhooks::{done, refused, registered, virtual_service};

#[tokio::test]
async fn g8_kubectl_shows_what_is_wrong_with_an_object() {
    let server = registered().await;

    // Every sample is admitted.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let samples = workspace.join("e2e/samples");
    done(server, "create namespace istio-system", "").await;
    done(
        server,
        &format!("apply -f {}", samples.join("weather/namespace.yaml").display()),
        "",
    )
    .await;
    done(server, &format!("apply -R -f {}", samples.display()), "").await;

    // All that is wrong is shown, with its fields; in a trial too.
    let wrong = virtual_service(
        "forecast",
        &json!({"hosts": ["forecast"], "htp": [], "http": [{"retires": {"attempts": 3}}]}),
    );
    for trial in ["none", "server"] {
        let text = refused(
            server,
            &format!("apply --dry-run={trial} -n weather -f -"),
            &wrong,
        )
        .await;
        for words in [
            "admission webhook \"pilot.validation.istio.io\" denied the request: configuration is invalid: \
             VirtualService weather/forecast: 2 errors occurred:",
            "* htp: unknown field `htp`, did you mean `http`?",
            "* http[0].retires: unknown field `retires`, did you mean `retries`?",
        ] {
            assert!(text.contains(words), "{words:?} is not in {text}");
        }
    }
    // Other versions are the same to the webhook, and rules that are broken have fields too.
    let wrong = wrong.replace("v1alpha3", "v1").replace("htp", "tls");
    let wrong = wrong.replace("retires", "retries").replace(":3", ":-3");
    let text = refused(server, "create -n weather -f -", &wrong).await;
    assert!(text.contains("http[0].retries.attempts: "), "{text}");

    // Mixer's kinds have their own.
    let mixers = |kind: &str, spec: Value| {
        json!({"apiVersion": "config.istio.io/v1alpha2", "kind": kind, "metadata": {"name": "a"}, "spec": spec})
            .to_string()
    };
    let denier = mixers("denier", json!({"status": {"code": 7}}));
    done(server, "create -f -", &denier).await;
    done(server, "delete -f -", &denier).await;
    let text = refused(
        server,
        "create -f -",
        &mixers("instance", json!({"compiledTemplat": "metric"})),
    )
    .await;
    let words = "\"mixer.validation.istio.io\" denied the request: configuration is invalid: instance default/a: \
                 compiledTemplat: unknown field `compiledTemplat`, did you mean `compiledTemplate`?";
    assert!(text.contains(words), "{text}");

    // What was stored before anybody checked it can be labelled, with a warning, and removed, but not made worse.
    let label = "label --warnings-as-errors virtualservices.networking.istio.io unchecked team=weather";
    let text = refused(server, label, "").await;
    let words = "Warning: VirtualService default/unchecked: http[0].tiemout: unknown field `tiemout`";
    assert!(text.contains(words), "{text}");
    let labelled = "get virtualservices.networking.istio.io -l team=weather -o name";
    assert!(done(server, labelled, "").await.contains("unchecked"));
    let patch = "patch virtualservices.networking.istio.io unchecked --type=merge -p";
    let text = refused(server, &format!("{patch} {{\"spec\":{{\"tpc\":[]}}}}"), "").await;
    assert!(text.contains("tpc: unknown field"), "{text}");
    done(server, "delete virtualservices.networking.istio.io unchecked", "").await;

    // As large as an object may be, and wrong in its last field.
    let route = |index: usize| {
        json!({
            "match": [{"uri": {"prefix": format!("/a/rather/long/path/of/the/application/{index}")}}],
            "route": [{"destination": {"host": "forecast.weather.svc.cluster.local", "port": {"number": 3002}}}],
        })
    };
    let mut routes: Vec<Value> = (0..5_600).map(route).collect();
    let large = virtual_service("large", &json!({"hosts": ["forecast"], "http": &routes}));
    assert!(large.len() > 900_000);
    done(server, "create -n weather -f -", &large).await;
    if let Some(last) = routes.last_mut() {
        last["route"][0]["weigth"] = 100.into();
    }
    let large = virtual_service("larger", &json!({"hosts": ["forecast"], "http": &routes}));
    let text = refused(server, "create -n weather -f -", &large).await;
    assert!(
        text.contains("http[5599].route[0].weigth: unknown field `weigth`"),
        "{text}"
    );
}
