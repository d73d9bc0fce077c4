//! What the program says when it cannot work.

use std::process::{Command, Output};

use crate::namespace::{Namespace, PROGRAM};

fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn ipt_10_an_unknown_option_prints_the_usage_and_exits_1() {
    let error = failed(&Command::new(PROGRAM).args(["-q"]).output().unwrap());
    assert!(
        error.starts_with("istio-iptables: unknown option -q\nusage: istio-iptables"),
        "{error}"
    );
}

#[test]
fn a_wrong_value_is_named_on_one_line() {
    let error = failed(&Command::new(PROGRAM).args(["-p", "http"]).output().unwrap());
    assert_eq!(error, "istio-iptables: -p: \"http\" is not a port (1 to 65535)\n");
}

#[test]
fn help_is_no_failure() {
    let output = Command::new(PROGRAM).arg("-h").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("usage: "));
}

#[test]
fn a_missing_program_is_named_with_the_command_that_installs_it() {
    let namespace = Namespace::new();
    let empty = namespace
        .command("env")
        .args(["PATH=/nonexistent", PROGRAM, "-i", "*"])
        .output()
        .unwrap();
    let want = "istio-iptables: iptables-save is not installed: apt-get install iptables\n";
    assert_eq!(failed(&empty), want);
}

#[test]
fn a_missing_ip_program_is_named_with_the_command_that_installs_it() {
    let namespace = Namespace::new();
    let folder = std::env::temp_dir().join(format!("istio-iptables-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for program in ["iptables-save", "iptables-restore"] {
        let found = namespace.sh(&format!("command -v {program}"));
        let _ = std::os::unix::fs::symlink(found.trim(), folder.join(program));
    }
    let path = format!("PATH={}", folder.display());
    let output = namespace
        .command("env")
        .args([&path, PROGRAM, "-m", "TPROXY", "-b", "*"])
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(
        failed(&output),
        "istio-iptables: ip is not installed: apt-get install iproute2\n"
    );
}

#[test]
fn missing_privileges_are_named_on_one_line() {
    let namespace = Namespace::new();
    let output = namespace
        .command("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
            PROGRAM,
            "-i",
            "*",
        ])
        .output()
        .unwrap();
    let error = failed(&output);
    assert!(
        error.contains("needs root") && error.lines().count() == 1,
        "{error}"
    );
}
