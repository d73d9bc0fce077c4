//! The `istio-iptables` binary: reads the present rules, applies the wanted ones, prints the result.

mod apply;
mod system;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use pilot_agent_iptables::{Capture, Command, Flags, Mode};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("istio-iptables: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let (flags, clean) = match Command::parse(std::env::args().skip(1)) {
        Ok(Command::Apply(flags)) => (flags, false),
        Ok(Command::Clean(flags)) => (flags, true),
        Ok(Command::Help) => {
            std::io::stdout().write_all(Command::usage().as_bytes())?;
            return Ok(());
        }
        Err(error) => anyhow::bail!("{error}\n{}", Command::usage()),
    };
    let capture = resolve(&flags, clean)?;
    system::require_net_admin()?;
    let families = system::families()?;
    let applied = apply::apply(&capture, &families);
    // Printed even after a failure: what is in force now is what explains it.
    let printed = apply::print(&families);
    applied.and(printed)
}

fn resolve(flags: &Flags, clean: bool) -> anyhow::Result<Capture> {
    let mut env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    system::add_env_files(&mut env);
    let mut capture = Capture::resolve(flags, &env, system::uid_of)?;
    if clean {
        capture.mode = Mode::None;
    }
    Ok(capture)
}
