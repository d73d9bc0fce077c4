//! What the plans of most namespaces have in common.
//!
//! In a large mesh a port has thousands of virtual hosts, and for a namespace that sees what everybody sees all but
//! those of its own services are the same: callers may only leave one label more out of the names of those. So a port
//! is planned once in each publication, for callers of no namespace, and completed for each namespace.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mesh_config::{Labels, Str};
use pilot_model::ScopedView;

use super::PortPlan;
use super::planner::Planner;
use crate::route::domains::{Domains, HostDomains, canonical, short_forms};
use crate::route::key::{VirtualHostInput, VirtualHostKey};

/// The common plans of one publication.
#[derive(Debug, Default)]
struct CommonPorts {
    by_port: Mutex<HashMap<CommonKey, Arc<OnceLock<Arc<CommonPort>>>>>,
}

/// What a common plan depends on besides the publication.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CommonKey {
    port: u16,
    port_only: bool,
    /// The domain of callers without the label of their namespace.
    suffix: Str,
}

/// The plan of a port for callers of no namespace.
#[derive(Debug)]
struct CommonPort {
    plan: PortPlan,
    /// By the domain of a namespace: positions of the services whose names are one label and this domain.
    own: HashMap<Str, Vec<usize>>,
    /// Domains of namespaces that the plan does not fit: they are the name of a service as well, or more than one label
    /// stands before them in one.
    unfit: HashSet<Str>,
    /// The names of a single label, and wildcards over one, in lower case, that virtual hosts have already.
    single_labels: HashSet<Str>,
}

/// The plan of a port; `None` when the namespace or its services are none of those that this is for.
pub(super) fn plan(
    view: &ScopedView,
    domain: &str,
    source_selectors: &[Labels],
    port: u16,
    port_only: bool,
) -> Option<PortPlan> {
    let (_, suffix) = domain.split_once('.')?;
    if !view.is_plain()
        || !source_selectors.is_empty()
        || domain.bytes().any(|byte| byte.is_ascii_uppercase())
    {
        return None;
    }
    let key = CommonKey {
        port,
        port_only,
        suffix: suffix.into(),
    };
    let common: Arc<CommonPorts> = view.derived().get();
    common.get(&key, view).complete(domain)
}

// === impl CommonPorts ===

impl CommonPorts {
    /// The plan of a port, made by the first who asks; others wait for it.
    fn get(&self, key: &CommonKey, view: &ScopedView) -> Arc<CommonPort> {
        let slot = {
            let mut by_port = self.by_port.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(by_port.entry(key.clone()).or_default())
        };
        Arc::clone(slot.get_or_init(|| Arc::new(CommonPort::new(key, view))))
    }
}

// === impl CommonPort ===

impl CommonPort {
    /// `view` is a plain one, so it does not matter which.
    fn new(key: &CommonKey, view: &ScopedView) -> Self {
        let plan = Planner::new(view, &key.suffix, &[], key.port, key.port_only).plan();
        let mut own: HashMap<Str, Vec<usize>> = HashMap::new();
        let (mut unfit, mut single_labels) = (HashSet::new(), HashSet::new());
        for (position, key) in plan.virtual_hosts.iter().enumerate() {
            let Domains::Host(domains) = &key.input().domains else {
                continue;
            };
            let host = canonical(domains.host.as_str());
            let shortest = short_forms(&host, domains.shared_labels).next().unwrap_or(&host);
            if let Some(label) = host.strip_prefix("*.").filter(|label| !label.contains('.')) {
                single_labels.insert(label.into());
            }
            let Some((labels, namespace)) = shortest.rsplit_once('.') else {
                single_labels.insert(shortest.into());
                unfit.insert(host.into());
                continue;
            };
            if domains.shared_labels == 0 {
                continue;
            }
            let domain = &host[shortest.len() - namespace.len()..];
            if labels.contains('.') {
                unfit.insert(domain.into());
            } else if let Some(positions) = own.get_mut(domain) {
                positions.push(position);
            } else {
                own.insert(domain.into(), vec![position]);
            }
        }
        Self {
            plan,
            own,
            unfit,
            single_labels,
        }
    }

    /// The plan for callers of a namespace.
    fn complete(&self, domain: &str) -> Option<PortPlan> {
        if self.unfit.contains(domain) {
            return None;
        }
        let mut plan = self.plan.clone();
        for &position in self.own.get(domain).into_iter().flatten() {
            let VirtualHostInput {
                name,
                domains,
                require_tls,
                routes,
            } = self.plan.virtual_hosts[position].input();
            let Domains::Host(domains) = domains else { continue };
            let (label, _) = domains.host.as_str().split_once('.')?;
            if self.single_labels.contains(&*canonical(label)) {
                // Somebody has to give way, and ages decide who.
                return None;
            }
            plan.virtual_hosts[position] = VirtualHostKey::new(VirtualHostInput {
                name: name.clone(),
                domains: Domains::Host(HostDomains {
                    shared_labels: domains.shared_labels + 1,
                    ..domains.clone()
                }),
                require_tls: *require_tls,
                routes: routes.clone(),
            });
        }
        Some(plan)
    }
}

#[cfg(test)]
mod tests {
    use mesh_config::{Host, Timestamp};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::fixture::{Mesh, service};

    fn host() -> impl Strategy<Value = String> {
        let label = select(vec!["a", "b", "ns", "svc", "local"]);
        let suffix = select(vec![
            ".ns.svc.cluster.local",
            ".other.svc.cluster.local",
            ".a.ns.svc.cluster.local",
            ".svc.cluster.local",
            ".NS.svc.cluster.local",
            ".cluster.local",
            ".local",
            ".com",
            "",
        ]);
        (label, suffix).prop_map(|(label, suffix)| format!("{label}{suffix}"))
    }

    proptest! {
        #[test]
        fn what_is_completed_is_what_would_have_been_planned(
            hosts in proptest::collection::vec((host(), 1..4_u8, 0..3_i64), 0..8),
            port_only: bool,
        ) {
            let mut mesh = Mesh::new();
            for (number, (host, address, created)) in hosts.iter().enumerate() {
                let mut service = service(&format!("service-{number}"), &format!("10.96.0.{address}"), &[("http", 80)]);
                service.id.host = Host::from(host.as_str());
                service.created = Timestamp { seconds: *created, nanos: 0 };
                mesh = mesh.service(service);
            }
            let published = mesh.publish();
            let mut completed = 0;
            for namespace in ["ns", "other", "a", "none"] {
                let view = published.snapshot.view(namespace);
                let domain = format!("{namespace}.svc.cluster.local");
                let planned = Planner::new(&view, &domain, &[], 80, port_only).plan();
                let Some(common) = plan(&view, &domain, &[], 80, port_only) else { continue };
                completed += 1;
                prop_assert_eq!(common.virtual_hosts, planned.virtual_hosts);
                prop_assert_eq!(common.takes_all, planned.takes_all);
                prop_assert_eq!(common.warnings, planned.warnings);
            }
            prop_assert!(completed > 0 || hosts.len() > 1);
        }
    }
}
