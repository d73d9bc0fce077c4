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
    mixer_with(configuration, &[]).await
}

async fn mixer_with(configuration: &Path, environment: &[(&str, &str)]) -> (Process, SocketAddr) {
    let mut command = Command::new(program("mixs"));
    command.envs(environment.iter().copied());
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

/// An adapter that shows a certificate of this name, and objects that lead to it by mutual TLS.
struct Secured {
    folder: tempfile::TempDir,
    _adapter: Process,
}

impl Secured {
    async fn start(name: &str) -> Self {
        const OURS: &str = "spiffe://cluster.local/ns/istio-system/sa/istio-mixer-service-account";
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir(path("config")).unwrap();
        let authority = Authority::new("mesh").unwrap();
        for (whose, name) in [("mixer", OURS), ("adapter", name)] {
            let pair = authority.issue(&[name, "127.0.0.1"]).unwrap();
            fs::write(path(&format!("{whose}-cert.pem")), pair.certificate).unwrap();
            fs::write(path(&format!("{whose}-key.pem")), pair.key).unwrap();
        }
        fs::write(path("ca.pem"), authority.certificate()).unwrap();
        let flags = [
            format!("--certificate={}", path("adapter-cert.pem")),
            format!("--key={}", path("adapter-key.pem")),
            format!("--ca={}", path("ca.pem")),
        ];
        let (process, address) = adapter("127.0.0.1:0", &flags).await;
        let authentication = format!(
            ", authentication: {{mutual: {{private_key: {}, client_certificate: {}, ca_certificates: {}}}}}",
            path("mixer-key.pem"),
            path("mixer-cert.pem"),
            path("ca.pem")
        );
        let file = folder.path().join("printed");
        let text = objects(address, &file, false, &authentication);
        fs::write(path("config/all.yaml"), text).unwrap();
        Self {
            folder,
            _adapter: process,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[tokio::test]
async fn m109_certificates_are_checked_on_both_sides() {
    let secured =
        Secured::start("spiffe://cluster.local/ns/istio-system/sa/istio-mixer-service-account").await;
    let (_mixs, mixer) = mixer(&secured.path("config")).await;
    let line = reported(mixer, "secured", &secured.path("printed")).await;
    assert_eq!(line, "size.instance.istio-system 42 who=secured");
}

/// `spec 02` §10.5: any name of the authority will do if the operator says so.
#[tokio::test]
async fn spec_02_10_5_an_adapter_of_another_identity_is_called_only_if_its_name_is_not_looked_at() {
    let secured = Secured::start("spiffe://cluster.local/ns/default/sa/somebody").await;
    let (_strict, strict) = mixer(&secured.path("config")).await;
    eventually(PATIENCE, async || {
        let output = Command::new(program("mixc"))
            .args(["report", "--mixer", &strict.to_string()])
            .args(["-s", "source.name=strict", "-i", "request.size=42"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        told.contains("invalid peer certificate")
            .then_some(())
            .ok_or(told)
    })
    .await
    .unwrap();
    let bypass = [("BYPASS_OOP_MTLS_SAN_VERIFICATION", "true")];
    let (_mixs, lax) = mixer_with(&secured.path("config"), &bypass).await;
    let line = reported(lax, "lax", &secured.path("printed")).await;
    assert_eq!(line, "size.instance.istio-system 42 who=lax");
    let printed = fs::read_to_string(secured.path("printed")).unwrap();
    assert!(!printed.contains("strict"), "{printed}");
}
