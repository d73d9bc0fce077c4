//! ServiceEntries for what is already there.

use mesh_api::istio::networking::v1alpha3 as networking;
use mesh_config::{Config, Host, Kind};

use crate::facts::Fact;
use crate::warnings::Warnings;
use crate::{Known, references};

pub(crate) fn check(known: &Known, config: &Config, spec: &networking::ServiceEntry, out: &mut Warnings) {
    let key = &config.meta.key;
    let private = references::is_private(&spec.export_to);
    for (index, name) in spec.hosts.iter().enumerate() {
        let host = Host::from(name.as_str());
        let field = format!("hosts[{index}]");
        if let Some((service, _)) = known.with_host(Kind::Service, &host, key).next() {
            out.say(&field, format!("{service} is called {host} already"));
        }
        for (other_key, other) in known.with_host(Kind::ServiceEntry, &host, key) {
            let Fact::Entry(other) = other else { continue };
            // Nobody sees both.
            if (private || other.private) && other_key.namespace != key.namespace {
                continue;
            }
            // Further ports of a host may well be in an entry of their own.
            let shared = spec.ports.iter().find(|port| other.ports.contains(&port.number));
            if let Some(port) = shared {
                out.say(
                    &field,
                    format!("{other_key} has port {} of {host} too", port.number),
                );
            }
        }
    }
}
