//! A new service takes no connections away from others (pain 16), and one that gets none is named (P12.3).

use std::fmt::Write;

use libtest_mimic::Failed;
use pilot_networking::simulate::{self, Call};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::world::World;

const PROXIES: &str = "proxies: [{name: client, namespace: weather, ip: 10.1.0.1}]";

/// How callers know a service.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// By an address of its own.
    Address,
    /// By an address that others have too.
    Shared,
    /// By the address that the cluster gives to it.
    Cluster,
    /// By addresses of a range of its own.
    Range,
    /// By the host name alone.
    Name,
    /// By the addresses of its pods.
    Headless,
}

/// A service with one port.
#[derive(Clone, Copy, Debug)]
struct Described {
    known: Known,
    protocol: &'static str,
    port: u16,
}

/// Whatever services there are, the youngest changes no call to the others.
pub(crate) fn a_new_service_takes_nothing() -> Result<(), Failed> {
    let config = Config {
        cases: 192,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&vec(described(), 2..7), |services| {
        let fail = |error: String| TestCaseError::fail(error);
        let (_, older) = services.split_last().expect("never empty");
        let before = World::new(&objects(older), PROXIES, Vec::new()).map_err(fail)?;
        let after = World::new(&objects(&services), PROXIES, Vec::new()).map_err(fail)?;
        for (index, service) in older.iter().enumerate() {
            let call = service.call(index);
            let answer = |world: &World| {
                simulate::call(&world.proxies[0].config, &call).map_err(|error| fail(error.to_string()))
            };
            let before = answer(&before)?;
            // One that lost its place to an older service has nothing to lose.
            let own = format!("outbound|{}||{}", service.port, service.host(index));
            if before.cluster == Some(own) {
                prop_assert_eq!(before, answer(&after)?, "call {:?} of {:?}", call, services);
            }
        }
        for (index, service) in services.iter().enumerate() {
            let call = service.call(index);
            let answer = simulate::call(&after.proxies[0].config, &call);
            let answer = answer.map_err(|error| fail(error.to_string()))?;
            let own = format!("outbound|{}||{}", service.port, service.host(index));
            let name = format!("s{index}");
            let is_named = || {
                let mut warnings = after.proxies[0].warnings.iter();
                warnings.any(|warning| *warning.object.name == *name)
            };
            prop_assert!(
                answer.cluster == Some(own) || is_named(),
                "call {call:?} of {services:?} goes to {:?}, and nobody says why",
                answer.cluster
            );
        }
        Ok(())
    });
    outcome.map_err(|error| error.to_string().into())
}

fn described() -> impl Strategy<Value = Described> {
    let known = select(vec![
        Known::Address,
        Known::Shared,
        Known::Cluster,
        Known::Range,
        Known::Name,
        Known::Headless,
    ]);
    let protocol = select(vec!["TCP", "TLS", "HTTP", "HTTPS", "Mongo"]);
    (known, protocol, select(vec![443, 9000])).prop_map(|(known, protocol, port)| Described {
        known,
        protocol,
        port,
    })
}

/// The objects of services, the first one the oldest.
fn objects(services: &[Described]) -> String {
    let mut text = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for (index, service) in services.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {}", service.object(index));
    }
    text
}

// === impl Described ===

impl Described {
    fn object(self, index: usize) -> String {
        let Self {
            known,
            protocol,
            port,
        } = self;
        let meta =
            format!("name: s{index}, namespace: weather, creationTimestamp: '2019-04-01T00:00:0{index}Z'");
        let addresses = match known {
            Known::Headless | Known::Cluster => {
                let name = protocol.to_lowercase();
                let address = match known {
                    Known::Headless => "None".to_owned(),
                    _ => format!("10.96.0.{index}"),
                };
                return format!(
                    "{{apiVersion: v1, kind: Service, metadata: {{{meta}}},
                       spec: {{clusterIP: {address}, ports: [{{name: {name}, port: {port}}}]}}}}"
                );
            }
            Known::Shared => "[192.0.100.1]".to_owned(),
            Known::Address => format!("[192.0.{index}.1]"),
            Known::Range => format!("[192.0.{index}.0/24]"),
            Known::Name => "[]".to_owned(),
        };
        format!(
            "{{apiVersion: networking.istio.io/v1alpha3, kind: ServiceEntry, metadata: {{{meta}}},
               spec: {{hosts: [s{index}.example.com], addresses: {addresses}, location: MESH_EXTERNAL, resolution: NONE,
                 ports: [{{name: port, number: {port}, protocol: {protocol}}}]}}}}"
        )
    }

    fn host(self, index: usize) -> String {
        match self.known {
            Known::Headless | Known::Cluster => format!("s{index}.weather.svc.cluster.local"),
            Known::Address | Known::Shared | Known::Range | Known::Name => format!("s{index}.example.com"),
        }
    }

    /// What a caller of the service does.
    fn call(self, index: usize) -> Call {
        let host = self.host(index);
        let address = match self.known {
            Known::Address => format!("192.0.{index}.1"),
            Known::Shared => "192.0.100.1".to_owned(),
            Known::Cluster => format!("10.96.0.{index}"),
            Known::Range => format!("192.0.{index}.77"),
            Known::Name => format!("198.51.100.{index}"),
            Known::Headless => format!("10.1.0.{}", 10 + index),
        };
        let port = self.port;
        let to = match self.protocol {
            "HTTP" => format!("http://{host}:{port}/"),
            "TLS" | "HTTPS" => format!("tls://{host}:{port}"),
            _ => format!("tcp://{address}:{port}"),
        };
        Call {
            to,
            sni: None,
            address: address.parse().ok(),
            port: None,
            method: None,
            headers: Default::default(),
        }
    }
}
