//! What the instances of one request have in common.

use std::collections::BTreeMap;

use mixer_attribute::{Untracked, Value};
use mixer_template::{Common, InstanceCompiler, Template};
use serde_json::json;

use crate::{bag, vocabulary};

/// `spec 02` §6.2: instances with equal dimensions are as if each were alone, for each request anew, also when they cannot
/// be made.
#[test]
fn what_instances_have_in_common_belongs_to_one_request() {
    let vocabulary = vocabulary();
    let mut compiler = InstanceCompiler::new(&vocabulary);
    let mut metric = |name: &str, dimensions: &serde_json::Value| {
        let params = json!({"value": "destination.port", "dimensions": dimensions});
        let compiled = compiler.compile(Template::Metric, name, &params, &BTreeMap::new());
        compiled.unwrap()
    };
    let alike = json!({"port": "destination.port", "name": "source.name"});
    let other = json!({"name": "source.ip"});
    let builders = [
        metric("a", &alike),
        metric("b", &alike),
        metric("c", &other),
        metric("d", &alike),
    ];
    let name = vocabulary.id("source.name").unwrap();
    let first = bag(&vocabulary);
    let mut second = first.clone();
    second.set(name, Value::from("ratings"));
    let mut third = first.clone();
    third.remove(name);
    let mut common = Common::default();
    for bag in [&first, &second, &third] {
        common.clear();
        for builder in &builders {
            let alone = format!("{:?}", builder.build(bag, &mut Untracked));
            assert_eq!(format!("{:?}", builder.build_reported(bag, &mut common)), alone);
        }
    }
}
