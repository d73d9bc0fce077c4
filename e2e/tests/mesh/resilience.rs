//! Retries, timeouts, connection pools and outlier detection (R-SCN-2, R-SCN-3).

use std::time::{Duration, Instant};

use e2e::sample::echo::Behaviour;

use crate::support::fixture::DOUBLES;
use crate::support::rule::{destination_rule, virtual_service};
use crate::support::{TestMesh, status};

const FRONTEND: &str = "frontend-v1-0";
const FORECAST: &str = "http://forecast:3002/";
const PORT: u16 = 3002;
const V1: [&str; 3] = ["forecast-v1-0", "forecast-v1-1", "forecast-v1-2"];
const V2: [&str; 2] = ["forecast-v2-0", "forecast-v2-1"];
const V3: &str = "forecast-v3-0";

fn status_of(status: u16) -> Behaviour {
    Behaviour {
        status,
        ..Behaviour::default()
    }
}

/// Gives all requests for forecast to one version.
fn only(subset: &str) -> String {
    virtual_service(
        "forecast",
        &format!(
            "{{hosts: [forecast], http: [{{retries: {{attempts: 0}}, route: [{{destination: {{host: forecast, subset: {subset}}}}}]}}]}}"
        ),
    )
}

/// Five retries: a backend that always fails is asked six times. The limit of a try is shorter than the book's 3 s.
#[test]
fn ex_19_five_retries_each_with_a_limit() {
    DOUBLES.run(async |mesh| {
        let rule = |subset: &str| {
            virtual_service(
                "forecast",
                &format!("{{hosts: [forecast], http: [{{route: [{{destination: {{host: forecast, subset: {subset}}}}}],
                  retries: {{attempts: 5, perTryTimeout: 500ms, retryOn: \"5xx,connect-failure\"}}}}]}}"),
            )
        };
        mesh.enforce(&rule("v3")).await;
        let caller = mesh.from(FRONTEND);
        let asked = async |expected: u16, headers: &[(&str, &str)]| {
            let before = mesh.requests_of(V3, PORT).await;
            let began = Instant::now();
            caller.expect(expected, FORECAST, headers).await;
            (mesh.requests_of(V3, PORT).await - before, began.elapsed())
        };
        assert_eq!(asked(200, &[]).await.0, 1);
        assert_eq!(asked(503, &[("x-echo-status", "503")]).await.0, 6);
        // 404 is no 5xx.
        assert_eq!(asked(404, &[("x-echo-status", "404")]).await.0, 1);
        // A try that hangs is cut.
        let (requests, time) = asked(504, &[("x-echo-delay-ms", "20000")]).await;
        assert_eq!(requests, 6);
        assert!((Duration::from_secs(3)..Duration::from_secs(19)).contains(&time), "{time:?}");

        // One of three pods fails: nobody notices.
        mesh.behave(V1[0], PORT, status_of(500)).await;
        mesh.enforce(&rule("v1")).await;
        caller.tally(30, FORECAST, &[], status).await.assert_all("200");
        assert!(mesh.requests_of(V1[0], PORT).await > 0);
    });
}

/// R-VS-18: without a word about retries, 503 is tried twice more; `attempts: 0` turns that off (R-VS-19).
#[test]
fn r_vs_18_19_a_503_is_retried_unless_the_rule_says_no() {
    DOUBLES.run(async |mesh| {
        let asked = async |subset: &str, retries: &str| {
            mesh.enforce(&virtual_service(
                "forecast",
                &format!("{{hosts: [forecast], http: [{{{retries}route: [{{destination: {{host: forecast, subset: {subset}}}}}]}}]}}"),
            ))
            .await;
            let before = mesh.requests_of(V3, PORT).await;
            mesh.from(FRONTEND).expect(503, FORECAST, &[("x-echo-status", "503")]).await;
            mesh.requests_of(V3, PORT).await - before
        };
        assert_eq!(asked("v3", "").await, 3);
        assert_eq!(asked("v3", "retries: {attempts: 0}, ").await, 1);
    });
}

/// R-VS-21: the timeout of a route covers all tries, and is a 504.
#[test]
fn r_vs_21_a_timeout_covers_all_tries() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [{timeout: 1s, retries: {attempts: 10, perTryTimeout: 300ms, retryOn: 5xx},
              route: [{destination: {host: forecast, subset: v3}}]}]}",
        ))
        .await;
        let began = Instant::now();
        let answer = mesh
            .from(FRONTEND)
            .expect(504, FORECAST, &[("x-echo-delay-ms", "20000")])
            .await;
        let time = began.elapsed();
        assert!(
            (Duration::from_millis(900)..Duration::from_secs(19)).contains(&time),
            "{time:?}"
        );
        assert_eq!(answer.body, "upstream request timeout");
    });
}

