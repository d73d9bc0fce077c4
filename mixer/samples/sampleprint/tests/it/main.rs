//! A real Mixer with the adapter inside, which a real `mixc` calls.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mesh_testing::eventually;
use mesh_testing::process::Process;

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

const MIXER: &str = env!("CARGO_BIN_EXE_sampleprint");

fn objects(params: &str) -> String {
    let object = |kind: &str, name: &str, spec: &str| {
        format!(
            "---\napiVersion: config.istio.io/v1alpha2\nkind: {kind}\nmetadata: {{name: {name}, namespace: istio-system}}\nspec: {spec}\n"
        )
    };
    [
        object(
            "attributemanifest",
            "all",
            "{attributes: {source.name: {valueType: STRING}, request.size: {valueType: INT64}}}",
        ),
        object(
            "handler",
            "print",
            &format!("{{compiledAdapter: sampleprint, params: {params}}}"),
        ),
        object(
            "instance",
            "size",
            "{compiledTemplate: metric, params: {value: request.size | 0, dimensions: {who: source.name | \"unknown\"}}}",
        ),
        object("rule", "print", "{actions: [{handler: print, instances: [size]}]}"),
    ]
    .concat()
}

/// M108: what is reported is in the file.
#[tokio::test]
async fn m108_instances_of_a_report_are_in_the_file_of_the_adapter_inside() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("store"), folder.path().join("instances"));
    fs::create_dir(&store).unwrap();
    let config = objects(&format!("{{file_path: {}}}", file.display()));
    fs::write(store.join("config.yaml"), config).unwrap();
    let mut command = Command::new(MIXER);
    command.args([
        "server",
        &format!("--configStoreURL=fs://{}", store.display()),
        "--address=127.0.0.1:0",
        "--monitoringAddr=127.0.0.1:0",
        "--ctrlz_address=",
        "--prometheusAddr=127.0.0.1:0",
        "--log_as_json",
    ]);
    let mut mixer = Process::start("sampleprint", command).unwrap();
    let address = mixer.wait_for_address(PATIENCE, "--address").await.unwrap();
    let line = eventually(PATIENCE, async || {
        let output = Command::new(Path::new(MIXER).with_file_name("mixc"))
            .args(["report", "--mixer", &address.to_string()])
            .args(["-s", "source.name=me", "-i", "request.size=42"])
            .output()
            .unwrap();
        let text = fs::read_to_string(&file).unwrap_or_default();
        match text.lines().next() {
            Some(line) => Ok(line.to_owned()),
            None => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    })
    .await
    .unwrap();
    assert_eq!(line, "size.instance.istio-system value=42 who=me");
}

/// M108: its parameters are checked as those of any adapter.
#[test]
fn m108_parameters_that_make_no_sense_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    for (params, reason) in [("{}", "filePath: is missing"), ("{path: x}", "path")] {
        fs::write(&file, objects(params)).unwrap();
        let output = Command::new(MIXER).arg("validator").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(reason),
            "{params}: {said}"
        );
    }
}
