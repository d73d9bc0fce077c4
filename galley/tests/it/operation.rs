//! Flags, probes, signals.

use crate::harness::{ConfigDir, Galley, TestSink, gateway, run, within};
use mesh_config::Kind;

#[test]
fn what_is_missing_is_said_in_one_line() {
    for (args, expected) in [
        (
            &["server", "--insecure", "--enable-validation=false"][..],
            "no source of configuration: neither files (--configPath) nor an API server",
        ),
        (
            &["server", "--enable-server=false", "--enable-validation=false"][..],
            "there is nothing to do",
        ),
        (
            &["remove-webhook", "--kubeconfig=/no/such/file"][..],
            "kubeconfig /no/such/file: ",
        ),
        (
            &["server", "--insecure", "--kubeconfig=/no/such/file"][..],
            "kubeconfig /no/such/file: ",
        ),
        (
            &["server", "--configPath=/tmp", "--sinkAddress=sink:9902"][..],
            "--sinkAuthMode is missing",
        ),
        (
            &[
                "server",
                "--insecure",
                "--configPath=/tmp",
                "--server-address=1.2.3.4",
            ][..],
            "the port is missing",
        ),
        (
            &["probe", "--probe-path=/no/such/file"][..],
            "probe file /no/such/file",
        ),
    ] {
        let (code, text) = run(args);
        assert_ne!(code, 0, "{args:?}");
        assert_eq!(
            text.lines().filter(|line| line.contains(expected)).count(),
            1,
            "{args:?}: {text}"
        );
    }
    let (code, text) = run(&["version"]);
    assert_eq!((code, text.starts_with("galley ")), (0, true), "{text}");
}

#[tokio::test]
async fn g9_1_probe_files_follow_the_state_and_are_gone_at_the_end() {
    let config = ConfigDir::new();
    let (live, ready) = (config.path().join("live"), config.path().join("ready"));
    let mut galley = Galley::start_with(
        &config.path().join("config"),
        "127.0.0.1:0",
        &[
            &format!("--livenessProbePath={}", live.display()),
            &format!("--readinessProbePath={}", ready.display()),
            "--readinessProbeInterval=40ms",
        ],
    );
    within("liveness", async || live.exists().then_some(())).await;
    assert!(!ready.exists());
    config.write("config/a.yaml", gateway("a", 1));
    within("readiness", async || ready.exists().then_some(())).await;
    let (code, text) = run(&[
        "probe",
        &format!("--probe-path={}", ready.display()),
        "--interval=10s",
    ]);
    assert_eq!((code, text.as_str()), (0, "OK\n"));
    assert!(galley.terminate().await.success());
    assert!(!live.exists() && !ready.exists());
}

#[tokio::test]
async fn sigterm_ends_the_process_although_sinks_are_connected() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 1));
    let mut galley = Galley::start(config.path());
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway]);
    sink.expect(Kind::Gateway, &["weather/a"]).await;
    assert!(galley.terminate().await.success());
}

#[tokio::test]
async fn g5_and_g3_3_metrics_are_there_by_their_names() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 1));
    let galley = Galley::start(config.path());
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway]);
    sink.expect(Kind::Gateway, &["weather/a"]).await;
    let collection = Kind::Gateway.collection();
    let acks = format!("galley_mcp_source_request_acks_total{{collection=\"{collection}\"}}");
    within("ACK", async || (galley.metric(&acks).await == 1.0).then_some(())).await;
    for (name, value) in [
        ("galley_mcp_source_clients_total", 1.0),
        ("galley_runtime_processor_snapshots_published_total", 1.0),
        (
            &*format!("galley_runtime_state_type_instances_total{{collection=\"{collection}\"}}"),
            1.0,
        ),
    ] {
        assert_eq!(galley.metric(name).await, value, "{name}");
    }
    // Editing makes all other counters move.
    config.write("a.yaml", gateway("a", 2));
    within("second ACK", async || {
        (galley.metric(&acks).await == 2.0).then_some(())
    })
    .await;
    for name in [
        "galley_runtime_strategy_on_change_total",
        "galley_runtime_strategy_timer_quiesce_reached_total",
        "galley_runtime_processor_events_processed_total",
        "galley_runtime_processor_event_span_duration_milliseconds_count",
        "galley_runtime_processor_snapshot_events_total_count",
        "galley_runtime_processor_snapshot_lifetime_duration_milliseconds_count",
        "galley_mcp_source_message_sizes_bytes_count",
    ] {
        assert!(galley.metric(name).await > 0.0, "{name}");
    }
}