/// The pool's limits as the callers meet them: what is too much is refused at once (R-DR-18).
#[test]
fn ex_37_requests_beyond_the_pool_are_refused_and_connections_are_renewed() {
    DOUBLES.run(async |mesh| {
        let rule = |http: &str| {
            destination_rule(
                "forecast",
                &format!("{{host: forecast, subsets: [{{name: v3, labels: {{version: v3}}}}], trafficPolicy: {{connectionPool: {{
                  tcp: {{maxConnections: 80, connectTimeout: 2s, tcpKeepalive: {{probes: 5, time: 3600s, interval: 60s}}}},
                  http: {http}}}}}}}"),
            )
        };
        mesh.enforce(&(rule("{http2MaxRequests: 8, maxRequestsPerConnection: 10}") + &only("v3")))
            .await;
        let caller = mesh.from(FRONTEND);
        let cluster = "cluster.outbound|3002|v3|forecast.weather.svc.cluster.local";
        let connections = async || {
            let name = format!("{cluster}.upstream_cx_total");
            mesh.stat(FRONTEND, &name).await.unwrap_or_default()
        };
        let before = connections().await;
        caller.tally(50, FORECAST, &[], status).await.assert_all("200");
        let opened = connections().await - before;
        // Ten requests each; each of the proxy's threads may have one that is not full.
        assert!((5..=9).contains(&opened), "{opened} connections for 50 requests");

        // Eight at a time and no ninth, as long as they take a second.
        let slow = [("x-echo-delay-ms", "1000")];
        caller
            .at_once(8, 16, FORECAST, &slow, status)
            .await
            .assert_all("200");
        let tally = caller
            .at_once(20, 20, FORECAST, &slow, |answer| {
                format!("{} {}", answer.status, answer.header("x-envoy-overloaded"))
            })
            .await;
        let (answered, refused) = (tally.of("200 "), tally.of("503 true"));
        assert!(
            answered >= 8 && refused >= 6 && answered + refused == 20,
            "{:?}",
            tally.0
        );
    });
}

/// Pool and isolation together. Five errors in a row put a pod aside, a third of the pods at most, and for longer the
/// second time. The times are the book's divided by 300.
/// `R-DR-20`.
#[test]
fn ex_38_43_1137_five_errors_in_a_row_put_a_pod_aside() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&(destination_rule(
            "forecast",
            "{host: forecast, subsets: [{name: v1, labels: {version: v1}}], trafficPolicy: {
              loadBalancer: {simple: ROUND_ROBIN},
              connectionPool: {tcp: {maxConnections: 80, connectTimeout: 2s}, http: {http2MaxRequests: 800, maxRequestsPerConnection: 10}},
              outlierDetection: {consecutiveErrors: 5, interval: 500ms, baseEjectionTime: 2s, maxEjectionPercent: 34}}}",
        ) + &only("v1")))
        .await;
        let caller = mesh.from(FRONTEND);
        // EX-1137: 500 is not among the errors that count.
        mesh.behave(V1[0], PORT, status_of(500)).await;
        let tally = caller.pods(45, FORECAST, &[]).await;
        assert!(tally.of("500") > 9, "{:?}", tally.0);
        assert_eq!(active_ejections(mesh).await, 0);

        mesh.behave(V1[0], PORT, status_of(503)).await;
        let first = ejection(mesh).await;
            let second = ejection(mesh).await;
        assert!(first >= Duration::from_millis(1500), "{first:?}");
        assert!(second > first, "the first time {first:?}, the second {second:?}");

        // A third of the pods at most: the second bad pod stays.
        mesh.behave(V1[1], PORT, status_of(503)).await;
        mesh.eventually("one pod is aside", async || {
            caller.pods(15, FORECAST, &[]).await;
            anyhow::ensure!(active_ejections(mesh).await == 1);
            Ok(())
        })
        .await;
        let tally = caller.tally(60, FORECAST, &[], status).await;
        assert!(tally.of("503") > 0 && tally.of("200") > 0, "{:?}", tally.0);
        assert_eq!(active_ejections(mesh).await, 1);
    });
}

