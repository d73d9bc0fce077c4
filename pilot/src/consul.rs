//! The registry `Consul`: its flags and its task (P4.4, P6.4).

use anyhow::Context as _;
use http::header::{HeaderValue, InvalidHeaderValue};
use mesh_runtime::Runtime;
use mesh_runtime::args::GoDuration;
use pilot_registry::consul::{Consul, ConsulHandle, ConsulMetrics, ConsulOptions, ConsulUrl};
use pilot_registry::{Controller, Platform};

/// Flags of the registry `Consul`.
#[derive(Clone, Debug, clap::Args)]
pub struct ConsulArgs {
    /// Address of the Consul agent, `http://host:port`.
    #[arg(long = "consulserverURL", value_name = "URL")]
    pub url: Option<ConsulUrl>,

    /// A service that changes all the time is asked for once in this time. Other changes arrive at once.
    #[arg(long = "consulserverInterval", default_value = "2s", value_name = "DURATION")]
    pub interval: GoDuration,

    /// ACL token for the agent.
    #[arg(
        long = "consulserverToken",
        env = "CONSUL_HTTP_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        value_parser = secret
    )]
    pub token: Option<HeaderValue>,
}

/// A header that is not shown.
fn secret(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value: HeaderValue = text.parse()?;
    value.set_sensitive(true);
    Ok(value)
}

/// Follows the agent, if the registry is asked for.
pub(crate) fn follow(
    runtime: &Runtime,
    controller: &Controller,
    registries: &[Platform],
    args: ConsulArgs,
) -> anyhow::Result<Option<ConsulHandle>> {
    if !registries.contains(&Platform::Consul) {
        if args.url.is_some() {
            tracing::warn!("--consulserverURL has no effect: --registries does not name Consul");
        }
        return Ok(None);
    }
    let options = ConsulOptions {
        url: args
            .url
            .context("--registries names Consul: give --consulserverURL")?,
        token: args.token.filter(|token| !token.is_empty()),
        interval: args.interval.get(),
    };
    let metrics = ConsulMetrics::register(runtime.metrics())?;
    let (consul, handle) = Consul::new(options, runtime.spawner().clone(), metrics);
    let ready = runtime.readiness().task("services of the Consul catalog");
    runtime
        .spawner()
        .spawn_vital("consul", consul.run(controller.consul(), ready));
    Ok(Some(handle))
}
