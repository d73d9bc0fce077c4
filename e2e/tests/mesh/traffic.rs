//! Rules under traffic: weights, edits, the outbound policy.

use std::time::Instant;

use e2e::load::{Answer, Load};

use crate::support::{FORECAST, GATEWAY, TestMesh, rules};

/// Which version of forecast answered the frontend.
fn forecast_version(answer: &Answer) -> String {
    let page: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    page["forecast"]["version"].as_str().unwrap_or("none").to_owned()
}

/// `R-S-5`.
#[tokio::test(flavor = "multi_thread")]
async fn without_rules_both_versions_of_forecast_answer_in_turn() {
    let mesh = TestMesh::weather().await;
    let page = mesh.get("/", &[]).await.expect("answered");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("<html"), "{}", page.body);

    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(forecast_version(
            &mesh.get("/api/weather", &[]).await.expect("answered"),
        ));
    }
    for version in ["v1", "v2"] {
        let count = seen.iter().filter(|seen| *seen == version).count();
        assert!(
            (6..=14).contains(&count),
            "{version} answered {count} of 20: {seen:?}"
        );
    }
}

/// R-VS-15: the split is per request and exact; an edit of it takes effect within two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn r_vs_15_weights_split_requests_and_edits_take_effect() {
    let mesh = TestMesh::for_load().await;
    mesh.split(80).await;
    mesh.eventually("the weights are at the gateway", async || {
        mesh.has_weights(GATEWAY, &[80, 20]).await
    })
    .await;

    let load = mesh.load();
    mesh.wait_for_answers(&load, 2000).await;
    let report = load.stop().await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert!(
        (77.0..=83.0).contains(&report.percent("v1")),
        "{:?}",
        report.classes
    );
    assert!(
        (17.0..=23.0).contains(&report.percent("v2")),
        "{:?}",
        report.classes
    );

    let edited = Instant::now();
    mesh.split(0).await;
    mesh.eventually("v2 alone answers", async || {
        for _ in 0..5 {
            let answer = mesh.get("/weather", &[FORECAST]).await?;
            anyhow::ensure!(answer.header("x-sample-version") == "v2", "{answer:?}");
        }
        Ok(())
    })
    .await;
    eprintln!("the edit took {:?}", edited.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_edits_under_load_fail_no_request() {
    let mesh = TestMesh::for_load().await;
    let load = mesh.load();
    for v1 in (1..100).chain([100]) {
        mesh.split(v1).await;
        mesh.wait_for_answers(&load, 20).await;
    }
    mesh.eventually("the last edit is at the gateway", async || {
        mesh.has_no_weights(GATEWAY).await
    })
    .await;
    let report = load.stop().await;
    assert!(
        report.failures.is_empty(),
        "{} of {}: {:?}",
        report.failures.len(),
        report.answered,
        report.failures
    );
    assert!(report.answered > 2000, "{}", report.answered);
}

/// Make before break: a subset and the route to it come and go in one edit.
#[tokio::test(flavor = "multi_thread")]
async fn subsets_that_come_and_go_with_their_routes_fail_no_request() {
    let mesh = TestMesh::for_load().await;
    let rule = |subset: &str| {
        format!(
            "apiVersion: networking.istio.io/v1alpha3\nkind: DestinationRule\n\
             metadata: {{name: recommendation, namespace: weather}}\n\
             spec: {{host: recommendation, subsets: [{{name: {subset}, labels: {{version: v1}}}}]}}\n---\n\
             apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\n\
             metadata: {{name: recommendation, namespace: weather}}\n\
             spec: {{hosts: [recommendation], http: [{{retries: {{attempts: 0}}, \
             route: [{{destination: {{host: recommendation, subset: {subset}}}}}]}}]}}\n"
        )
    };
    mesh.apply(&rules("weather-rules/forecast-weight-0-100.yaml"))
        .await;
    mesh.apply(&rule("s-0")).await;
    // The frontend shows a recommendation that failed as an error in its page.
    let classify = |answer: &Answer| {
        let page: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if page.to_string().contains("\"error\"") {
            page.to_string()
        } else {
            "ok".to_owned()
        }
    };
    mesh.eventually("v2 alone answers", async || {
        mesh.has_no_weights("frontend-v1-0").await
    })
    .await;
    let load = Load::start(mesh.url("/api/weather"), "weather", 100, classify);
    for edit in 1..=20 {
        let subset = format!("s-{edit}");
        mesh.apply(&rule(&subset)).await;
        mesh.eventually("the subset carries traffic", async || {
            let dump = mesh
                .admin("forecast-v2-0", "config_dump?resource=dynamic_route_configs")
                .await?;
            anyhow::ensure!(dump.contains(&format!("|{subset}|")), "no route to {subset}");
            Ok(())
        })
        .await;
    }
    let report = load.stop().await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(
        report.classes.keys().collect::<Vec<_>>(),
        ["ok"],
        "{:?}",
        report.classes
    );
}
