//! Cases: folders below `testdata` with configuration, proxies, and what must come out.
//!
//! | file | content |
//! |---|---|
//! | `in.yaml` | Kubernetes and Istio objects |
//! | `proxy.yaml` | the proxies that are asked about, see [`world::Setup`] |
//! | `mesh.yaml` | mesh configuration over the defaults; optional |
//! | `networks.yaml` | the networks of the mesh; optional |
//! | `calls.yaml` | calls and what becomes of them, see [`calls`]; optional |
//! | `want/<type>.yaml` | resources of the first proxy; only those that it names are compared; optional |
//! | `warnings.txt` | all findings of all proxies; without it there must be none |
//!
//! `UPDATE_GOLDEN=1` rewrites `want` and `warnings.txt`. Every supported Envoy must accept what every proxy gets.

mod acceptance;
mod arbitrary;
mod arbitrary_gateway;
mod calls;
mod egress;
mod fuzz;
mod generated;
mod isolation;
mod meshes;
mod properties;
mod scoping;
mod upstreams;
mod world;

use std::process::ExitCode;

use libtest_mimic::Trial;
use mesh_testing::golden::{self, Case, Produced};
use serde_json::Value;

use crate::generated::Generated;
use crate::world::World;

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

fn main() -> ExitCode {
    let mut trials = golden::trials(PACKAGE, "testdata", check);
    trials.push(Trial::test(
        "order-of-arrival-changes-nothing",
        properties::order_changes_nothing,
    ));
    trials.push(Trial::test("fuzz-documents-never-panic", fuzz::documents));
    trials.push(Trial::test("fuzz-mesh-configuration-never-panics", fuzz::mesh));
    for kind in fuzz::kinds() {
        let name = format!("fuzz-{}-never-panics", kind.schema().kind.to_lowercase());
        trials.push(Trial::test(name, move || fuzz::kind(kind)));
    }
    trials.push(Trial::test(
        "order-of-arrival-changes-nothing-in-meshes",
        meshes::order_changes_nothing,
    ));
    // P9.7.
    trials.push(Trial::test(
        "r-sc-5-what-is-not-imported-changes-no-byte",
        scoping::what_is_not_imported_changes_no_byte,
    ));
    trials.push(Trial::test(
        "pain-16-a-new-service-takes-no-connections-from-others",
        isolation::a_new_service_takes_nothing,
    ));
    trials.push(Trial::test(
        "pain-33-a-wildcard-host-over-tls-opens-no-other",
        egress::wildcards_match_server_names_only,
    ));
    let envoys = mesh_testing::envoys();
    for envoy in envoys.clone() {
        let name = format!("envoy-{}-accepts-all-cases", envoy.version);
        let accepts = envoy.clone();
        trials.push(Trial::test(name, move || acceptance::cases(&accepts)));
        let name = format!(
            "envoy-{}-accepts-whatever-gateways-somebody-writes",
            envoy.version
        );
        let accepts = envoy.clone();
        trials.push(Trial::test(name, move || {
            properties::envoy_accepts_gateways(&accepts)
        }));
        let name = format!(
            "envoy-{}-accepts-whatever-somebody-says-of-upstreams",
            envoy.version
        );
        let accepts = envoy.clone();
        trials.push(Trial::test(name, move || upstreams::envoy_accepts(&accepts)));
        let name = format!("envoy-{}-accepts-whatever-somebody-writes", envoy.version);
        let writes = envoy.clone();
        trials.push(Trial::test(name, move || properties::envoy_accepts(&writes)));
        let name = format!("r-sc-6-envoy-{}-accepts-whatever-a-sidecar-says", envoy.version);
        trials.push(Trial::test(name, move || scoping::envoy_accepts_sidecars(&envoy)));
    }
    trials.push(Trial::test(
        "r-n-13-every-envoy-accepts-what-is-admitted",
        move || meshes::envoys_accept(&envoys),
    ));
    golden::main(trials)
}

/// Makes the calls of a case; what its files must hold is compared by the caller.
fn check(case: &Case) -> Result<Produced, String> {
    let world = World::of(case)?;
    if let Some(text) = case.read_if_present("calls.yaml")? {
        calls::check(&world, &text)?;
    }
    let mut produced = Produced::default().text("warnings.txt", world.warnings());
    if let Some(proxy) = world.proxies.first() {
        for kind in generated::KINDS {
            let file = format!("want/{kind}.yaml");
            if let Some(wanted) = case.read_if_present(&file)? {
                produced = produced.value(&file, named_in(proxy, kind, &wanted)?);
            }
        }
    }
    Ok(produced)
}

/// The resources that a wanted file names.
fn named_in(proxy: &Generated, kind: &str, wanted: &str) -> Result<Value, String> {
    let wanted: Vec<Value> = serde_saphyr::from_str(wanted).map_err(|error| error.to_string())?;
    let resources = proxy.to_json(kind)?;
    let named = |resource: &&Value| {
        let name = generated::name_of(resource);
        wanted.iter().any(|wanted| generated::name_of(wanted) == name)
    };
    Ok(resources.iter().filter(named).cloned().collect())
}
