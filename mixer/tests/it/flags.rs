//! The command line of `mixs` against the list of 1.1 (`spec 02` §9.2).

use std::collections::BTreeMap;

use crate::commands::mixs;

/// Flags of `mixs server`, and their defaults; `None` where the help shows none, for what is empty or endless.
const SERVER: [(&str, Option<&str>); 44] = [
    ("port", Some("9091")),
    ("address", None),
    ("monitoringPort", None),
    // Where that is, as Pilot has it.
    ("monitoringAddr", Some(":15014")),
    ("maxMessageSize", Some("1048576")),
    ("maxConcurrentStreams", Some("1024")),
    ("apiWorkerPoolSize", Some("1024")),
    ("adapterWorkerPoolSize", Some("1024")),
    ("singleThreaded", Some("false")),
    // 1500000 in 1.1, which took it for 0 (D4).
    ("numCheckCacheEntries", Some("0")),
    ("configStoreURL", None),
    ("configDefaultNamespace", Some("istio-system")),
    ("useAdapterCRDs", Some("true")),
    ("livenessProbePath", None),
    ("livenessProbeInterval", Some("0s")),
    ("readinessProbePath", None),
    ("readinessProbeInterval", Some("0s")),
    ("profile", Some("true")),
    ("certFile", Some("/etc/certs/cert-chain.pem")),
    ("keyFile", Some("/etc/certs/key.pem")),
    ("caCertFile", Some("/etc/certs/root-cert.pem")),
    ("trace_zipkin_url", None),
    ("trace_jaeger_url", None),
    ("trace_log_spans", Some("false")),
    ("trace_sampling_rate", Some("0")),
    ("ctrlz_address", Some("127.0.0.1")),
    ("ctrlz_port", Some("9876")),
    ("loadsheddingMode", Some("disabled")),
    ("averageLatencyThreshold", Some("0s")),
    ("latencySamplesPerSecond", Some("+Inf")),
    ("latencySampleHalflife", Some("1s")),
    ("maxRequestsPerSecond", Some("0")),
    ("burstSize", Some("0")),
    ("log_target", Some("stdout")),
    ("log_rotate", None),
    ("log_rotate_max_age", Some("30")),
    ("log_rotate_max_backups", Some("1000")),
    // 104857600 megabytes in 1.1, which is never.
    ("log_rotate_max_size", Some("100")),
    ("log_as_json", Some("false")),
    ("log_output_level", Some("default:info")),
    ("log_stacktrace_level", Some("default:none")),
    ("log_caller", None),
    // Not in 1.1, which has 42422 always.
    ("prometheusAddr", Some(":42422")),
    ("help", None),
];

/// The long flags of a command, and what its help says their defaults are.
fn flags(command: &[&str]) -> BTreeMap<String, Option<String>> {
    let output = mixs(&[command, &["--help"]].concat());
    assert!(output.status.success(), "{output:?}");
    let help = String::from_utf8(output.stdout).unwrap();
    let mut flags = BTreeMap::new();
    let mut last = None;
    for line in help.lines().map(str::trim) {
        if line.starts_with('-')
            && let Some((_, rest)) = line.split_once("--")
        {
            let name: String = rest
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || "_-".contains(*letter))
                .collect();
            flags.insert(name.clone(), None);
            last = Some(name);
        }
        if let (Some(name), Some((_, rest))) = (&last, line.split_once("[default: ")) {
            let default = rest.split(']').next().unwrap_or_default();
            flags.insert(name.clone(), Some(default.to_owned()));
        }
    }
    flags
}

#[test]
fn m111_the_flags_of_the_server_are_those_of_istio() {
    let flags = flags(&["server"]);
    let expected: BTreeMap<String, Option<String>> = SERVER
        .iter()
        .map(|(name, default)| ((*name).to_owned(), default.map(str::to_owned)))
        .collect();
    assert_eq!(flags, expected);
    // The short form.
    assert!(mixs(&["server", "-p", "1", "--help"]).status.success());
}

#[test]
fn m111_the_commands_are_those_of_istio() {
    let output = mixs(&["--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    for command in ["server", "probe", "crd", "validator", "version"] {
        assert!(
            help.lines().any(|line| line.trim().starts_with(command)),
            "{command} is missing in\n{help}"
        );
    }
    let probe = flags(&["probe"]);
    assert_eq!(probe["probe-path"], None);
    assert!(probe.contains_key("interval"));
    for which in ["all", "adapter", "instance"] {
        assert!(mixs(&["crd", which]).status.success(), "{which}");
    }
}

/// A file that is fresh is OK, in the words of 1.1.
#[test]
fn m111_a_fresh_probe_file_is_ok() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = format!("--probe-path={}", file.path().display());
    let output = mixs(&["probe", &path, "--interval=1h"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "OK\n");
}
