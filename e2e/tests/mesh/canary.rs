//! Releases step by step, as chapter 10 of the book does them: by weight, by content, on inner services (R-SCN-5 to 9).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::fixture::WEATHER;
use crate::support::{TestMesh, rules, version};

const FRONTEND: &str = "frontend-v1-0";
const FORECAST: &str = "http://forecast:3002/weather";
const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0";
const ANDROID: &str = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Mobile Safari/537.36";
const WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Gecko/20100101 Firefox/133.0";

/// A page, as somebody in front of the gateway gets it.
async fn page(mesh: &TestMesh, headers: &[(&str, &str)]) -> Value {
    let answer = mesh.get("/api/weather", headers).await.expect("answered");
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// Versions of frontend and forecast that made pages, and whether these had a recommendation.
async fn pages(mesh: &TestMesh, count: usize, headers: &[(&str, &str)]) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        let page = page(mesh, headers).await;
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        let recommended = page["forecast"]["recommendation"].is_object();
        let class = format!(
            "{} {}{}",
            text(&page["frontend"]["version"]),
            text(&page["forecast"]["version"]),
            if recommended { " recommended" } else { "" }
        );
        *seen.entry(class).or_default() += 1;
    }
    seen
}

/// The weights of the routes to forecast, as Pilot has them.
async fn weights(mesh: &TestMesh, name: &str, rule: usize) -> Vec<(String, u64)> {
    let stored = mesh
        .stored("VirtualService", "weather", name)
        .await
        .expect("stored");
    let routes = stored["http"][rule]["route"].as_array().expect("routes");
    routes
        .iter()
        .map(|route| {
            let subset = route["destination"]["subset"].as_str().unwrap_or_default();
            (subset.to_owned(), route["weight"].as_u64().unwrap_or_default())
        })
        .collect()
}

/// EX-1001 to EX-1009: from v1 alone over a new version without traffic to half and all of it, and v1 goes.
#[test]
fn ex_1001_1002_1003_1004_1005_1006_1007_1008_1009_a_release_by_weight() {
    WEATHER.run(async |mesh| {
        let forecast = rules("weather/forecast.yaml");
        // The book begins without v2.
        mesh.mesh()
            .delete("Deployment", "weather", "forecast-v2")
            .await
            .expect("deleted");
        mesh.enforce(&rules("weather-rules/advertisement-route.yaml"))
            .await;
        mesh.enforce(&rules("weather-rules/forecast-v1.yaml")).await;
        mesh.eventually("v2 is gone", async || {
            anyhow::ensure!(mesh.mesh().state().pod("forecast-v2-0").is_none(), "not yet");
            Ok(())
        })
        .await;
        for pod in ["frontend-v1-0", "advertisement-v1-0", "forecast-v1-0"] {
            let state = mesh.mesh().state();
            let pod = state.pod(pod).expect("it exists");
            assert_eq!(pod.phase, "Running");
            assert_eq!(
                pod.containers.iter().filter(|container| container.ready).count(),
                2
            );
        }
        assert_eq!(weights(mesh, "forecast-route", 0).await[0].0, "v1");
        let subsets = mesh
            .stored("DestinationRule", "weather", "forecast-dr")
            .await
            .expect("stored");
        assert_eq!(subsets["subsets"][0]["name"], "v1");
        assert_eq!(
            pages(mesh, 20, &[]).await,
            BTreeMap::from([("v1 v1".to_owned(), 20)])
        );

        // v2 runs and is declared: nobody sees it.
        mesh.scale(&forecast, "weather", "forecast-v2", 1).await;
        let subsets = mesh
            .stored("DestinationRule", "weather", "forecast-dr")
            .await
            .expect("stored");
        assert_eq!(subsets["subsets"][1]["name"], "v2");
        assert_eq!(
            pages(mesh, 20, &[]).await,
            BTreeMap::from([("v1 v1".to_owned(), 20)])
        );

        mesh.enforce(&rules("weather-rules/forecast-weight-50-50.yaml"))
            .await;
        let half = |subset: &str| (subset.to_owned(), 50);
        assert_eq!(weights(mesh, "forecast-route", 0).await, [half("v1"), half("v2")]);
        let versions = mesh.from(FRONTEND).at_once(8, 400, FORECAST, &[], version).await;
        versions.assert_share("v2", 43..=57, &["v1"]);
        let seen = pages(mesh, 40, &[]).await;
        assert!(
            seen.len() == 2 && seen.contains_key("v1 v2 recommended") && seen.contains_key("v1 v1"),
            "{seen:?}"
        );

        mesh.enforce(&rules("weather-rules/forecast-weight-0-100.yaml"))
            .await;
        assert_eq!(
            weights(mesh, "forecast-route", 0).await.last(),
            Some(&("v2".to_owned(), 100))
        );
        // Weight 0 is no destination.
        mesh.has_no_weights(FRONTEND)
            .await
            .expect("one destination alone");
        let all_v2 = BTreeMap::from([("v1 v2 recommended".to_owned(), 30)]);
        assert_eq!(pages(mesh, 30, &[]).await, all_v2);

        mesh.mesh()
            .delete("Deployment", "weather", "forecast-v1")
            .await
            .expect("deleted");
        mesh.eventually("v1 is gone", async || {
            assert_eq!(pages(mesh, 3, &[]).await.len(), 1);
            anyhow::ensure!(mesh.mesh().state().pod("forecast-v1-0").is_none(), "not yet");
            Ok(())
        })
        .await;
        assert_eq!(pages(mesh, 30, &[]).await, all_v2);
    });
}

