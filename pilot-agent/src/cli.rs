//! The command line: subcommands, and flags of newer templates that this agent does not know.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, CommandFactory as _, Parser, Subcommand};

use crate::args::ProxyArgs;

/// The companion of every Envoy.
#[derive(Clone, Debug, Parser)]
#[command(name = "pilot-agent", disable_version_flag = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Task,
}

/// A subcommand.
#[derive(Clone, Debug, Subcommand)]
pub enum Task {
    /// Start Envoy and look after it.
    Proxy(Box<ProxyArgs>),
    /// Send a request to Envoy's admin interface and print the answer, and nothing else.
    Request(RequestArgs),
    /// Print what was built.
    Version,
    /// Become Envoy, in such a way that it does not outlive the agent.
    #[command(hide = true)]
    Exec(ExecArgs),
}

/// A request to the admin interface.
#[derive(Clone, Debug, clap::Args)]
pub struct RequestArgs {
    /// GET or POST.
    pub method: String,
    /// Path, with a query if need be.
    pub path: String,
    /// Body of the request.
    #[arg(default_value = "")]
    pub body: String,
    /// Port of the admin interface on the loopback.
    #[arg(long = "proxyAdminPort", value_name = "PORT", default_value_t = 15000)]
    pub proxy_admin_port: u16,
}

/// See [`crate::launch`].
#[derive(Clone, Debug, clap::Args)]
pub struct ExecArgs {
    /// The process that must not be outlived.
    pub parent: i32,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub program: Vec<OsString>,
}

/// A command line that was read, and what was left out of it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What is asked for.
    pub cli: Cli,
    /// Flags that do not exist (`AGT-10`).
    pub ignored: Vec<String>,
}

// === impl Cli ===

impl Cli {
    /// Reads the arguments, the program's name first. Flags that `proxy` does not know are left out, so
    /// that an injection template may be newer than the agent (`AGT-10`).
    ///
    /// # Errors
    /// What clap has to say, which may also be a requested help text.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, clap::Error> {
        let args: Vec<OsString> = args.into_iter().collect();
        let (args, ignored) = match args.get(1).and_then(|task| task.to_str()) {
            Some("proxy") => leave_out_unknown(args),
            _ => (args, Vec::new()),
        };
        Ok(Parsed {
            cli: Cli::try_parse_from(args)?,
            ignored,
        })
    }
}

/// Separates the flags that `proxy` does not know. What follows such a flag is taken for its value if it
/// does not look like a flag itself.
fn leave_out_unknown(args: Vec<OsString>) -> (Vec<OsString>, Vec<String>) {
    let mut command = Cli::command();
    command.build();
    let Some(proxy) = command.find_subcommand("proxy") else {
        return (args, Vec::new());
    };
    let mut kept = Vec::new();
    let mut ignored = Vec::new();
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let Some(flag) = arg
            .to_str()
            .and_then(|text| text.strip_prefix("--"))
            .map(str::to_owned)
        else {
            kept.push(arg);
            continue;
        };
        let (name, has_value) = match flag.split_once('=') {
            Some((name, _)) => (name, true),
            None => (flag.as_str(), false),
        };
        match find_flag(proxy, name) {
            Some(known) => {
                let takes_next = !has_value && takes_value(known) && !known.is_require_equals_set();
                kept.push(arg);
                // Kept unseen: a value may begin with dashes.
                kept.extend(args.next_if(|_| takes_next));
            }
            None => {
                ignored.push(format!("--{name}"));
                if !has_value {
                    args.next_if(|next| !next.to_string_lossy().starts_with('-'));
                }
            }
        }
    }
    (kept, ignored)
}

fn find_flag<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(name) || aliases.contains(&name)
    })
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

#[cfg(test)]
mod tests {
    use super::{Cli, Task};
    use crate::args::ProxyArgs;

    fn proxy(line: &[&str]) -> (ProxyArgs, Vec<String>) {
        let args = ["pilot-agent", "proxy"].iter().chain(line).map(Into::into);
        let parsed = Cli::read(args).unwrap();
        match parsed.cli.command {
            Task::Proxy(args) => (*args, parsed.ignored),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn agt_10_unknown_flags_are_left_out_with_their_values() {
        let line = [
            "sidecar",
            "--newFlag",
            "value",
            "--domain",
            "a.svc.cluster.local",
            "--other=1",
            "--switch",
            "--concurrency",
            "2",
            "--controlPlaneBootstrap=false",
            "--log_output_level=default:debug",
        ];
        let (args, ignored) = proxy(&line);
        assert_eq!(ignored, ["--newFlag", "--other", "--switch"]);
        assert_eq!(args.role, "sidecar");
        assert_eq!(args.domain.as_deref(), Some("a.svc.cluster.local"));
        assert_eq!(args.concurrency, 2);
        assert!(!args.control_plane_bootstrap);
    }

    #[test]
    fn a_flag_without_value_does_not_swallow_the_role() {
        let (args, ignored) = proxy(&["--disableHotRestart", "router", "--xdsDelta"]);
        assert_eq!(
            (args.role.as_str(), args.disable_hot_restart, args.xds_delta),
            ("router", true, true)
        );
        assert!(ignored.is_empty());
        assert!(proxy(&["--disable-hot-restart"]).0.disable_hot_restart);
    }

    #[test]
    fn the_other_tasks_take_no_unknown_flags() {
        assert!(Cli::read(["pilot-agent", "version", "--what"].map(Into::into)).is_err());
        assert!(Cli::read(["pilot-agent"].map(Into::into)).is_err());
    }

    #[test]
    fn the_program_to_become_keeps_its_own_flags() {
        let line = [
            "pilot-agent",
            "exec",
            "17",
            "/bin/envoy",
            "-c",
            "file",
            "--restart-epoch",
            "1",
        ];
        match Cli::read(line.map(Into::into)).unwrap().cli.command {
            Task::Exec(args) => assert_eq!((args.parent, args.program.len()), (17, 5)),
            other => panic!("{other:?}"),
        }
    }
}
