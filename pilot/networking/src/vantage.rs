//! From where a proxy looks at the mesh.

use std::collections::BTreeSet;

use mesh_config::{Kind, Str};
use pilot_model::{
    Locality, NetworkTable, Proxy, ProxyType, Resolution, ScopedView, Service, Versioned, Workload,
};

use crate::Features;
use crate::tls::workload::CertificateFiles;

/// What clusters and their endpoints depend on besides what the proxy's namespace sees.
///
/// Proxies with the same vantage share what is made for them, hence it says nothing that makes no difference: where a
/// proxy runs is left out unless a setting asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vantage {
    pub(crate) proxy_type: ProxyType,
    /// A router that hands connections on by their server names (`ROUTER_MODE`, P11.1).
    pub(crate) sni_dnat: bool,
    /// The networks of the mesh and the proxy's own, when there are any (P10.5).
    pub(crate) network: Option<(Versioned<NetworkTable>, Str)>,
    /// The networks whose endpoints it wants to see among those that it resolves itself (`REQUESTED_NETWORK_VIEW`).
    pub(crate) network_view: BTreeSet<Str>,
    /// Where the proxy runs, when load is balanced by locality (P10.6).
    pub(crate) locality: Option<Locality>,
    /// Whether that concerns the endpoints that Pilot serves, not only those that proxies resolve.
    pub(crate) balances_served_localities: bool,
    pub(crate) certificate_files: Option<CertificateFiles>,
}

// === impl Vantage ===

impl Vantage {
    /// The vantage of a proxy.
    pub fn new(view: &ScopedView, proxy: &Proxy, workload: &Workload, features: &Features) -> Self {
        let says = |name: &str, value: &str| proxy.metadata.get(name).is_some_and(|found| **found == *value);
        let networks = view.networks();
        let network = (!networks.is_empty()).then(|| {
            let own = proxy.metadata.get("NETWORK").cloned().unwrap_or_default();
            (networks.clone(), own)
        });
        let network_view = match proxy.metadata.get("REQUESTED_NETWORK_VIEW") {
            Some(requested) => requested.split(',').map(|name| name.trim().into()).collect(),
            // Its own network, and what is in none: both are within reach.
            None => {
                let own = proxy.metadata.get("NETWORK").cloned();
                own.into_iter().chain([Str::default()]).collect()
            }
        };
        let locality = if proxy.locality.is_empty() {
            &workload.locality
        } else {
            &proxy.locality
        };
        let asked = features.locality_load_balancing || view.mesh().locality_lb_setting.is_some();
        Self {
            proxy_type: proxy.proxy_type,
            sni_dnat: proxy.proxy_type == ProxyType::Router && says("ROUTER_MODE", "sni-dnat"),
            network,
            network_view,
            locality: (asked && !locality.is_empty()).then(|| locality.clone()),
            balances_served_localities: features.locality_load_balancing,
            certificate_files: CertificateFiles::of_client(proxy),
        }
    }

    /// Whether the proxy chooses among the endpoints of a service that Pilot knows.
    ///
    /// Who calls a headless service has chosen already. Who calls it through a gateway has chosen the gateway.
    pub(crate) fn balances(&self, service: &Service) -> bool {
        match service.resolution {
            Resolution::ClientSide => true,
            Resolution::Dns => false,
            Resolution::Passthrough => {
                self.proxy_type == ProxyType::Router && service.object().kind != Kind::ServiceEntry
            }
        }
    }

    /// Where the proxy runs, as far as that decides about endpoints that Pilot serves.
    pub(crate) fn served_locality(&self) -> Option<&Locality> {
        self.locality.as_ref().filter(|_| self.balances_served_localities)
    }

    /// That of a proxy of which nothing but its role matters.
    #[cfg(test)]
    pub(crate) fn of_role(proxy_type: ProxyType) -> Self {
        Self {
            proxy_type,
            sni_dnat: false,
            network: None,
            network_view: [Str::default()].into(),
            locality: None,
            balances_served_localities: false,
            certificate_files: None,
        }
    }
}
