//! A `mixs` that has the adapter, too.

use std::process::ExitCode;

use sampleprint::SamplePrint;

fn main() -> ExitCode {
    mixer::command::run(vec![Box::new(SamplePrint)])
}
