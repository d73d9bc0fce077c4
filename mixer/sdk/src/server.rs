//! The services of an adapter.

use std::fmt;
use std::sync::Arc;

use mesh_api::istio::mixer::adapter::model::v1beta1::infrastructure_backend_server::InfrastructureBackendServer;
use tonic::service::{Routes, RoutesBuilder};

use crate::Adapter;
use crate::registry::Registry;

/// An adapter with the templates that it serves: a method of the template's name adds it, for handlers that implement its
/// trait.
pub struct Server<A: Adapter> {
    pub(crate) service: Service<A>,
    pub(crate) routes: RoutesBuilder,
}

/// What the generated services call.
pub(crate) struct Service<A: Adapter>(pub(crate) Arc<Registry<A>>);

// === impl Server ===

impl<A: Adapter> Server<A> {
    /// An adapter that serves sessions, and no template yet.
    #[must_use]
    pub fn new(adapter: A) -> Self {
        let service = Service(Arc::new(Registry::new(adapter)));
        let mut routes = Routes::builder();
        routes.add_service(InfrastructureBackendServer::new(service.clone()));
        Self { service, routes }
    }

    /// All services, to be served over gRPC.
    #[must_use]
    pub fn into_routes(self) -> Routes {
        self.routes.routes()
    }
}

impl<A: Adapter> fmt::Debug for Server<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

// === impl Service ===

impl<A: Adapter> Clone for Service<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
