//! The `mixs` binary.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// What many connections use for a moment goes back to the system; the C library's allocator keeps it for the process.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    mixer::command::run(Vec::new())
}
