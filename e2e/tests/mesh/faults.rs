//! Delays and aborts that rules inject (R-SCN-4).

use std::time::{Duration, Instant};

use e2e::load::Answer;

use crate::support::fixture::{DOUBLES, WEATHER};
use crate::support::rule::virtual_service;
use crate::support::{rules, version};

/// More than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const FRONTEND: &str = "frontend-v1-0";
const FORECAST: &str = "http://forecast:3002/";
const V2: [&str; 2] = ["forecast-v2-0", "forecast-v2-1"];

/// A delay of 1.5 % and an abort of 1.5 %, each drawn by itself. The delay is a tenth of the book's, so that the test
/// need not wait for the few that it hits.
#[test]
fn ex_21_22_faults_in_fractions_of_a_percent() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [{route: [{destination: {host: forecast, subset: v2}}],
              fault: {delay: {percentage: {value: 1.5}, fixedDelay: 1s}, abort: {percentage: {value: 1.5}, httpStatus: 500}}}]}",
        ))
        .await;
        let caller = mesh.from(FRONTEND);
        let seen = mesh.requests_of_all(&V2, 3002).await;
        let slow = std::cell::Cell::new(0_usize);
        let mut answers = std::collections::BTreeMap::<String, usize>::new();
        let one = async |_| {
            let began = Instant::now();
            let answer = caller.get(FORECAST, &[]).await.expect("answered");
            if began.elapsed() >= Duration::from_secs(1) {
                slow.set(slow.get() + 1);
            }
            version(&answer)
        };
        let requests = 2000;
        let mut stream = futures::StreamExt::buffer_unordered(futures::stream::iter((0..requests).map(one)), 16);
        while let Some(class) = futures::StreamExt::next(&mut stream).await {
            *answers.entry(class).or_default() += 1;
        }
        // 30 are expected of each; 5.4 is the standard deviation.
        let aborted = answers.get("500").copied().unwrap_or_default();
        assert!((8..=60).contains(&aborted), "{answers:?}");
        assert!((8..=60).contains(&slow.get()), "{} of {requests} were slow", slow.get());
        assert_eq!(answers["v2"] + aborted, requests, "{answers:?}");
        let reached = mesh.requests_of_all(&V2, 3002).await - seen;
        assert_eq!(usize::try_from(reached).expect("few"), requests - aborted, "an abort reaches nobody");
    });
}

/// The delay is for calls from the frontend's v2 and nobody else. It is shorter than the book's 20 s.
/// `R-X-1`, `R-VS-30`.
#[test]
fn ex_31_a_delay_for_one_version_of_the_caller() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [
              {match: [{sourceLabels: {app: frontend, version: v2}}], fault: {delay: {percentage: {value: 100}, fixedDelay: 4s}},
               route: [{destination: {host: forecast, subset: v1}}]},
              {route: [{destination: {host: forecast, subset: v1}}]}]}",
        ))
        .await;
        let time = async |pod: &str| {
            let began = Instant::now();
            let answer: Answer = mesh.from(pod).expect(200, FORECAST, &[]).await;
            assert_eq!(version(&answer), "v1");
            began.elapsed()
        };
        let (v1, v2) = tokio::join!(time(FRONTEND), time("frontend-v2-0"));
        assert!(v1 < v2, "{v1:?}, {v2:?}");
        assert!((Duration::from_secs(4)..PATIENCE).contains(&v2), "{v2:?}");
    });
}

/// R-VS-25: other requests stay normal. A-6: without a percentage a fault hits all.
#[test]
fn r_vs_25_a_match_restricts_a_fault() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [
              {match: [{headers: {end-user: {exact: jason}}}], fault: {abort: {httpStatus: 418}}, route: [{destination: {host: forecast}}]},
              {route: [{destination: {host: forecast}}]}]}",
        ))
        .await;
        let caller = mesh.from(FRONTEND);
        for _ in 0..5 {
            caller.expect(418, FORECAST, &[("end-user", "jason")]).await;
            caller.expect(200, FORECAST, &[("end-user", "mary")]).await;
        }
    });
}

const ADVERTISEMENT: &str = "http://advertisement:3003/ad";

/// The old spelling `percent` of the delay counts, and the answer is a good one, only late.
#[test]
fn ex_1109_1110_1111_an_injected_delay_of_three_seconds() {
    WEATHER.run(async |mesh| {
        let caller = mesh.from(FRONTEND);
        let time = async || {
            let began = Instant::now();
            caller.expect(200, ADVERTISEMENT, &[]).await;
            began.elapsed()
        };
        let before = time().await;
        mesh.enforce(&rules("weather-rules/advertisement-delay.yaml"))
            .await;
        let delayed = time().await;
        assert!(
            (Duration::from_millis(2900)..PATIENCE).contains(&delayed),
            "{delayed:?}"
        );
        assert!(before < delayed, "{before:?}, {delayed:?}");
        mesh.withdraw("VirtualService", "weather", "advertisement-route")
            .await;
        assert!(time().await < delayed);
    });
}

/// `R-VS-24`.
#[test]
fn ex_1112_1113_an_injected_error() {
    WEATHER.run(async |mesh| {
        mesh.enforce(&rules("weather-rules/advertisement-abort.yaml"))
            .await;
        let answer = mesh.from(FRONTEND).expect(500, ADVERTISEMENT, &[]).await;
        assert_eq!(answer.body, "fault filter abort");
        // The page lives on, with the error where the advertisement was.
        let page = mesh.get("/api/weather", &[]).await.expect("answered");
        let page: serde_json::Value = serde_json::from_str(&page.body).expect("JSON");
        assert_eq!(page["advertisement"]["error"]["status"], 500, "{page}");
        assert_eq!(page["forecast"]["error"], serde_json::Value::Null, "{page}");
    });
}
