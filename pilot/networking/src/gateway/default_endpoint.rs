//! Where a server sends what no rule takes: to an application beside the router (`defaultEndpoint`, §7.1).

use mesh_api::istio::networking::v1alpha3::server::tls_options::TlSmode;
use mesh_config::{ConfigKey, Str};
use pilot_model::LocalEndpoint;

use super::GatewayServer;
use crate::name;

/// The default endpoint of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DefaultEndpoint {
    /// The cluster that leads there.
    pub(crate) cluster: Str,
    pub(crate) endpoint: LocalEndpoint,
    /// The Gateway that says so.
    pub(crate) gateway: ConfigKey,
}

// === impl GatewayServer ===

impl GatewayServer<'_> {
    /// Its default endpoint, when it has one.
    ///
    /// # Errors
    ///
    /// The finding about one that is left out.
    pub(crate) fn default_endpoint(&self) -> Result<Option<DefaultEndpoint>, String> {
        let Self { gateway, server } = self;
        if server.default_endpoint.is_empty() {
            return Ok(None);
        }
        let left_out = |reason: &str| format!("defaultEndpoint is left out: {reason}");
        let tls = server.tls.as_ref();
        if tls.is_some_and(|tls| tls.mode() == TlSmode::AutoPassthrough) {
            return Err(left_out("with AUTO_PASSTHROUGH the server name says where"));
        }
        let endpoint = LocalEndpoint::parse(&server.default_endpoint).map_err(|reason| left_out(&reason))?;
        let port = server.port.as_ref();
        let (number, port_name) = port.map_or((0, ""), |port| (port.number, &port.name));
        Ok(Some(DefaultEndpoint {
            cluster: name::default_endpoint_cluster(number, port_name, &gateway.key).into(),
            endpoint,
            gateway: gateway.key.clone(),
        }))
    }
}
