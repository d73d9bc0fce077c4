//! `cargo mesh`: the standalone mesh.

use std::process::ExitCode;

fn main() -> ExitCode {
    e2e::commands::main()
}
