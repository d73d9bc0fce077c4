//! Route configurations (P13, P14).
//!
//! A route configuration holds a virtual host for each service, and most virtual hosts are the same for all proxies.
//! They are therefore resources of their own to the cache: [`VirtualHosts`] builds one, [`assemble`] joins their bytes.

use std::sync::Arc;

use bytes::Bytes;
use mesh_api::envoy::config::route::v3::VirtualHost;
use mesh_config::{Labels, Str};
use pilot_model::{Proxy, ScopedView, Warning, Workload};

use crate::{Built, Generate};

/// Makes virtual hosts.
#[derive(Debug)]
pub struct VirtualHosts;

/// Everything that one virtual host depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VirtualHostKey {
    name: Str,
}

/// Everything that one route configuration depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteKey {
    /// Name of the route configuration.
    pub name: Str,
    /// Its virtual hosts, sorted by name; names and domains are unique.
    pub virtual_hosts: Arc<[VirtualHostKey]>,
}

/// What the routes of a proxy depend on besides its view: proxies with equal scopes share them all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteScope {
    revs: pilot_model::ViewRevs,
    namespace: Str,
    domain: Str,
    /// Labels of the proxy, when a visible VirtualService asks for them or the proxy is a router.
    labels: Option<Labels>,
}

/// A planned route configuration.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// Its key.
    pub key: RouteKey,
    /// Conflicts and fallbacks found on the way.
    pub warnings: Vec<Warning>,
}

// === impl RouteScope ===

impl RouteScope {
    /// The scope of a proxy.
    pub fn new(view: &ScopedView, proxy: &Proxy, _workload: &Workload) -> Self {
        Self {
            revs: view.revs(),
            namespace: view.namespace().clone(),
            domain: proxy.domain.clone(),
            labels: None,
        }
    }
}

// === impl VirtualHosts ===

impl Generate for VirtualHosts {
    type Key = VirtualHostKey;
    type Message = VirtualHost;

    fn name(key: &VirtualHostKey) -> &str {
        &key.name
    }

    fn build(key: &VirtualHostKey) -> Built<VirtualHost> {
        VirtualHost { name: key.name.to_string(), ..VirtualHost::default() }.into()
    }
}

/// Plans one route configuration. A name that the proxy should not have gets one without virtual hosts, so that Envoy
/// does not wait for it (P8.7).
pub fn plan(_view: &ScopedView, _proxy: &Proxy, _workload: &Workload, name: &Str) -> RoutePlan {
    RoutePlan { key: RouteKey { name: name.clone(), virtual_hosts: Arc::default() }, warnings: Vec::new() }
}

/// Encodes a route configuration from the encoded virtual hosts, in the order of the key.
pub fn assemble(_key: &RouteKey, _virtual_hosts: &[Bytes]) -> Bytes {
    Bytes::new()
}
