//! What becomes of a request on its way: redirect, rewrite, headers, CORS, copies.

use e2e::sample::echo::Behaviour;
use hyper::Method;

use crate::support::fixture::DOUBLES;
use crate::support::rule::virtual_service;
use crate::support::{pod, version};

const FRONTEND: &str = "frontend-v1-0";
const FORECAST: &str = "http://forecast:3002/";
const PORT: u16 = 3002;
const V1: [&str; 3] = ["forecast-v1-0", "forecast-v1-1", "forecast-v1-2"];
const V2: [&str; 2] = ["forecast-v2-0", "forecast-v2-1"];

#[test]
fn ex_17_a_redirect_replaces_the_whole_path() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [{match: [{uri: {prefix: /advertisement}}],
              redirect: {uri: /recommendation/activity, authority: new-forecast}}]}",
        ))
        .await;
        let caller = mesh.from(FRONTEND);
        for path in ["advertisement", "advertisement/anything", "advertisement/a/b"] {
            let answer = caller.expect(301, &format!("{FORECAST}{path}"), &[]).await;
            assert_eq!(
                answer.header("location"),
                "http://new-forecast/recommendation/activity"
            );
        }
        // What the rule does not name has no route.
        caller.expect(404, &format!("{FORECAST}other"), &[]).await;
    });
}

#[test]
fn ex_18_a_rewrite_replaces_the_matched_prefix() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [
              {match: [{uri: {prefix: /advertisement}}], rewrite: {uri: /recommendation/activity}, route: [{destination: {host: forecast}}]},
              {match: [{uri: {prefix: /elsewhere}}], rewrite: {authority: other.example.com}, route: [{destination: {host: forecast}}]},
              {route: [{destination: {host: forecast}}]}]}",
        ))
        .await;
        let caller = mesh.from(FRONTEND);
        let seen = caller.echo(&format!("{FORECAST}advertisement/x?q=1"), &[]).await;
        assert_eq!((seen.path.as_str(), seen.query.as_str()), ("/recommendation/activity/x", "q=1"));
        assert_eq!(seen.host, "forecast:3002");
        let seen = caller.echo(&format!("{FORECAST}elsewhere"), &[]).await;
        assert_eq!((seen.path.as_str(), seen.host.as_str()), ("/elsewhere", "other.example.com"));
        assert_eq!(caller.echo(&format!("{FORECAST}x"), &[]).await.path, "/x");
    });
}

/// Every request reaches both, and the caller sees v1 alone, whatever happens to v2 (R-VS-23).
#[test]
fn ex_20_a_mirror_gets_a_copy_and_nobody_waits_for_it() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [{route: [{destination: {host: forecast, subset: v1}}], mirror: {host: forecast, subset: v2}}]}",
        ))
        .await;
        let caller = mesh.from(FRONTEND);
        let before = mesh.requests_of_all(&V2, PORT).await;
        caller.versions(10, FORECAST, &[]).await.assert_all("v1");
        mesh.eventually("v2 sees the copies", async || {
            let copies = mesh.requests_of_all(&V2, PORT).await - before;
            anyhow::ensure!(copies == 10, "{copies} copies of 10 requests");
            Ok(())
        })
        .await;
        mesh.eventually("the copies bear the host with -shadow", async || {
            let log = V2.map(|pod| mesh.log(pod)).concat();
            anyhow::ensure!(log.contains("-shadow"), "{log}");
            Ok(())
        })
        .await;

        // A mirror that fails or hangs is nobody's problem.
        for pod in V2 {
            let slow = Behaviour { status: 500, delay_ms: 3000, ..Behaviour::default() };
            mesh.behave(pod, PORT, slow).await;
        }
        let began = std::time::Instant::now();
        caller.versions(10, FORECAST, &[]).await.assert_all("v1");
        assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
    });
}

#[test]
fn r_vs_23_a_mirror_that_does_not_exist_is_nobodys_problem() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [{route: [{destination: {host: forecast, subset: v1}}], mirror: {host: forecast, subset: none}}]}",
        ))
        .await;
        mesh.from(FRONTEND).versions(10, FORECAST, &[]).await.assert_all("v1");
    });
}

#[test]
fn ex_23_cors_answers_the_origins_that_may() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [{route: [{destination: {host: forecast}}], corsPolicy: {allowOrigin: [news.com], allowMethods: [GET]}}]}",
        ))
        .await;
        let caller = mesh.from(FRONTEND);
        let requests = async || {
            let v1_and_v2 = mesh.requests_of_all(&V1, PORT).await + mesh.requests_of_all(&V2, PORT).await;
            v1_and_v2 + mesh.requests_of("forecast-v3-0", PORT).await
        };
        let allowed = "access-control-allow-origin";
        let before = requests().await;
        let preflight = [("origin", "news.com"), ("access-control-request-method", "GET")];
        let answer = caller.send(Method::OPTIONS, FORECAST, &preflight).await.expect("answered");
        assert_eq!((answer.status, answer.header(allowed)), (200, "news.com"), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-methods"), "GET");
        assert_eq!(requests().await, before, "the proxy answers by itself");

        let answer = caller.expect(200, FORECAST, &[("origin", "news.com")]).await;
        assert_eq!(answer.header(allowed), "news.com");
        let answer = caller.expect(200, FORECAST, &[("origin", "evil.com")]).await;
        assert_eq!(answer.header(allowed), "");
    });
}

/// Headers are set, added and removed, for a route and for one of its destinations (spec 01 §5.7).
#[test]
fn r_vs_5_7_headers_change_on_the_way() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [{
              headers: {request: {set: {x-set: new}, add: {x-add: more}, remove: [x-gone]}, response: {set: {x-back: here}, remove: [x-sample-pod]}},
              route: [{destination: {host: forecast, subset: v1}, headers: {request: {set: {x-to: v1}}}}]}]}",
        ))
        .await;
        let caller = mesh.from(FRONTEND);
        let headers = [("x-set", "old"), ("x-add", "one"), ("x-gone", "still here")];
        let answer = caller.expect(200, FORECAST, &headers).await;
        assert_eq!((version(&answer).as_str(), pod(&answer).as_str()), ("v1", ""));
        assert_eq!(answer.header("x-back"), "here");
        let seen = caller.echo(FORECAST, &headers).await.headers;
        assert_eq!((seen["x-set"].as_str(), seen["x-to"].as_str()), ("new", "v1"));
        assert!(seen["x-add"].contains("one") && seen["x-add"].contains("more"), "{seen:?}");
        assert!(!seen.contains_key("x-gone"), "{seen:?}");
    });
}
