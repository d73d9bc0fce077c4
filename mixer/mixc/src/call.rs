//! Calls, as many as are wanted, by several workers at once.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;
use mesh_api::istio::mixer::v1::mixer_client::MixerClient;
use mesh_runtime::grpc::{self, ClientOptions, ConnectError};
use mixer_attribute::encode::{self, Attributes, Lost};
use mixer_attribute::{QuotaParams, Semantics, dictionary};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::transport::Channel;

use crate::args::LoadArgs;
use crate::output;

/// How many words Mixer is told that we know: all of them.
pub(crate) const WORDS: u32 = dictionary::LEN as u32;

/// The calls cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("Unable to establish connection")]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("cannot print")]
    Print(#[from] std::io::Error),
}

/// Checks; returns whether all calls were answered.
pub(crate) async fn check(
    load: &LoadArgs,
    attributes: &Attributes<'_>,
    quotas: &BTreeMap<String, QuotaParams>,
) -> Result<bool, CallError> {
    let client = client(load)?;
    // Mixer remembers those of calls that were before.
    let salt = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let workers = (0..load.concurrency.get()).map(|worker| {
        let mut client = client.clone();
        async move {
            let mut pace = pace(load);
            let mut all_answered = true;
            for number in 0..load.repeat {
                wait(&mut pace).await;
                let id = format!("{salt}-{worker}-{number}");
                let request = encode::check_request(attributes, quotas, id, WORDS);
                match client.check(request).await {
                    Ok(response) if load.print_response => print(&output::checked(response.get_ref()))?,
                    Ok(_) => {}
                    Err(status) => {
                        all_answered = false;
                        print(&format!(
                            "Check RPC failed with: {}\n",
                            output::rpc_status(&status)
                        ))?;
                    }
                }
            }
            Ok::<_, CallError>(all_answered)
        }
    });
    let answered = try_join_all(workers).await?;
    Ok(answered.into_iter().all(|answered| answered))
}

/// Reports; returns whether all calls were answered.
pub(crate) async fn report(load: &LoadArgs, attributes: &Attributes<'_>) -> Result<bool, CallError> {
    let client = client(load)?;
    let batch = load.report_batch_size.get();
    let workers = (0..load.concurrency.get()).map(|_| {
        let mut client = client.clone();
        async move {
            let mut pace = pace(load);
            let mut all_answered = true;
            for first in (0..load.repeat).step_by(batch) {
                let sets = vec![attributes.clone(); batch.min(load.repeat - first)];
                // As 1.1 says it; all sets but the first have nothing to add then.
                let request = encode::report_request(&sets, Semantics::Delta, WORDS)?;
                wait(&mut pace).await;
                match client.report(request).await {
                    Ok(_) if load.print_response => print("Report RPC returned OK\n")?,
                    Ok(_) => {}
                    Err(status) => {
                        all_answered = false;
                        print(&format!("Report RPC returned {}\n", output::rpc_status(&status)))?;
                    }
                }
            }
            Ok::<_, CallError>(all_answered)
        }
    });
    let answered = try_join_all(workers).await?;
    Ok(answered.into_iter().all(|answered| answered))
}

fn client(load: &LoadArgs) -> Result<MixerClient<Channel>, ConnectError> {
    let channel = grpc::connect(&load.mixer, &ClientOptions::default())?;
    Ok(MixerClient::new(channel))
}

/// The ticks at which a worker may call; none if it may at any time.
fn pace(load: &LoadArgs) -> Option<Interval> {
    let rate = u32::try_from(load.rate).ok().filter(|rate| *rate > 0)?;
    let period = (Duration::from_secs(1) / rate).max(Duration::from_nanos(1));
    let mut pace = interval(period);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(pace)
}

async fn wait(pace: &mut Option<Interval>) {
    if let Some(pace) = pace {
        pace.tick().await;
    }
}

/// Writes the text at once, so that those of several workers do not mix.
fn print(text: &str) -> std::io::Result<()> {
    stdout().lock().write_all(text.as_bytes())
}
