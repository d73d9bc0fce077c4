//! The `mixs` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    mixer::command::run(Vec::new())
}
