//! A wildcard host opens the way to the names below it and to no other (pain 33).

use std::net::IpAddr;

use libtest_mimic::Failed;
use pilot_networking::simulate::{self, Call};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::world::World;

const WORLD: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: networking.istio.io/v1alpha3, kind: ServiceEntry, metadata: {name: wildcard, namespace: weather},
   spec: {hosts: ['*.example.com'], location: MESH_EXTERNAL, resolution: NONE, ports: [{name: tls, number: 443, protocol: TLS}]}}
- {apiVersion: networking.istio.io/v1alpha3, kind: ServiceEntry, metadata: {name: other, namespace: weather},
   spec: {hosts: [api.other.com], location: MESH_EXTERNAL, resolution: DNS, ports: [{name: https, number: 443, protocol: HTTPS}]}}
";
const PROXIES: &str = "proxies: [{name: client, namespace: weather, ip: 10.1.0.1}]";

/// Whatever server name is announced, and whatever address the connection is opened to.
pub(crate) fn wildcards_match_server_names_only() -> Result<(), Failed> {
    let world = World::new(WORLD, PROXIES, Vec::new())?;
    let config = Config {
        cases: 10_000,
        failure_persistence: None,
        ..Config::default()
    };
    let address = any::<Option<[u8; 4]>>().prop_map(|bytes| bytes.map(IpAddr::from));
    let outcome = TestRunner::new(config).run(&(host(), address), |(host, address)| {
        let call = Call {
            to: format!("tls://{host}:443"),
            sni: None,
            address,
            port: None,
            method: None,
            headers: Default::default(),
        };
        let outcome = simulate::call(&world.proxies[0].config, &call)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        let expected = if host.ends_with(".example.com") {
            "outbound|443||*.example.com"
        } else if host == "api.other.com" {
            "outbound|443||api.other.com"
        } else {
            "PassthroughCluster"
        };
        prop_assert_eq!(outcome.cluster.as_deref(), Some(expected), "{}", host);
        Ok(())
    });
    outcome.map_err(|error| error.to_string().into())
}

/// Names that look like those that are declared, and some that do not.
fn host() -> impl Strategy<Value = String> {
    let label = select(vec![
        "www",
        "api",
        "example",
        "other",
        "com",
        "evil",
        "xexample",
        "example-com",
    ]);
    let labels = vec(label, 1..6).prop_map(|labels| labels.join("."));
    let near = (any::<bool>(), "[a-z]{0,8}").prop_map(|(dot, text)| {
        let dot = if dot { "." } else { "" };
        format!("{text}{dot}example.com")
            .trim_start_matches('.')
            .to_owned()
    });
    let random = "[a-z]{1,10}(\\.[a-z]{1,10}){0,3}\\.[a-z]{2,5}";
    prop_oneof![labels, near, random]
}
