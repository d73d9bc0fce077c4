//! Golden cases: `testdata/<case>/pod.yaml` is injected and must give `testdata/<case>/patched.yaml`.
//!
//! A case whose pod must not be injected has no `patched.yaml`. `UPDATE_GOLDEN=1` rewrites what is wanted.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use sidecar_injector::inject::{NamespaceRef, ProxyDefaults, Values, inject};

#[test]
fn every_pod_is_patched_as_its_golden_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<PathBuf> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    let failed: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(cases.len() >= 10, "the golden cases are gone");
}

fn check(case: &Path) -> Result<(), String> {
    let name = case.file_name().unwrap().to_string_lossy();
    let text = fs::read_to_string(case.join("pod.yaml")).unwrap();
    let pod: Pod = serde_saphyr::from_str(&text).map_err(|e| format!("{name}: pod.yaml: {e}"))?;
    let values = Values {
        version: "golden".to_owned(),
        ..Values::default()
    };
    let labels = BTreeMap::from([("istio-injection".to_owned(), "enabled".to_owned())]);
    let namespace = NamespaceRef {
        name: "weather",
        labels: &labels,
    };
    let patched = inject(&pod, &namespace, &ProxyDefaults::default(), &values)
        .map_err(|e| format!("{name}: {e}"))?
        .map(|pod| serde_json::to_value(pod).unwrap());

    let file = case.join("patched.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        match &patched {
            Some(patched) => fs::write(&file, serde_saphyr::to_string(patched).unwrap()).unwrap(),
            None => drop(fs::remove_file(&file)),
        }
    }
    let want: Option<serde_json::Value> = fs::read_to_string(&file)
        .ok()
        .map(|text| serde_saphyr::from_str(&text).unwrap());
    if patched == want {
        return Ok(());
    }
    let show = |value: &Option<serde_json::Value>| {
        value
            .as_ref()
            .map_or("not injected".to_owned(), |v| serde_saphyr::to_string(v).unwrap())
    };
    Err(format!("{name}: want\n{}\ngot\n{}", show(&want), show(&patched)))
}
