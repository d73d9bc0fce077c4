//! The command line of `istio-iptables`, read as the shell's `getopts` reads it.

use std::fmt::Write as _;

use crate::capture::Flags;

/// What the program is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Install the rules.
    Apply(Flags),
    /// Remove what an earlier run installed. Flags still count: `-k` names interfaces.
    Clean(Flags),
    /// Print how the program is called.
    Help,
}

/// A command line that cannot be understood (`IPT-10`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// An option that does not exist.
    #[error("unknown option {0}")]
    UnknownOption(String),
    /// An option at the end whose value is missing.
    #[error("option -{0} needs a value")]
    MissingValue(char),
    /// A word that belongs to no option.
    #[error("unexpected argument {0:?}")]
    UnexpectedArgument(String),
}

/// One option: its letter, what its value is called, what it means, and where the value goes.
struct Opt {
    letter: char,
    value: &'static str,
    help: &'static str,
    field: fn(&mut Flags) -> &mut Option<String>,
}

const OPTIONS: &[Opt] = &[
    Opt {
        letter: 'p',
        value: "port",
        help: "port that outgoing TCP is redirected to (ENVOY_PORT, 15001)",
        field: |flags| &mut flags.outbound_port,
    },
    Opt {
        letter: 'z',
        value: "port",
        help: "port that incoming TCP is redirected to (INBOUND_CAPTURE_PORT, 15006)",
        field: |flags| &mut flags.inbound_port,
    },
    Opt {
        letter: 'u',
        value: "uid[,uid]",
        help: "users whose connections are not captured (uid of ENVOY_USER, and 0)",
        field: |flags| &mut flags.uids,
    },
    Opt {
        letter: 'g',
        value: "gid[,gid]",
        help: "groups whose connections are not captured (value of -u)",
        field: |flags| &mut flags.gids,
    },
    Opt {
        letter: 'm',
        value: "mode",
        help: "REDIRECT, TPROXY or NONE (ISTIO_INBOUND_INTERCEPTION_MODE, REDIRECT)",
        field: |flags| &mut flags.mode,
    },
    Opt {
        letter: 'i',
        value: "ranges",
        help: "destinations to capture, * for all (ISTIO_SERVICE_CIDR, none)",
        field: |flags| &mut flags.include_addresses,
    },
    Opt {
        letter: 'x',
        value: "ranges",
        help: "destinations not to capture (ISTIO_SERVICE_EXCLUDE_CIDR, none)",
        field: |flags| &mut flags.exclude_addresses,
    },
    Opt {
        letter: 'b',
        value: "ports",
        help: "incoming ports to capture, * for all (ISTIO_INBOUND_PORTS, none)",
        field: |flags| &mut flags.include_ports,
    },
    Opt {
        letter: 'd',
        value: "ports",
        help: "incoming ports not to capture; needs -b * (ISTIO_LOCAL_EXCLUDE_PORTS, 15020)",
        field: |flags| &mut flags.exclude_ports,
    },
    Opt {
        letter: 'k',
        value: "interfaces",
        help: "interfaces whose incoming connections count as outgoing (none)",
        field: |flags| &mut flags.virtual_interfaces,
    },
];

// === impl Command ===

impl Command {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// The first argument that cannot be understood.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Command, UsageError> {
        let mut flags = Flags::default();
        let mut clean = false;
        let mut args = args.into_iter();
        let mut first = true;
        while let Some(arg) = args.next() {
            let is_first = std::mem::replace(&mut first, false);
            if is_first && arg == "clean" {
                clean = true;
                continue;
            }
            if arg == "-h" || arg == "--help" {
                return Ok(Command::Help);
            }
            let mut letters = match arg.strip_prefix('-') {
                Some(letters) if !letters.is_empty() => letters.chars(),
                _ => return Err(UsageError::UnexpectedArgument(arg)),
            };
            let letter = letters.next();
            let Some(option) = OPTIONS.iter().find(|option| Some(option.letter) == letter) else {
                return Err(UsageError::UnknownOption(arg));
            };
            let value = match letters.as_str() {
                "" => args.next().ok_or(UsageError::MissingValue(option.letter))?,
                attached => attached.to_owned(),
            };
            *(option.field)(&mut flags) = Some(value);
        }
        Ok(if clean {
            Command::Clean(flags)
        } else {
            Command::Apply(flags)
        })
    }

    /// How the program is called: one line for each option.
    #[must_use]
    pub fn usage() -> String {
        let mut text = String::from(
            "usage: istio-iptables [clean] [options]\n\
             Captures the TCP connections of this network namespace for a proxy.\n\n",
        );
        for Opt {
            letter, value, help, ..
        } in OPTIONS
        {
            writeln!(text, "  -{letter} {value:<11} {help}").expect("writing to a string cannot fail");
        }
        text.push_str("  -h             print this text\n");
        text.push_str("\nclean removes everything that an earlier run installed.\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, UsageError};
    use crate::capture::Flags;

    fn parse(line: &[&str]) -> Result<Command, UsageError> {
        Command::parse(line.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn the_arguments_of_the_injection_template_are_understood() {
        let line = [
            "-p", "15001", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "80,", "-d15020",
        ];
        let want = Flags {
            outbound_port: Some("15001".into()),
            uids: Some("1337".into()),
            mode: Some("REDIRECT".into()),
            include_addresses: Some("*".into()),
            exclude_addresses: Some(String::new()),
            include_ports: Some("80,".into()),
            exclude_ports: Some("15020".into()),
            ..Flags::default()
        };
        assert_eq!(parse(&line), Ok(Command::Apply(want)));
    }

    #[test]
    fn clean_is_only_a_command_in_front() {
        let flags = Flags {
            virtual_interfaces: Some("net1".into()),
            ..Flags::default()
        };
        assert_eq!(parse(&["clean", "-k", "net1"]), Ok(Command::Clean(flags)));
        assert_eq!(
            parse(&["-p", "1", "clean"]),
            Err(UsageError::UnexpectedArgument("clean".into()))
        );
    }

    #[test]
    fn ipt_10_an_unknown_option_is_refused() {
        assert_eq!(parse(&["-q", "1"]), Err(UsageError::UnknownOption("-q".into())));
        assert_eq!(
            parse(&["--port", "1"]),
            Err(UsageError::UnknownOption("--port".into()))
        );
        assert_eq!(parse(&["-p"]), Err(UsageError::MissingValue('p')));
        assert_eq!(parse(&["-"]), Err(UsageError::UnexpectedArgument("-".into())));
        assert_eq!(parse(&["-p", "1", "-h"]), Ok(Command::Help));
    }

    #[test]
    fn usage_names_every_option() {
        let usage = Command::usage();
        for letter in "pzugmixbdkh".chars() {
            assert!(
                usage.contains(&format!("\n  -{letter} ")),
                "{letter} is missing in\n{usage}"
            );
        }
    }
}
