//! From snapshots to sinks: the MCP server, and the call to a sink that waits for it (G2, G3, G9.3).

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use galley_processing::mesh;
use mesh_mcp::metrics::McpMetrics;
use mesh_mcp::{Callout, SnapshotCache, Source, SourceOptions};
use mesh_runtime::Runtime;
use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::{self, ClientOptions, GrpcOptions};
use mesh_runtime::listen::{Listener, bind_if_enabled};
use mesh_runtime::tls::{ClientAuth, Credentials, H2, ServerTls};
use tonic::metadata::{MetadataKey, MetadataMap};
use tonic::service::Routes;

use crate::access_list::{AccessList, AccessListMetrics};
use crate::args::{McpArgs, SinkArgs};

/// What can be told about the flags before anything is started.
pub(crate) fn check(args: &McpArgs) -> anyhow::Result<()> {
    call(&args.sink).map(drop)
}

/// Starts the server and the call; without credentials it is plain text.
pub(crate) async fn start(
    runtime: &Runtime,
    args: McpArgs,
    credentials: Option<Credentials>,
    snapshots: SnapshotCache,
    grpc: GrpcOptions,
) -> anyhow::Result<(Source, Option<SocketAddr>)> {
    let McpArgs {
        enable_server: _,
        server_address,
        insecure: _,
        access_list_file,
        sink,
        max_received_message_size,
        max_concurrent_streams,
        new_connection_burst,
        new_connection_freq,
        denial_log_burst,
        denial_log_freq,
    } = args;
    let mut options = SourceOptions {
        // Sinks that do not ask for changes, such as those of 1.1, get full states.
        incremental: true,
        max_request_bytes: max_received_message_size,
        new_connection_burst,
        new_connection_interval: new_connection_freq.get(),
        denial_log_burst,
        denial_log_interval: denial_log_freq.get(),
        ..SourceOptions::default()
    };
    options.collections.insert(mesh::COLLECTION.into());
    let tls = if let Some(credentials) = credentials {
        let list = AccessList::load(access_list_file)?;
        let metrics = AccessListMetrics::register(runtime.metrics())?;
        runtime
            .spawner()
            .spawn("access list", list.clone().follow(metrics));
        options.access = Arc::new(list);
        Some(ServerTls::new(credentials, ClientAuth::Required, &[H2]))
    } else {
        None
    };
    let metrics = McpMetrics::register(runtime.metrics(), "galley/mcp/source")?;
    let source = Source::new(snapshots, options, metrics, runtime.drain().clone());
    spawn_call(runtime, &source, &sink, &grpc)?;
    let Some((listener, local)) = bind_if_enabled("--server-address", &server_address).await? else {
        return Ok((source, None));
    };
    let grpc = GrpcOptions {
        max_concurrent_streams,
        ..grpc
    };
    let listener = match tls {
        Some(tls) => Listener::tls(listener, tls),
        None => listener.into(),
    };
    let routes = Routes::new(source.service()).add_service(source.legacy_service());
    runtime.spawn_grpc("mcp", listener, routes, grpc);
    Ok((source, Some(local)))
}

/// The sink that is to be called, and what goes with the call.
fn call(args: &SinkArgs) -> anyhow::Result<Option<(HostPort, MetadataMap)>> {
    let SinkArgs {
        address,
        auth_mode,
        metadata,
    } = args;
    if address.is_empty() {
        return Ok(None);
    }
    let address: HostPort = address.parse().context("--sinkAddress")?;
    match auth_mode.as_str() {
        "NONE" => {}
        "" => bail!("--sinkAuthMode is missing: NONE calls the sink without TLS"),
        "GOOGLE" => bail!(
            "--sinkAuthMode: GOOGLE needs the credentials of Google's metadata server, which this version does not ask for"
        ),
        other => bail!("--sinkAuthMode: there is no mode {other:?}"),
    }
    let mut map = MetadataMap::new();
    for pair in metadata.iter().filter(|pair| !pair.is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .with_context(|| format!("--sinkMeta: {pair:?} is not of the form key=value"))?;
        let key = MetadataKey::from_bytes(key.to_ascii_lowercase().as_bytes())
            .with_context(|| format!("--sinkMeta: {key:?} cannot be a key of gRPC metadata"))?;
        let value = value
            .parse()
            .with_context(|| format!("--sinkMeta: {value:?} cannot be a value of gRPC metadata"))?;
        map.append(key, value);
    }
    Ok(Some((address, map)))
}

fn spawn_call(runtime: &Runtime, source: &Source, args: &SinkArgs, grpc: &GrpcOptions) -> anyhow::Result<()> {
    let Some((address, metadata)) = call(args)? else {
        return Ok(());
    };
    let options = ClientOptions {
        keepalive: grpc.keepalive,
        ..ClientOptions::default()
    };
    let channel = grpc::connect(&address, &options).context("--sinkAddress")?;
    let callout = Callout::new(source.clone(), channel, address.to_string(), metadata);
    runtime
        .spawner()
        .spawn("call to the sink", callout.run(runtime.drain().clone()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(address: &str, auth_mode: &str, metadata: &[&str]) -> SinkArgs {
        SinkArgs {
            address: address.to_owned(),
            auth_mode: auth_mode.to_owned(),
            metadata: metadata.iter().map(|&pair| pair.to_owned()).collect(),
        }
    }

    #[test]
    fn g3_2_a_call_to_a_sink_is_described_by_three_flags() {
        assert!(call(&sink("", "", &[])).unwrap().is_none());
        let (address, metadata) = call(&sink("sink:9902", "NONE", &["Project=mesh", "a=b=c"]))
            .unwrap()
            .unwrap();
        assert_eq!(address.to_string(), "sink:9902");
        assert_eq!(metadata.get("project").unwrap(), "mesh");
        assert_eq!(metadata.get("a").unwrap(), "b=c");
    }

    #[test]
    fn g9_2_what_cannot_be_called_is_said() {
        for (args, reason) in [
            (sink("sink:9902", "", &[]), "--sinkAuthMode is missing"),
            (sink("sink:9902", "GOOGLE", &[]), "GOOGLE needs"),
            (sink("sink:9902", "MAYBE", &[]), "no mode \"MAYBE\""),
            (sink("sink", "NONE", &[]), "--sinkAddress"),
            (sink("sink:1", "NONE", &["a"]), "key=value"),
            (sink("sink:1", "NONE", &["a b=c"]), "cannot be a key"),
            (sink("sink:1", "NONE", &["a=\n"]), "cannot be a value"),
        ] {
            let error = format!("{:#}", call(&args).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}
