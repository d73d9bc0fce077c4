//! Generates the messages of Istio, Kubernetes and Envoy.
//!
//! Istio's and Kubernetes' .proto files live in `proto/`. Envoy's come out of the `envoy-types` package, which is
//! in `Cargo.lock` but never compiled: cargo has unpacked it, `cargo metadata` says where.

#[path = "build/comments.rs"]
mod comments;

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost_types::FileDescriptorSet;

/// The Envoy files that we name in code; their imports come along.
///
/// protox resolves relative names against every file opened so far. A file of a package such as
/// `envoy.extensions.filters.common` must therefore not be opened before one that says `filters.common` and means
/// something else: keep additions at the end unless the compiler disagrees.
const ENVOY_ROOTS: &[&str] = &[
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/service/discovery/v3/ads.proto",
    "envoy/service/discovery/v3/discovery.proto",
    "envoy/admin/v3/config_dump_shared.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/grpc_web/v3/grpc_web.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/config/trace/v3/zipkin.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/extensions/filters/network/set_filter_state/v3/set_filter_state.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/filters/network/sni_cluster/v3/sni_cluster.proto",
    "envoy/extensions/filters/network/mongo_proxy/v3/mongo_proxy.proto",
    "envoy/service/auth/v3/external_auth.proto",
    "envoy/service/ratelimit/v3/rls.proto",
    "envoy/service/accesslog/v3/als.proto",
    "envoy/extensions/access_loggers/grpc/v3/als.proto",
];

/// Folders of Envoy's filters. Somebody may write the configuration of any of them, so that their messages are described
/// but nothing is generated for them.
const ENVOY_FILTERS: &[&str] = &[
    "envoy/extensions/filters/http",
    "envoy/extensions/filters/network",
];

/// Folders of the `envoy-types` package that hold include roots.
const ENVOY_INCLUDES: &[&str] = &[
    "data-plane-api",
    "xds",
    "googleapis",
    "protoc-gen-validate",
    "cel-spec/proto",
    "client_model",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=proto");

    let ours = PathBuf::from("proto");
    let envoy = envoy_protos()?;
    let mut includes = vec![ours.clone()];
    includes.extend(ENVOY_INCLUDES.iter().map(|dir| envoy.join(dir)));

    let mut roots: Vec<PathBuf> = ENVOY_ROOTS.iter().map(PathBuf::from).collect();
    roots.extend(proto_files(&ours)?);

    let compiled = compile(&includes, &roots)?;
    let mut descriptors = with_filters(compiled.clone(), &includes)?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let mut config = prost_build::Config::new();
    config
        .enable_type_names()
        .btree_map(["."])
        .bytes(["."])
        .disable_comments([".envoy", ".google", ".xds", ".udpa", ".validate", ".cel"])
        .extern_path(".google.protobuf.Any", "crate::Any")
        .extern_path(
            ".envoy.service.discovery.v3.DiscoveryResponse",
            "crate::DiscoveryResponse",
        )
        .extern_path(
            ".envoy.service.discovery.v3.DeltaDiscoveryResponse",
            "crate::DeltaDiscoveryResponse",
        )
        .include_file("mod.rs");
    tonic_prost_build::configure().compile_fds_with_config(compiled, config)?;

    fs::write(
        out_dir.join("comments.rs"),
        comments::table(&descriptors, "istio/"),
    )?;
    // Comments of all the others served the generated documentation; at run time they would be dead weight.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    fs::write(
        out_dir.join("descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )?;
    Ok(())
}

fn compile(includes: &[PathBuf], roots: &[PathBuf]) -> Result<FileDescriptorSet, Box<dyn Error>> {
    let mut compiler = protox::Compiler::new(includes)?;
    compiler.include_imports(true).include_source_info(true);
    for root in roots {
        compiler
            .open_file(root)
            .map_err(|error| format!("{}: {error:?}", root.display()))?;
    }
    Ok(compiler.file_descriptor_set())
}

/// Adds what Envoy's filters need. Each is compiled alone, so that no order has to be found in which relative names mean
/// what they should.
fn with_filters(
    mut compiled: FileDescriptorSet,
    includes: &[PathBuf],
) -> Result<FileDescriptorSet, Box<dyn Error>> {
    let mut known: BTreeSet<String> = compiled.file.iter().map(|file| file.name().to_owned()).collect();
    for folder in ENVOY_FILTERS {
        let root = includes
            .iter()
            .map(|include| include.join(folder))
            .find(|path| path.is_dir())
            .ok_or_else(|| format!("{folder} is not there"))?;
        for file in proto_files(&root)? {
            let file = Path::new(folder).join(file);
            if file.to_str().is_some_and(|name| known.contains(name)) {
                continue;
            }
            let files = compile(includes, &[file])?.file;
            compiled.file.extend(
                files
                    .into_iter()
                    .filter(|file| known.insert(file.name().to_owned())),
            );
        }
    }
    Ok(compiled)
}

/// The `proto` folder of the `envoy-types` package.
fn envoy_protos() -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--manifest-path"])
        .arg(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(format!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("envoy-types is not among the packages of this workspace")?;
    let protos = Path::new(manifest).with_file_name("proto");
    println!("cargo:rerun-if-changed={}", protos.display());
    Ok(protos)
}

/// All .proto files below `root`, relative to it, in a stable order.
fn proto_files(root: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                files.push(path.strip_prefix(root)?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}
