//! The samples, applied one after another as their README says.

use std::fs;
use std::path::{Path, PathBuf};

use galley_analysis::{KINDS, Known};
use mesh_config::Kind;

use crate::objects;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// What is said of each file of the samples, after all that was applied before it. Nobody knows of pods.
#[test]
fn pain_11_samples_get_the_warnings_that_they_deserve() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/samples");
    let mut known = Known::new("cluster.local");
    for &kind in KINDS.iter().filter(|kind| **kind != Kind::Pod) {
        known.synced(kind);
    }
    for (addon, port) in ADDONS {
        let service = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {addon}, namespace: istio-system}},
               spec: {{clusterIP: 10.0.0.1, ports: [{{name: http, port: {port}}}]}}}}"
        );
        for object in objects(&service) {
            known.apply(&object);
        }
    }
    let mut said = Vec::new();
    // What there is comes before the rules about it.
    let folders = files(&folder).into_iter().filter(|path| path.is_dir());
    let (rules, there): (Vec<_>, Vec<_>) =
        folders.partition(|path| path.to_string_lossy().ends_with("-rules"));
    for folder in there.into_iter().chain(rules) {
        for file in files(&folder) {
            let text = fs::read_to_string(&file).expect("a file");
            let name = file
                .strip_prefix(folder.parent().expect("a parent"))
                .expect("inside");
            for object in objects(&text) {
                let warnings = known.warnings(&object);
                said.extend(
                    warnings
                        .iter()
                        .map(|line| format!("{}: {}: {line}", name.display(), object.meta.key)),
                );
                known.apply(&object);
            }
        }
    }
    assert_eq!(said, EXPECTED);
}

/// What the chart installs and samples lead to: Services and their ports.
const ADDONS: [(&str, u16); 4] = [
    ("grafana", 3000),
    ("kiali", 20001),
    ("prometheus", 9090),
    ("tracing", 80),
];

/// What is applied before what it names, and what the samples do to show what it leads to.
const EXPECTED: &[&str] = &[
    "weather/destination-rules.yaml: DestinationRule weather/forecast-dr: host: no Service of this cluster and no ServiceEntry is called \
     forecast.weather.svc.cluster.local",
    "weather/destination-rules.yaml: DestinationRule weather/recommendation-dr: host: no Service of this cluster and no ServiceEntry is \
     called recommendation.weather.svc.cluster.local",
    "weather-rules/frontend-android.yaml: VirtualService weather/frontend-route: http[0].route[1].destination.subset: no \
     DestinationRule declares v2 of frontend.weather.svc.cluster.local: requests are answered with 503",
];
