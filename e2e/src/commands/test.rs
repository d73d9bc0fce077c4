//! `cargo mesh test`: everything that CI checks, with the real parts provided.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use mesh_testing::provision;

use super::{examples, say};
use crate::coverage;
use crate::mesh::programs::workspace;
use crate::provision::{install_envoy, install_tools};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show which tests bear the ids of the specification's requirements, and run nothing.
    #[arg(long)]
    list_requirements: bool,
    /// Run the tests that bear the ids of the specification's examples, and show what became of each.
    #[arg(long)]
    list_examples: bool,
    /// Run nothing for that list, but read what a whole run printed.
    #[arg(long, value_name = "FILE", requires = "list_examples")]
    from: Option<PathBuf>,
    /// More words for `cargo test`, such as the name of a test.
    #[arg(last = true)]
    rest: Vec<OsString>,
}

/// The steps before the tests.
const CHECKS: [&[&str]; 2] = [
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
];

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.list_requirements {
        say(&coverage::table(workspace())?);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(log) = &args.from {
        return examples::read(log);
    }
    install_tools()?;
    let envoy = install_envoy(provision::envoy)?;
    let floor = install_envoy(provision::envoy_floor)?;
    if args.list_examples {
        return examples::run(&[("ENVOY_BIN", envoy), ("ENVOY_BIN_FLOOR", floor)]);
    }
    // The first time they are built, which is not for a test to wait for.
    say(
        "consul, etcd, helm, kubectl, kube-apiserver, prometheus, redis-server, statsd: found, built or fetched",
    );
    let built = [
        ("CONSUL_BIN", provision::consul()?),
        ("ETCD_BIN", provision::etcd()?),
        ("HELM_BIN", provision::helm()?),
        ("KUBECTL_BIN", provision::kubectl()?),
        ("KUBE_APISERVER_BIN", provision::kube_apiserver()?),
        ("PROMETHEUS_BIN", provision::prometheus()?),
        ("REDIS_SERVER_BIN", provision::redis_server()?),
        ("STATSD_BIN", provision::statsd()?),
    ];
    let cargo = |words: &[OsString]| -> Result<bool> {
        say(&format!("cargo {}", words.join(" ".as_ref()).to_string_lossy()));
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(words)
            .current_dir(workspace())
            .env("ENVOY_BIN", &envoy)
            .env("ENVOY_BIN_FLOOR", &floor)
            .envs(built.iter().map(|(name, path)| (name, path)))
            .status()
            .context("cannot run cargo")?;
        Ok(status.success())
    };
    for check in CHECKS {
        let words: Vec<OsString> = check.iter().map(Into::into).collect();
        if !cargo(&words)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut words: Vec<OsString> = ["test", "--workspace", "--no-fail-fast"]
        .iter()
        .map(Into::into)
        .collect();
    words.extend(args.rest.iter().cloned());
    Ok(if cargo(&words)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
