//! Exercises of chapter 11 of the book on the weather application: timeouts, retries, redirect, rewrite, circuit
//! breaking, mirroring.

use std::time::{Duration, Instant};

use crate::support::fixture::WEATHER;
use crate::support::rule::virtual_service;
use crate::support::{TestMesh, rules, status, version};

const FRONTEND: &str = "frontend-v1-0";
const FORECAST: &str = "http://forecast:3002/weather";
const ADVERTISEMENT: &str = "http://advertisement:3003";

/// All requests for forecast go to v2, which asks recommendation.
const V2_ALONE: &str = "weather-rules/forecast-weight-0-100.yaml";

/// Where `text` begins with its first object only.
fn first_object(text: &str) -> &str {
    text.split("---\n").next().unwrap_or_default()
}

/// How many requests an application has logged.
fn logged(mesh: &TestMesh, pod: &str, path: &str) -> usize {
    let log = mesh.log(pod);
    log.lines()
        .filter(|line| line.contains("request") && line.contains(path))
        .count()
}

/// EX-1114 to EX-1117: a second is enough for forecast, unless recommendation takes four.
#[test]
fn ex_1114_1115_1116_1117_a_timeout_of_one_second() {
    WEATHER.run(async |mesh| {
        let caller = mesh.from(FRONTEND);
        mesh.enforce(&rules(V2_ALONE)).await;
        let answer = caller.expect(200, FORECAST, &[]).await;
        assert!(answer.body.contains("\"recommendation\""), "{}", answer.body);

        let both = rules("weather-rules/forecast-timeout.yaml");
        mesh.enforce(first_object(&both)).await;
        let stored = mesh
            .stored("VirtualService", "weather", "forecast-route")
            .await
            .expect("stored");
        assert_eq!(stored["http"][0]["timeout"], "1s", "{stored}");
        caller.versions(10, FORECAST, &[]).await.assert_all("v2");

        mesh.enforce(&both).await;
        let began = Instant::now();
        let answer = caller.expect(504, FORECAST, &[]).await;
        let time = began.elapsed();
        assert!(time >= Duration::from_millis(900), "{time:?}");
        assert_eq!(answer.body, "upstream request timeout");
    });
}

/// EX-1118 to EX-1121: a failing recommendation is asked for once, and with three retries four times.
#[test]
fn ex_1118_1119_1120_1121_three_retries() {
    WEATHER.run(async |mesh| {
        let caller = mesh.from(FRONTEND);
        let both = rules("weather-rules/forecast-retry.yaml");
        mesh.enforce(&(rules(V2_ALONE) + "---\n" + both.split("---\n").nth(1).expect("two objects")))
            .await;
        let asked = async |entries: usize| {
            let before = logged(mesh, "forecast-v2-0", "/weather");
            caller.expect(500, FORECAST, &[]).await;
            mesh.eventually("the log is complete", async || {
                let now = logged(mesh, "forecast-v2-0", "/weather") - before;
                anyhow::ensure!(now == entries, "{now} entries, not {entries}");
                Ok(())
            })
            .await;
        };
        asked(1).await;
        mesh.enforce(&both).await;
        let stored = mesh
            .stored("VirtualService", "weather", "forecast-route")
            .await
            .expect("stored");
        assert_eq!(stored["http"][0]["retries"]["attempts"], 3, "{stored}");
        asked(4).await;
    });
}

#[test]
fn ex_1122_1123_a_redirect_to_another_place() {
    WEATHER.run(async |mesh| {
        mesh.enforce(&rules("weather-rules/advertisement-redirect.yaml"))
            .await;
        let stored = mesh
            .stored("VirtualService", "weather", "advertisement-route")
            .await
            .expect("stored");
        assert_eq!(stored["http"][0]["redirect"]["uri"], "/maintenanced");
        let answer = mesh
            .from(FRONTEND)
            .expect(301, &format!("{ADVERTISEMENT}/ad"), &[])
            .await;
        assert_eq!(
            answer.header("location"),
            "http://advertisement.weather.svc.cluster.local/maintenanced"
        );
    });
}

#[test]
fn ex_1124_1125_1126_a_rewrite_of_a_prefix() {
    WEATHER.run(async |mesh| {
        mesh.enforce(&rules("weather-rules/advertisement-rewrite.yaml"))
            .await;
        let stored = mesh
            .stored("VirtualService", "weather", "advertisement-route")
            .await
            .expect("stored");
        assert_eq!(stored["http"][0]["rewrite"]["uri"], "/");
        let caller = mesh.from(FRONTEND);
        caller.expect(404, &format!("{ADVERTISEMENT}/ad"), &[]).await;
        caller.expect(200, &format!("{ADVERTISEMENT}/demo/ad"), &[]).await;
    });
}

/// A client with statistics of its calls, five pods of forecast, and the rule that limits both.
async fn fortio(mesh: &TestMesh, rule: &str) -> &'static str {
    let forecast = rules("weather/forecast.yaml");
    let fortio = rules("weather-rules/fortio.yaml");
    mesh.apply(&fortio).await;
    mesh.apply(&rules(V2_ALONE)).await;
    mesh.apply(rule).await;
    mesh.scale(&fortio, "weather", "fortio", 1).await;
    mesh.scale(&forecast, "weather", "forecast-v2", 5).await;
    "fortio-0"
}

