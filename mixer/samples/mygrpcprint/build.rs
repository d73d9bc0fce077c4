//! Generates the parameters and the adapter's own template, and the descriptor that the object `adapter` carries.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use prost::Message as _;

/// Where protos are found: the adapter's, and those of Mixer's model.
const INCLUDES: [&str; 3] = ["proto", "../../../api/proto", "../../mixgen/proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let folder = PathBuf::from(env::var("OUT_DIR")?);
    let config = protox::compile(["config.proto"], INCLUDES)?;
    fs::write(folder.join("config.bin"), config.encode_to_vec())?;

    let mut messages = prost_build::Config::new();
    messages
        .enable_type_names()
        .bytes(["."])
        .include_file("protos.rs");
    // What the SDK has is not made again.
    for (package, path) in [
        (".google.protobuf.Any", "::mixer_sdk::Any"),
        (".google.rpc", "::mixer_sdk::rpc"),
        (".istio.mixer.adapter.model.v1beta1", "::mixer_sdk::model"),
        (".istio.policy.v1beta1", "::mixer_sdk::policy"),
    ] {
        messages.extern_path(package, path);
    }
    let protos = ["config.proto", "permit/template_handler_service.proto"];
    tonic_prost_build::configure()
        .build_client(false)
        .compile_fds_with_config(protox::compile(protos, INCLUDES)?, messages)?;
    Ok(())
}
