//! The adapter's process, called by a real `mixs`, which a real `mixc` calls.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh_testing::certificates::Authority;
use mesh_testing::eventually;
use mesh_testing::process::Process;

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

const MANIFEST: &str = "
apiVersion: config.istio.io/v1alpha2
kind: attributemanifest
metadata: {name: all, namespace: istio-system}
spec: {attributes: {source.name: {valueType: STRING}, request.size: {valueType: INT64}}}
";

/// A program of this workspace: `cargo build -p mixer -p mixc` puts it beside the adapter.
fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_mygrpcprint")).with_file_name(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: config.istio.io/v1alpha2\nkind: {kind}\nmetadata: {{name: {name}, namespace: istio-system}}\nspec: {spec}\n"
    )
}

/// What an operator applies: adapter, handler, instance, rule.
fn objects(address: SocketAddr, file: &Path, session_based: bool, authentication: &str) -> String {
    let config = STANDARD.encode(mygrpcprint::CONFIG_DESCRIPTOR);
    [
        MANIFEST.to_owned(),
        object(
            "adapter",
            "mygrpcprint",
            &format!("{{description: prints, sessionBased: {session_based}, templates: [metric], config: {config}}}"),
        ),
        object(
            "handler",
            "print",
            &format!(
                "{{adapter: mygrpcprint, connection: {{address: '{address}'{authentication}}}, params: {{file_path: {}}}}}",
                file.display()
            ),
        ),
        object(
            "instance",
            "size",
            "{template: metric, params: {value: request.size | 0, dimensions: {who: source.name | \"unknown\"}}}",
        ),
        object("rule", "print", "{actions: [{handler: print, instances: [size]}]}"),
    ]
    .concat()
}

async fn mixer(configuration: &Path) -> (Process, SocketAddr) {
    let mut command = Command::new(program("mixs"));
    command.args([
        "server",
        &format!("--configStoreURL=fs://{}", configuration.display()),
        "--address=127.0.0.1:0",
        "--monitoringAddr=127.0.0.1:0",
        "--ctrlz_address=",
        "--log_as_json",
    ]);
    let mut process = Process::start("mixs", command).unwrap();
    let address = process.wait_for_address(PATIENCE, "--address").await.unwrap();
    (process, address)
}

async fn adapter(address: &str, flags: &[String]) -> (Process, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mygrpcprint"));
    command.args(["--address", address, "--log_as_json"]).args(flags);
    let mut process = Process::start("mygrpcprint", command).unwrap();
    let address = process.wait_for_address(PATIENCE, "--address").await.unwrap();
    (process, address)
}

/// Reports until there is a line of it.
async fn reported(mixer: SocketAddr, who: &str, file: &Path) -> String {
    eventually(PATIENCE, async || {
        let output = Command::new(program("mixc"))
            .args(["report", "--mixer", &mixer.to_string()])
            .args(["-s", &format!("source.name={who}"), "-i", "request.size=42"])
            .output()
            .unwrap();
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.ends_with(&format!("who={who}")));
        match line {
            Some(line) => Ok(line.to_owned()),
            None => Err(format!("{}", String::from_utf8_lossy(&output.stderr))),
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn m109_instances_of_a_report_are_in_the_file_of_the_standalone_process() {
    for session_based in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (configuration, file) = (folder.path().join("config"), folder.path().join("printed"));
        fs::create_dir(&configuration).unwrap();
        let (first, address) = adapter("127.0.0.1:0", &[]).await;
        let text = objects(address, &file, session_based, "");
        fs::write(configuration.join("all.yaml"), text).unwrap();
        let (_mixs, mixer) = mixer(&configuration).await;
        let line = reported(mixer, "frontend", &file).await;
        assert_eq!(line, "size.instance.istio-system 42 who=frontend");
        // A process that is restarted goes on, with a session of its own.
        drop(first);
        let (_second, _) = adapter(&address.to_string(), &[]).await;
        let line = reported(mixer, "backend", &file).await;
        assert_eq!(line, "size.instance.istio-system 42 who=backend");
    }
}

#[tokio::test]
async fn m109_certificates_are_checked_on_both_sides() {
    const OURS: &str = "spiffe://cluster.local/ns/istio-system/sa/istio-mixer-service-account";
    let folder = tempfile::tempdir().unwrap();
    let (configuration, file) = (folder.path().join("config"), folder.path().join("printed"));
    fs::create_dir(&configuration).unwrap();
    let authority = Authority::new("mesh").unwrap();
    let pair = authority.issue(&[OURS]).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("cert.pem"), pair.certificate).unwrap();
    fs::write(path("key.pem"), pair.key).unwrap();
    fs::write(path("ca.pem"), authority.certificate()).unwrap();
    let flags = [
        format!("--certificate={}", path("cert.pem")),
        format!("--key={}", path("key.pem")),
        format!("--ca={}", path("ca.pem")),
    ];
    let (_adapter, address) = adapter("127.0.0.1:0", &flags).await;
    let authentication = format!(
        ", authentication: {{mutual: {{private_key: {}, client_certificate: {}, ca_certificates: {}}}}}",
        path("key.pem"),
        path("cert.pem"),
        path("ca.pem")
    );
    let text = objects(address, &file, false, &authentication);
    fs::write(configuration.join("all.yaml"), text).unwrap();
    let (_mixs, mixer) = mixer(&configuration).await;
    let line = reported(mixer, "secured", &file).await;
    assert_eq!(line, "size.instance.istio-system 42 who=secured");
}
