//! The configurations under which the speed of Mixer is measured (`spec 07` §2.1).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Facts, Mixer, report};

/// The configurations, each with what the one before it has and more, and how many objects they have.
const BASELINES: [(&str, u32); 4] = [("none", 2), ("prom", 11), ("promstdio", 14), ("full", 23)];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/baseline")
        .join(name)
}

#[test]
fn spec_07_2_1_the_baselines_are_valid() {
    for (name, objects) in BASELINES {
        let output = Command::new(env!("CARGO_BIN_EXE_mixs"))
            .arg("validator")
            .arg(folder(name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.starts_with(&format!("{objects} objects")), "{name}: {said}");
    }
}

#[tokio::test]
async fn spec_07_2_1_the_full_baseline_decides_and_counts() {
    let store = format!("fs://{}", folder("full").display());
    let mut mixer = Mixer::at(&store, &[]).await;
    let errors = mixer.json("/debug/errors").await;
    assert_eq!(errors["errors"].as_array().unwrap().len(), 0, "{errors}");

    let request = Facts::default()
        .text("context.protocol", "http")
        .text("context.reporter.kind", "inbound")
        .map("request.headers", &[("clnt", "xyz")])
        .map("source.labels", &[("app", "client-01"), ("version", "v1")])
        .map("destination.labels", &[("app", "ratings")]);
    let status = async |request: &Facts| {
        let answer = mixer.check(request.check_with(&[("requestcount", 1)])).await;
        let answer = answer.unwrap();
        let status = answer.precondition.unwrap().status.unwrap();
        let granted = answer
            .quotas
            .get("requestcount")
            .map(|quota| quota.granted_amount);
        (status.code, status.message, granted)
    };
    assert_eq!(status(&request).await, (0, String::new(), Some(1)));
    let denied = request.clone().map("request.headers", &[("clnt", "abc")]);
    let message = "denyall.denier.istio-system:Not allowed".to_owned();
    assert_eq!(status(&denied).await, (7, message, None));
    let other = request.clone().map("source.labels", &[("version", "v9")]);
    let message = "staticversion.listchecker.istio-system:v9 is not whitelisted".to_owned();
    assert_eq!(status(&other).await, (7, message, None));

    let request = request
        .number("response.code", 200)
        .millis("response.duration", 3);
    mixer.report(report(&[request.clone(), request])).await.unwrap();
    let lines = mixer.scrape().await;
    for metric in [
        "istio_requests_total",
        "istio_request_duration_seconds_count",
        "istio_request_bytes_count",
        "istio_response_bytes_count",
    ] {
        let start = format!("{metric}{{");
        let line = lines.iter().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("no {metric} in {lines:#?}"));
        assert!(line.ends_with(" 2"), "{line}");
        assert_eq!(line.matches('=').count(), 19, "{line}");
    }
}
