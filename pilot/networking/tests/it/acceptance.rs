//! A real Envoy takes what the proxies of a case get.

use std::path::Path;
use std::process::Command;

use libtest_mimic::Failed;
use mesh_api::envoy::config::listener::v3::{Listener, filter};
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mesh_api::{Any, json};
use mesh_testing::provision;
use pilot_networking::simulate::ProxyConfig;
use serde_json::{Value, json};

use crate::harness::Case;

/// The supported release.
pub(crate) fn current(case: &Case) -> Result<(), Failed> {
    check(case, &provision::envoy()?)
}

/// The oldest supported release.
pub(crate) fn floor(case: &Case) -> Result<(), Failed> {
    check(case, &provision::envoy_floor()?)
}

fn check(case: &Case, envoy: &Path) -> Result<(), Failed> {
    for proxy in &case.world()?.proxies {
        validate(envoy, &proxy.config).map_err(|error| format!("{}: {error}", proxy.name))?;
    }
    Ok(())
}

/// Has Envoy check a configuration as a whole.
pub(crate) fn validate(envoy: &Path, config: &ProxyConfig) -> Result<(), String> {
    let bootstrap = bootstrap(config)?;
    let file = tempfile::Builder::new()
        .suffix(".json")
        .tempfile()
        .map_err(|error| error.to_string())?;
    serde_json::to_writer(&file, &bootstrap).map_err(|error| error.to_string())?;
    let output = Command::new(envoy)
        .args(["--mode", "validate", "--log-level", "error", "--config-path"])
        .arg(file.path())
        .output()
        .map_err(|error| format!("{}: {error}", envoy.display()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A bootstrap that holds everything itself: routes are checked only where they stand in a listener.
fn bootstrap(config: &ProxyConfig) -> Result<Value, String> {
    let failed = |error: json::JsonError| error.to_string();
    let listeners = config
        .listeners
        .iter()
        .map(|listener| json::to_value(&inlined(listener, config)));
    let clusters = config.clusters.iter().map(json::to_value);
    let mut clusters: Vec<Value> = clusters.collect::<Result<_, _>>().map_err(failed)?;
    clusters.push(json!({
        "name": "xds",
        "type": "STATIC",
        "typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicitHttpConfig": {"http2ProtocolOptions": {}},
        }},
    }));
    Ok(json!({
        "node": {"id": "case", "cluster": "case"},
        "dynamicResources": {"adsConfig": {
            "apiType": "GRPC",
            "transportApiVersion": "V3",
            "grpcServices": [{"envoyGrpc": {"clusterName": "xds"}}],
        }},
        "layeredRuntime": {"layers": [{
            "name": "static",
            "staticLayer": {"re2.max_program_size.error_level": 32768},
        }]},
        "staticResources": {
            "listeners": listeners.collect::<Result<Vec<_>, _>>().map_err(failed)?,
            "clusters": clusters,
        },
    }))
}

/// The listener with its routes inside.
fn inlined(listener: &Listener, config: &ProxyConfig) -> Listener {
    let mut listener = listener.clone();
    for filter in listener
        .filter_chains
        .iter_mut()
        .flat_map(|chain| &mut chain.filters)
    {
        let Some(filter::ConfigType::TypedConfig(any)) = &mut filter.config_type else {
            continue;
        };
        let Ok(mut manager) = any.unpack::<HttpConnectionManager>() else {
            continue;
        };
        if let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier
            && let Some(routes) = config
                .routes
                .iter()
                .find(|routes| routes.name == rds.route_config_name)
        {
            manager.route_specifier = Some(RouteSpecifier::RouteConfig(routes.clone()));
            *any = Any::pack(&manager);
        }
    }
    listener
}
