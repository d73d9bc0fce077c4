//! What the routes of a proxy depend on besides the name of the route configuration.

use std::sync::Arc;

use mesh_config::{Labels, Str};
use pilot_model::{Gateway, Proxy, ProxyType, Rev, ScopedView, Versioned, ViewRevs, Viewer, Workload};

use crate::Features;
use crate::tls::downstream::asks_for_secrets;

/// What the routes of a proxy depend on: proxies with equal scopes share them all.
///
/// A plan is a function of a scope and a name; it never sees the proxy itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteScope {
    revs: ViewRevs,
    viewer: Viewer,
    pub(super) features: Features,
    pub(super) role: Role,
}

/// What depends on the kind of proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Sidecar {
        /// DNS domain of the callers behind the proxy: they may leave its labels out.
        domain: Str,
        /// Those of the `sourceLabels` in use that the workload satisfies, sorted. Workloads that satisfy the same
        /// ones share their routes, whatever other labels they have.
        source_selectors: Vec<Labels>,
    },
    Router {
        /// The Gateways that the proxy executes, oldest first.
        gateways: Arc<[Versioned<Gateway>]>,
        /// Whether it can ask for secrets, without which some servers are left out.
        secrets: bool,
    },
}

// === impl RouteScope ===

impl RouteScope {
    /// The scope of a proxy.
    pub fn new(view: &ScopedView, proxy: &Proxy, workload: &Workload, features: &Features) -> Self {
        let role = match proxy.proxy_type {
            ProxyType::Sidecar => {
                let selectors = view.source_selectors().iter();
                let satisfied = selectors.filter(|selector| selector.is_subset_of(&workload.labels));
                Role::Sidecar {
                    domain: proxy.domain.clone(),
                    source_selectors: satisfied.cloned().collect(),
                }
            }
            ProxyType::Router => Role::Router {
                gateways: view.gateways(&workload.labels).cloned().collect(),
                secrets: asks_for_secrets(proxy),
            },
        };
        // Routers know their Gateways, and sidecars do not look at any.
        let revs = ViewRevs {
            gateways: Rev::default(),
            ..view.revs()
        };
        Self {
            revs,
            viewer: view.viewer(),
            features: *features,
            role,
        }
    }
}
