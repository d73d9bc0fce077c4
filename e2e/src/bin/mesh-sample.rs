//! `mesh-sample ROLE`: plays a workload of the samples; see `e2e::sample`.

use clap::Parser;
use e2e::sample::Args;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder()
                .with_default_directive(LevelFilter::INFO.into())
                .from_env_lossy(),
        )
        .with_target(false)
        .init();
    // One thread is enough for a sample and keeps many pods small.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(args.run())
}
