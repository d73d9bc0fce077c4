//! `want` and `warnings.txt`: what must come out, as text.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use libtest_mimic::Failed;
use mesh_api::json;
use prost::Name;
use serde_json::Value;

use crate::harness::{Case, Generated};

/// Compares the resources that `want/*.yaml` name with those of the first proxy.
pub(crate) fn resources(case: &Case) -> Result<(), Failed> {
    let world = case.world()?;
    let proxy = world.proxies.first().ok_or("no proxy")?;
    let mut files: Vec<_> = fs::read_dir(case.path("want"))?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        let path = file.path();
        let generated = resources_of(proxy, &path)?;
        let text = fs::read_to_string(&path)?;
        let wanted: Vec<Value> =
            serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let names = wanted
            .iter()
            .filter_map(|resource| Some(name_of(resource)?.to_owned()));
        let got: Vec<Value> = names.filter_map(|name| generated.get(&name).cloned()).collect();
        if got != wanted {
            compare(&path, &emit(&wanted)?, &emit(&got)?)?;
        }
    }
    Ok(())
}

/// Compares the findings of all proxies with `warnings.txt`.
pub(crate) fn warnings(case: &Case) -> Result<(), Failed> {
    let world = case.world()?;
    let mut lines: Vec<String> = world
        .proxies
        .iter()
        .flat_map(|proxy| &proxy.warnings)
        .map(|warning| format!("{:?} {}: {}\n", warning.kind, warning.object, warning.reason))
        .collect();
    lines.sort();
    lines.dedup();
    let path = case.path("warnings.txt");
    let wanted = if path.exists() {
        fs::read_to_string(&path)?
    } else {
        String::new()
    };
    compare(&path, &wanted, &lines.concat())
}

/// The resources of the type that a file is named after, by name.
fn resources_of(proxy: &Generated, path: &Path) -> Result<BTreeMap<String, Value>, Failed> {
    match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("clusters") => by_name(&proxy.config.clusters),
        Some("endpoints") => by_name(&proxy.endpoints),
        Some("listeners") => by_name(&proxy.config.listeners),
        Some("routes") => by_name(&proxy.config.routes),
        _ => Err(format!("{} is named after no type of resource", path.display()).into()),
    }
}

fn by_name<M: Name>(messages: &[M]) -> Result<BTreeMap<String, Value>, Failed> {
    let mut resources = BTreeMap::new();
    for message in messages {
        let value = json::to_value(message)?;
        let name = name_of(&value).ok_or("a resource without name")?.to_owned();
        resources.insert(name, value);
    }
    Ok(resources)
}

fn name_of(resource: &Value) -> Option<&str> {
    resource
        .get("name")
        .or_else(|| resource.get("clusterName"))?
        .as_str()
}

fn emit(resources: &[Value]) -> Result<String, Failed> {
    Ok(serde_saphyr::to_string(&resources)?)
}

/// Compares texts, or writes what was got when that is asked for.
fn compare(path: &Path, wanted: &str, got: &str) -> Result<(), Failed> {
    if wanted == got {
        return Ok(());
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        if got.is_empty() {
            fs::remove_file(path)?;
        } else {
            fs::write(path, got)?;
        }
        return Ok(());
    }
    let diff = similar::TextDiff::from_lines(wanted, got);
    let diff = diff.unified_diff().header("wanted", "got").to_string();
    let lines: Vec<&str> = diff.lines().take(40).collect();
    Err(format!("{}\n{}", path.display(), lines.join("\n")).into())
}
