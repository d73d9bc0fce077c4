//! Access logs of chapter 4 of the book, written by a running `mixs` (`spec 02` §13.1, §13.2). Their configurations are
//! in `testdata/examples`.

use std::fs;

use mesh_testing::eventually;

use crate::commands::mixs;
use crate::harness::{Facts, Mixer, PATIENCE, example, object, report};

fn request(protocol: &str, source: &str) -> Facts {
    Facts::default()
        .text("context.protocol", protocol)
        .text("source.workload.name", source)
        .time("request.time", 1_552_989_600)
        .number("response.code", 404)
        .millis("response.duration", 1500)
}

#[test]
fn m06_the_parameters_of_stdio_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let params = "logStream: ROTATED_FILE, outputPath: /var/log/access.log, outputAsJson: false, outputLevel: ERROR, \
                  metricLevel: WARNING, severityLevels: {strange: ERROR}, maxMegabytesBeforeRotation: 5, \
                  maxDaysBeforeRotation: 7, maxRotatedFiles: 3";
    let check = |params: &str| {
        let handler = object(
            "handler",
            "log",
            &format!("{{compiledAdapter: stdio, params: {{{params}}}}}"),
        );
        fs::write(folder.path().join("handler.yaml"), handler).unwrap();
        mixs(&["validator", folder.path().to_str().unwrap()])
    };
    let output = check(params);
    assert!(output.status.success(), "{output:?}");
    for (wrong, reason) in [
        ("colour: red", "handler istio-system/log: "),
        ("logStream: PRINTER", "handler istio-system/log: "),
        (
            "logStream: FILE",
            "handler istio-system/log: outputPath: it is required for FILE and ROTATED_FILE",
        ),
    ] {
        let output = check(wrong);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && text.contains(reason),
            "{wrong}: {text}"
        );
    }
}

#[tokio::test]
async fn m07_m08_m09_m10_m11_requests_of_http_and_grpc_are_lines_of_json() {
    for file in ["accesslog.yaml", "accesslog-legacy.yaml"] {
        let mixer = Mixer::start(&example(file), &[]).await;
        let requests = [
            request("http", "frontend"),
            request("tcp", "database"),
            Facts::default()
                .text("context.protocol", "grpc")
                .time("request.time", 1_552_989_600),
        ];
        mixer.report(report(&requests)).await.unwrap();
        let lines = mixer.lines_with("latency", 2).await;
        let instance = match file {
            "accesslog.yaml" => "accesslog.instance.istio-system",
            _ => "accesslog.logentry.istio-system",
        };
        assert_eq!(
            lines[0],
            serde_json::json!({
                "level": "warn", "time": "2019-03-19T10:00:00.000000Z", "instance": instance,
                "latency": "1.5s", "responseCode": 404, "source": "frontend",
            })
        );
        assert_eq!(
            (
                &lines[1]["source"],
                &lines[1]["responseCode"],
                &lines[1]["latency"]
            ),
            (&"unknown".into(), &0.into(), &"0s".into())
        );
    }
}

#[tokio::test]
async fn m31_a_file_of_a_megabyte_is_put_aside_and_old_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let params = format!(
        "{{logStream: ROTATED_FILE, outputPath: {}, maxMegabytesBeforeRotation: 1, maxRotatedFiles: 2}}",
        path.display()
    );
    let config = example("accesslog.yaml").replace("{outputAsJson: true}", &params);
    let mixer = Mixer::start(&config, &[]).await;
    // Half a megabyte each.
    let requests = vec![request("http", &"x".repeat(1000)); 500];
    for _ in 0..12 {
        mixer.report(report(&requests)).await.unwrap();
    }
    mixer
        .report(report(&[request("http", "the last")]))
        .await
        .unwrap();
    eventually(PATIENCE, async || {
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        text.contains("the last")
            .then_some(())
            .ok_or("it was not written".to_owned())
    })
    .await
    .unwrap();
    let sizes: Vec<u64> = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 1024 * 1024), "{sizes:?}");
    assert!(
        sizes.iter().filter(|size| **size > 1_000_000).count() >= 2,
        "{sizes:?}"
    );
}
