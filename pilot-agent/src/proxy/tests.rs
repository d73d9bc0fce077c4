//! Arguments, files, and what is removed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{PrepareError, Proxy, Start};
use crate::config::tests::resolve;

fn proxy(folder: &Path, line: &str, env: &[(&str, &str)]) -> Proxy {
    let line = format!(
        "--configPath {} --ip 10.0.0.1 --id a.b --domain c {line}",
        folder.display()
    );
    Proxy::new(resolve(&line, env, &[]).unwrap())
}

fn words(start: &Start, folder: &Path) -> String {
    let words: Vec<_> = start.args.iter().map(|arg| arg.to_str().unwrap()).collect();
    words.join(" ").replace(&folder.display().to_string(), "DIR")
}

#[test]
fn the_first_epoch_chooses_a_base_id_that_later_ones_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("proxy");
    let proxy = proxy(&dir, "--concurrency 2 --serviceCluster s", &[]);
    let first = proxy.prepare(0).unwrap();
    assert_eq!(first.program, Path::new("/usr/local/bin/envoy"));
    assert_eq!(
        words(&first, &dir),
        "-c DIR/envoy-rev0.json --base-id-path DIR/envoy-base-id --restart-epoch 0 --drain-time-s 45 \
         --drain-strategy immediate --parent-shutdown-time-s 60 --service-cluster s \
         --service-node sidecar~10.0.0.1~a.b~c --local-address-ip-version v4 -l warning --concurrency 2 \
         --use-dynamic-base-id --allow-unknown-static-fields"
    );
    assert!(matches!(proxy.prepare(1), Err(PrepareError::BaseId { .. })));
    std::fs::write(dir.join("envoy-base-id"), "4711").unwrap();
    let second = words(&proxy.prepare(1).unwrap(), &dir);
    assert!(
        second.starts_with("-c DIR/envoy-rev1.json --base-id 4711 --restart-epoch 1 "),
        "{second}"
    );
    assert!(!second.contains("dynamic"), "{second}");
}

#[test]
fn a_base_id_can_be_given_and_hot_restart_be_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let given = words(
        &proxy(folder.path(), "--baseId 7", &[]).prepare(0).unwrap(),
        folder.path(),
    );
    assert!(given.contains("--base-id 7 --restart-epoch 0"), "{given}");
    let off = words(
        &proxy(folder.path(), "--disableHotRestart", &[])
            .prepare(0)
            .unwrap(),
        folder.path(),
    );
    assert!(
        off.contains("--disable-hot-restart") && !off.contains("base-id"),
        "{off}"
    );
}

#[test]
fn agt_20_the_folder_belongs_to_its_owner_and_each_epoch_has_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("proxy");
    let proxy = proxy(&dir, "--disableHotRestart", &[]);
    proxy.prepare(0).unwrap();
    proxy.prepare(1).unwrap();
    assert_eq!(
        std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let text = std::fs::read_to_string(dir.join("envoy-rev1.json")).unwrap();
    assert_eq!(text, proxy.bootstrap_text());
    proxy.clean_up(0, false);
    assert!(!dir.join("envoy-rev0.json").exists() && dir.join("envoy-rev1.json").exists());
}

#[test]
fn a_complete_file_is_used_and_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.yaml");
    std::fs::write(&file, "{}").unwrap();
    let proxy = proxy(
        folder.path(),
        &format!("--customConfigFile {}", file.display()),
        &[],
    );
    let start = words(&proxy.prepare(0).unwrap(), folder.path());
    assert!(start.starts_with("-c DIR/mine.yaml "), "{start}");
    proxy.clean_up(0, true);
    assert!(file.exists());
}

#[test]
fn agt_30_the_template_of_a_control_plane_pod_is_filled_in() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("envoy_policy.yaml.tmpl");
    std::fs::write(
        &template,
        "{{ .PodName }} {{ .PodIP }} '{{ .ControlPlaneAuth }}' {{ .MixerSubjectAltName }}",
    )
    .unwrap();
    let line = format!(
        "--templateFile {} --controlPlaneAuthPolicy MUTUAL_TLS --trust-domain t",
        template.display()
    );
    let env = [("POD_NAME", "policy-1"), ("POD_NAMESPACE", "mesh")];
    let start = proxy(folder.path(), &line, &env).prepare(0).unwrap();
    assert!(words(&start, folder.path()).starts_with("-c DIR/envoy.yaml "));
    let text = std::fs::read_to_string(folder.path().join("envoy.yaml")).unwrap();
    assert_eq!(
        text,
        "policy-1 10.0.0.1 'enable' spiffe://t/ns/mesh/sa/istio-mixer-service-account"
    );
}

#[test]
fn agt_49_an_override_is_merged_and_left_out_when_it_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("override.yaml");
    std::fs::write(&file, "admin: {}").unwrap();
    let env = [("ISTIO_BOOTSTRAP_OVERRIDE", file.to_str().unwrap())];
    let start = words(&proxy(folder.path(), "", &env).prepare(0).unwrap(), folder.path());
    assert!(start.contains("--config-yaml admin: {}"), "{start}");
    let env = [("ISTIO_BOOTSTRAP_OVERRIDE", "/nonexistent")];
    let start = words(&proxy(folder.path(), "", &env).prepare(0).unwrap(), folder.path());
    assert!(!start.contains("--config-yaml"), "{start}");
}

#[test]
fn agt_23_a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = proxy(&file, "", &[]).prepare(0).unwrap_err();
    assert!(error.to_string().ends_with("/file"), "{error}");
}

#[test]
fn the_token_of_lightstep_is_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let line = "--lightstepAddress l:1 --lightstepAccessToken secret";
    proxy(folder.path(), line, &[]).prepare(0).unwrap();
    let token = folder.path().join("lightstep_access_token.txt");
    assert_eq!(std::fs::read_to_string(&token).unwrap(), "secret");
    assert_eq!(
        std::fs::metadata(&token).unwrap().permissions().mode() & 0o777,
        0o600
    );
}
