//! Route configurations (P13, P14).
//!
//! A route configuration holds a virtual host for each service, and most virtual hosts are the same for all proxies.
//! They are therefore resources of their own to the cache: [`VirtualHosts`] builds one, [`assemble`] joins their bytes.

mod assemble;
mod build;
mod domains;
mod gateway;
mod hash_policy;
mod key;
mod matching;
mod re2;
mod rules;
mod scope;
mod sidecar;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use mesh_api::envoy::config::route::v3::VirtualHost;
use mesh_config::Str;
use pilot_model::{Proxy, ScopedView, Warning, Workload};

pub use self::assemble::assemble;
pub use self::key::{RouteKey, VirtualHostKey};
use self::scope::Role;
pub use self::scope::RouteScope;
use crate::{Built, Features, Generate, Origin};

/// Makes virtual hosts.
#[derive(Debug)]
pub struct VirtualHosts;

/// A planned route configuration.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// Its key.
    pub key: RouteKey,
    /// Conflicts and fallbacks found on the way.
    pub warnings: Vec<Warning>,
}

// === impl VirtualHosts ===

impl Generate for VirtualHosts {
    type Key = VirtualHostKey;
    type Message = VirtualHost;

    fn name(key: &VirtualHostKey) -> &str {
        &key.input().name
    }

    fn build(key: &VirtualHostKey) -> Built<VirtualHost> {
        build::virtual_host(key.input())
    }

    fn origins(key: &VirtualHostKey) -> Vec<Origin> {
        let routes = &key.input().routes;
        let mut origins: Vec<Origin> = match routes {
            key::Routes::Service { cluster, .. } => Origin::of_cluster(cluster).into_iter().collect(),
            key::Routes::Rules(sets) => {
                let objects = sets.iter().map(|set| set.object.key.clone());
                objects.map(Origin::Object).collect()
            }
            key::Routes::RulesOrDefault(sets, default) => {
                let objects = sets.iter().map(|set| &set.object.key).chain([&default.gateway]);
                objects.cloned().map(Origin::Object).collect()
            }
            key::Routes::Cluster(_)
            | key::Routes::Addresses(_)
            | key::Routes::Status(_)
            | key::Routes::Blocked => Vec::new(),
        };
        origins.extend(routes.hash_rules().cloned().map(Origin::Object));
        origins
    }
}

/// Plans one route configuration. A name that the proxy should not have gets one without virtual hosts, so that Envoy
/// does not wait for it (P8.7).
pub fn plan(
    view: &ScopedView,
    proxy: &Proxy,
    workload: &Workload,
    features: &Features,
    name: &Str,
) -> RoutePlan {
    plan_in_scope(view, &RouteScope::new(view, proxy, workload, features), name)
}

/// The plan depends on nothing but the scope and the name: the view is what the scope was made from.
fn plan_in_scope(view: &ScopedView, scope: &RouteScope, name: &Str) -> RoutePlan {
    let mut warnings = Vec::new();
    let (virtual_hosts, origins, ignore_port_in_host_matching) = match &scope.role {
        Role::Sidecar {
            domain,
            source_selectors,
        } => (
            sidecar::plan(
                view,
                domain,
                source_selectors,
                scope.features,
                name,
                &mut warnings,
            ),
            // One that leaves nothing out makes no difference to routes.
            view.egress()
                .and(view.sidecar())
                .map(|sidecar| sidecar.key.clone())
                .into_iter()
                .collect(),
            false,
        ),
        Role::Router { gateways, secrets } => {
            let (virtual_hosts, origins) = gateway::plan(view, gateways, *secrets, name, &mut warnings);
            (virtual_hosts, origins, true)
        }
    };
    warnings.sort();
    warnings.dedup();
    let virtual_hosts: Arc<[VirtualHostKey]> = virtual_hosts.into();
    debug_assert!(
        virtual_hosts.is_sorted_by(|a, b| a.input().name < b.input().name),
        "{name}: names are not unique"
    );
    RoutePlan {
        key: RouteKey {
            name: name.clone(),
            ignore_port_in_host_matching,
            origins,
            virtual_hosts,
        },
        warnings,
    }
}
