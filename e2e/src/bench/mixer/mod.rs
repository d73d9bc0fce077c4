//! `cargo mesh bench mixer`: Checks and Reports as sidecars send them.
//!
//! ```text
//! workers, one connection each ═gRPC═> mixs
//!        (this process)            (measured, /proc)
//! ```
//!
//! Requests, configurations and the closed loop are those with which Istio 1.1.17 was measured (`spec 07` §2.1): each
//! worker has one call in flight, a window follows a warm-up, and the window with the middle rate is shown.

mod calls;
mod load;
mod scrape;
mod server;
mod table;
mod workload;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use self::load::Window;
use self::server::Server;
use self::workload::{CASES, Case};
use super::release;
use crate::mesh::programs::workspace;

/// Before a window.
const WARM_UP: Duration = Duration::from_secs(1);

/// Options of `cargo mesh bench mixer`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only cases whose name contains this; names are `CONFIGURATION/CALL/BATCHxIN_FLIGHT`.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,

    /// Length of a window, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,

    /// How many windows each case has.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub windows: u32,

    /// Where the configurations are, a folder for each.
    #[arg(long, value_name = "FOLDER")]
    pub config: Option<PathBuf>,

    /// Measure this `mixs` instead of a release build of this workspace.
    #[arg(long, value_name = "PROGRAM")]
    pub server: Option<PathBuf>,
}

/// One case, measured.
#[derive(Debug)]
struct Figures {
    case: &'static Case,
    window: Window,
    /// Memory of the server afterwards, in bytes.
    resident: u64,
}

/// Measures Mixer.
pub(super) fn run(args: &Args) -> Result<()> {
    let program = match &args.server {
        Some(program) => program.clone(),
        None => {
            let program = release::build("mixer", "mixs")?;
            release::go_on(&["--server".as_ref(), program.as_os_str()])?;
            program
        }
    };
    let config = args
        .config
        .clone()
        .unwrap_or_else(|| workspace().join("mixer/testdata/baseline"));
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the executor")?
        .block_on(async {
            let mut rows = Vec::new();
            let wanted = |case: &&Case| {
                let name = case.name();
                args.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
            };
            for case in CASES.iter().filter(wanted) {
                let mut server = Server::start(&program, &config.join(case.config), case.flags).await?;
                let figures = measure(args, case, &mut server).await;
                rows.push(figures.with_context(|| case.name())?);
            }
            std::io::stdout().write_all(table::render(&rows).as_bytes())?;
            Ok(())
        })
}

async fn measure(args: &Args, case: &'static Case, server: &mut Server) -> Result<Figures> {
    let requests = workload::requests(case)?;
    let mut load = load::Load::start(case, &requests, server.address).await?;
    load.run(WARM_UP, server.id()).await?;
    let mut windows = Vec::new();
    for _ in 0..args.windows {
        windows.push(
            load.run(Duration::from_secs(args.seconds.into()), server.id())
                .await?,
        );
    }
    let records = load.records();
    if case.counted() {
        scrape::assert_counted(records).await?;
    }
    windows.sort_unstable_by_key(|window| window.calls());
    Ok(Figures {
        case,
        window: windows.swap_remove(windows.len() / 2),
        resident: server.resident()?,
    })
}
