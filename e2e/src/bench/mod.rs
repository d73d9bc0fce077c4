//! `cargo mesh bench`: load tools that print their figures beside those of Istio 1.1.17.
//!
//! Figures depend on the machine and on what else it does, so they never decide success. What must work decides:
//! a client that is never served makes a bench fail.

pub mod galley;
pub mod mixer;
pub mod pilot;
mod process;
mod release;
mod stats;

/// What can be measured.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Args {
    /// Galley between its files and many sinks.
    Galley(galley::Args),
    /// Mixer under Checks and Reports, with the configurations of `mixer/testdata/baseline`.
    Mixer(mixer::Args),
    /// Pilot under the load of many proxies, with a synthetic mesh.
    Pilot(pilot::Args),
}

/// Measures.
///
/// # Errors
///
/// When something could not be built or started, or did not do its work.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match args {
        Args::Galley(args) => galley::run(args),
        Args::Mixer(args) => mixer::run(args),
        Args::Pilot(args) => pilot::run(args),
    }
}
