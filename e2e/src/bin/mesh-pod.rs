//! The standalone mesh's hand inside namespaces; started by `mesh` only.

use std::process::ExitCode;

fn main() -> ExitCode {
    e2e::mesh::helper::main()
}
