//! Commands that serve nobody.

use std::fs;
use std::process::{Command, Output};

use crate::harness::object;

pub(crate) fn mixs(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mixs"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn m111_validator_tells_everything_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let good = object("handler", "good", "{compiledAdapter: noop}");
    fs::write(folder.path().join("good.yaml"), &good).unwrap();
    let output = mixs(&["validator", path]);
    assert!(output.status.success(), "{output:?}");
    let bad = [
        object("handler", "bad", "{compiledAdapter: noop, params: {unknown: 1}}"),
        object(
            "rule",
            "dangling",
            "{actions: [{handler: nobody, instances: [nothing]}]}",
        ),
        object(
            "instance",
            "broken",
            "{compiledTemplate: metric, params: {value: 'a +'}}",
        ),
    ];
    fs::write(folder.path().join("bad.yaml"), bad.concat()).unwrap();
    let output = mixs(&["validator", path]);
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    for expected in [
        "handler istio-system/bad: unknown",
        "rule istio-system/dangling: actions[0].handler: there is no handler nobody.handler.istio-system",
        "instance istio-system/broken: params.value: ",
    ] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
}

#[test]
fn m111_definitions_are_those_that_mixer_reads() {
    let count = |set: &str| {
        let output = mixs(&["crd", set]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .matches("\"kind\": \"CustomResourceDefinition\"")
            .count()
    };
    let (all, adapters, instances) = (count("all"), count("adapter"), count("instance"));
    assert_eq!((all, instances), (adapters + instances + 6, 11));
}

#[test]
fn m111_a_probe_file_that_is_not_there_fails() {
    assert!(
        !mixs(&["probe", "--probe-path=/nowhere/at/all", "--interval=1s"])
            .status
            .success()
    );
    assert!(mixs(&["version"]).status.success());
}