/// The name of the header counts in any case, as HTTP has it.
#[test]
fn ex_1010_1011_one_browser_sees_the_new_version() {
    WEATHER.run(async |mesh| {
        mesh.enforce(&rules("weather-rules/forecast-user-agent.yaml"))
            .await;
        let stored = mesh
            .stored("VirtualService", "weather", "forecast-route")
            .await
            .expect("stored");
        assert!(stored["http"][0]["match"].is_array(), "{stored}");
        let caller = mesh.from(FRONTEND);
        caller
            .versions(10, FORECAST, &[("user-agent", CHROME)])
            .await
            .assert_all("v2");
        for other in [FIREFOX, "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1)", ""] {
            caller
                .versions(10, FORECAST, &[("user-agent", other)])
                .await
                .assert_all("v1");
        }
        // Through the whole chain.
        let seen = pages(mesh, 5, &[("user-agent", CHROME)]).await;
        assert_eq!(seen, BTreeMap::from([("v1 v2 recommended".to_owned(), 5)]));
    });
}

/// Runs the frontend's v2.
async fn with_blue_frontend(mesh: &TestMesh) {
    let manifests = rules("weather-rules/frontend-v2.yaml");
    mesh.apply(&manifests).await;
    mesh.scale(&manifests, "weather", "frontend-v2", 1).await;
}

#[test]
fn ex_1012_1013_1014_1015_half_of_the_android_phones_see_the_blue_button() {
    WEATHER.run(async |mesh| {
        with_blue_frontend(mesh).await;
        let subsets = mesh
            .stored("DestinationRule", "weather", "frontend-dr")
            .await
            .expect("stored");
        assert_eq!(subsets["subsets"][1]["name"], "v2");
        mesh.enforce(&rules("weather-rules/frontend-android.yaml")).await;
        let half = |subset: &str| (subset.to_owned(), 50);
        assert_eq!(weights(mesh, "frontend-route", 0).await, [half("v1"), half("v2")]);
        mesh.eventually("a phone sees blue", async || {
            let page = mesh.get("/", &[("user-agent", ANDROID)]).await?;
            anyhow::ensure!(page.body.contains("class=\"blue\""), "not blue");
            Ok(())
        })
        .await;
        let mut blue = 0;
        for _ in 0..100 {
            let page = mesh.get("/", &[("user-agent", ANDROID)]).await.expect("answered");
            assert_eq!(page.status, 200);
            blue += usize::from(page.body.contains("class=\"blue\""));
        }
        // 5 is the standard deviation.
        assert!((30..=70).contains(&blue), "{blue} of 100 are blue");
        for _ in 0..20 {
            let page = mesh.get("/", &[("user-agent", WINDOWS)]).await.expect("answered");
            assert!(page.body.contains("class=\"green\""), "{}", page.body);
        }
    });
}

/// R-SCN-6: testers see the new versions of both services, everybody else the old ones; chains are never mixed.
#[test]
fn ex_1016_1017_1018_two_services_are_released_together() {
    WEATHER.run(async |mesh| {
        with_blue_frontend(mesh).await;
        mesh.enforce(&rules("weather-rules/tester.yaml")).await;
        let stored = mesh
            .stored("VirtualService", "weather", "forecast-route")
            .await
            .expect("stored");
        assert_eq!(stored["http"][0]["match"][0]["sourceLabels"]["version"], "v2");
        for (cookie, expected) in [
            ("user=tester", "v2 v2 recommended"),
            ("a=b;user=tester;c=d", "v2 v2 recommended"),
            ("user=visitor", "v1 v1"),
            ("xuser=tester", "v1 v1"),
        ] {
            let seen = pages(mesh, 50, &[("cookie", cookie)]).await;
            assert_eq!(seen, BTreeMap::from([(expected.to_owned(), 50)]), "{cookie}");
        }
    });
}

/// R-SCN-5: blue and green: everything at once, and back.
#[test]
fn r_scn_5_all_traffic_switches_at_once_and_back() {
    WEATHER.run(async |mesh| {
        let caller = mesh.from(FRONTEND);
        for _ in 0..3 {
            mesh.enforce(&rules("weather-rules/forecast-v1.yaml")).await;
            caller.versions(20, FORECAST, &[]).await.assert_all("v1");
            mesh.enforce(&rules("weather-rules/forecast-weight-0-100.yaml"))
                .await;
            caller.versions(20, FORECAST, &[]).await.assert_all("v2");
        }
    });
}
