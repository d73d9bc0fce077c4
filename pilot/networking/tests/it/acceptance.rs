//! A real Envoy accepts what proxies get.

use std::path::Path;

use libtest_mimic::Failed;
use mesh_api::Any;
use mesh_testing::envoy::Rejected;
use mesh_testing::{Envoy, golden};

use crate::PACKAGE;
use crate::world::World;

/// Everything that the proxies of all cases get.
pub(crate) fn cases(envoy: &Envoy) -> Result<(), Failed> {
    let mut all: Vec<(String, Vec<Any>)> = Vec::new();
    for case in golden::cases(&Path::new(PACKAGE).join("testdata")) {
        let world = World::of(&case)?;
        let resources = world.resources().into_iter();
        all.extend(resources.map(|(proxy, resources)| (format!("{}/{proxy}", case.name), resources)));
    }
    report(envoy.validate_all(&all))
}

/// Fails with what Envoy rejected, and why.
pub(crate) fn report(rejected: Vec<(String, Rejected)>) -> Result<(), Failed> {
    if rejected.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = rejected
        .into_iter()
        .map(|(case, reason)| format!("{case}: {reason}"))
        .collect();
    Err(lines.join("\n").into())
}