/// EX-1127 to EX-1131: three connections and five waiting requests are too few: what is too much is refused by the
/// caller's own proxy, and counted. Each thread of Envoy may always have one connection to each pod, so ten requests at
/// once, as in the book, may all find one; thirty do not.
#[test]
fn ex_1127_1128_1129_1130_1131_a_pool_that_is_too_small() {
    WEATHER.run(async |mesh| {
        let pod = fortio(mesh, &rules("weather-rules/forecast-circuit-breaker.yaml")).await;
        let stored = mesh.stored("DestinationRule", "weather", "forecast-dr").await.expect("stored");
        assert_eq!(stored["trafficPolicy"]["connectionPool"]["tcp"]["maxConnections"], 3);
        // Without retries, which would hide some of the refusals, and slow enough for requests to meet.
        let rules = [("forecast", "retries: {attempts: 0}, ", "v2"), ("recommendation", "fault: {delay: {fixedDelay: 200ms}}, ", "v1")];
        for (host, what, subset) in rules {
            mesh.apply(&virtual_service(
                &format!("{host}-route"),
                &format!("{{hosts: [{host}], http: [{{{what}route: [{{destination: {{host: {host}, subset: {subset}}}}}]}}]}}"),
            ))
            .await;
        }
        mesh.settle().await;
        let tally = mesh.from(pod).at_once(30, 150, FORECAST, &[], status).await;
        let refused = tally.of("503");
        assert!(
            refused > 0 && tally.of("200") > 0 && refused + tally.of("200") == 150,
            "{:?} {}",
            tally.0,
            mesh.admin(pod, "stats?filter=v2.forecast").await.unwrap_or_default()
        );
        let overflows = "cluster.outbound|3002|v2|forecast.weather.svc.cluster.local.upstream_rq_pending_overflow";
        let overflows = mesh.stat(pod, overflows).await.expect("a statistic");
        assert_eq!(usize::try_from(overflows).expect("few"), refused);
    });
}

/// EX-1132 to EX-1136, and EX-1138: timeouts are gateway errors; two in a row put a pod aside, two of five pods at most,
/// until the time is over. The time is shorter than the book's two minutes.
#[test]
fn ex_1132_1133_1134_1135_1136_1138_pods_that_time_out_are_put_aside() {
    WEATHER.run(async |mesh| {
        let breaker = rules("weather-rules/forecast-circuit-breaker.yaml")
            .replace("interval: 10s", "interval: 500ms")
            .replace("baseEjectionTime: 2m", "baseEjectionTime: 15s");
        let pod = fortio(mesh, &breaker).await;
        let stored = mesh
            .stored("DestinationRule", "weather", "forecast-dr")
            .await
            .expect("stored");
        assert_eq!(
            stored["trafficPolicy"]["outlierDetection"]["consecutiveErrors"], 2,
            "{stored}"
        );
        mesh.enforce(&rules("weather-rules/forecast-timeout.yaml")).await;

        let tally = mesh.from(pod).at_once(5, 20, FORECAST, &[], status).await;
        tally.assert_all("504");
        let ejections =
            "cluster.outbound|3002|v2|forecast.weather.svc.cluster.local.outlier_detection.ejections_active";
        assert_eq!(mesh.stat(pod, ejections).await.expect("a statistic"), 2);
        mesh.eventually("all pods are back", async || {
            let active = mesh.stat(pod, ejections).await?;
            anyhow::ensure!(active == 0, "{active} pods are aside");
            Ok(())
        })
        .await;
    });
}

/// EX-1152 to EX-1155: v2 sees every request, v1 alone is heard.
#[test]
fn ex_1152_1153_1154_1155_a_mirror() {
    WEATHER.run(async |mesh| {
        mesh.enforce(&rules("weather-rules/forecast-v1.yaml")).await;
        let caller = mesh.from(FRONTEND);
        let copies = || logged(mesh, "forecast-v2-0", "/weather");
        let before = copies();
        let answer = caller.expect(200, FORECAST, &[]).await;
        assert!(!answer.body.contains("\"recommendation\""), "{}", answer.body);

        mesh.enforce(&rules("weather-rules/forecast-mirror.yaml")).await;
        assert_eq!(copies(), before, "no traffic so far");
        let stored = mesh
            .stored("VirtualService", "weather", "forecast-route")
            .await
            .expect("stored");
        assert_eq!(stored["http"][0]["mirror"]["subset"], "v2", "{stored}");
        let recommended = logged(mesh, "recommendation-v1-0", "/activity");
        let heard = logged(mesh, "forecast-v1-0", "/weather");
        let answer = caller.expect(200, FORECAST, &[]).await;
        assert_eq!(version(&answer), "v1");
        mesh.eventually("everybody concerned has seen it", async || {
            let seen = (
                logged(mesh, "forecast-v1-0", "/weather") - heard,
                copies() - before,
                logged(mesh, "recommendation-v1-0", "/activity") - recommended,
            );
            anyhow::ensure!(seen == (1, 1, 1), "{seen:?}");
            let log = mesh.log("forecast-v2-0");
            anyhow::ensure!(log.contains("-shadow"), "{log}");
            Ok(())
        })
        .await;
        // What becomes of the copy is nobody's business.
        mesh.enforce(
            rules("weather-rules/forecast-retry.yaml")
                .split("---\n")
                .nth(1)
                .expect("two objects"),
        )
        .await;
        caller.versions(10, FORECAST, &[]).await.assert_all("v1");
    });
}