async fn active_ejections(mesh: &TestMesh) -> u64 {
    let cluster = "cluster.outbound|3002|v1|forecast.weather.svc.cluster.local";
    mesh.stat(FRONTEND, &format!("{cluster}.outlier_detection.ejections_active"))
        .await
        .expect("a statistic")
}

/// Makes errors until a pod is put aside, and waits until it is back. How long it was aside.
async fn ejection(mesh: &TestMesh) -> Duration {
    let caller = mesh.from(FRONTEND);
    mesh.eventually("the failing pod is put aside", async || {
        caller.pods(5, FORECAST, &[]).await;
        anyhow::ensure!(active_ejections(mesh).await == 1, "not yet");
        Ok(())
    })
    .await;
    let began = Instant::now();
    // Envoy collects changes of health for up to a second before it acts on them.
    mesh.eventually("the others do all the work", async || {
        let tally = caller.pods(12, FORECAST, &[]).await;
        anyhow::ensure!(tally.of(V1[1]) + tally.of(V1[2]) == 12, "{:?}", tally.0);
        Ok(())
    })
    .await;
    mesh.eventually("it is back", async || {
        anyhow::ensure!(active_ejections(mesh).await == 0, "still aside");
        Ok(())
    })
    .await;
    began.elapsed()
}

/// EX38 for a port without HTTP (R-DR-22) and R-DR-21: with too few healthy pods all are used.
/// `R-DR-24`.
#[test]
fn r_dr_21_with_too_few_healthy_pods_all_are_used() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&(destination_rule(
            "forecast",
            "{host: forecast, subsets: [{name: v2, labels: {version: v2}}], trafficPolicy: {
              outlierDetection: {consecutiveErrors: 1, interval: 200ms, baseEjectionTime: 60s, maxEjectionPercent: 100, minHealthPercent: 60}}}",
        ) + &only("v2")))
        .await;
        mesh.behave(V2[0], PORT, status_of(503)).await;
        let caller = mesh.from(FRONTEND);
        let name = "cluster.outbound|3002|v2|forecast.weather.svc.cluster.local.outlier_detection.ejections_active";
        mesh.eventually("the failing pod is put aside", async || {
            caller.pods(4, FORECAST, &[]).await;
            anyhow::ensure!(mesh.stat(FRONTEND, name).await? == 1, "not yet");
            Ok(())
        })
        .await;
        let elsewhere = mesh.stat("frontend-v2-0", name).await;
        assert_eq!(elsewhere.expect("counted"), 0, "each proxy judges by itself");
        // Half of the pods are healthy, which is less than 60 %: the marks are ignored.
        let panics = "cluster.outbound|3002|v2|forecast.weather.svc.cluster.local.lb_healthy_panic";
        mesh.eventually("both pods are used", async || {
            let tally = caller.pods(12, FORECAST, &[]).await;
            anyhow::ensure!(tally.of("503") >= 3 && tally.of(V2[1]) >= 3, "{:?}", tally.0);
            anyhow::ensure!(mesh.stat(FRONTEND, panics).await? > 0, "no panic so far");
            Ok(())
        })
        .await;
    });
}
