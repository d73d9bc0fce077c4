//! The `pilot-agent` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    pilot_agent::server::main(std::env::args_os())
}
