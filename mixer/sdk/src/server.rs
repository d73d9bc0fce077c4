//! The services of an adapter.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use mesh_api::Any;
use mesh_api::istio::mixer::adapter::model::v1beta1::infrastructure_backend_server::InfrastructureBackendServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};

use crate::Adapter;
use crate::registry::Registry;

/// An adapter with the templates that it serves: a method of the template's name adds it, for handlers that implement its
/// trait.
pub struct Server<A: Adapter> {
    handlers: Handlers<A>,
    routes: RoutesBuilder,
    /// Names of the services.
    services: Vec<&'static str>,
}

/// Finds the handler of each call. The generated services are served by this; clones are the same one.
pub struct Handlers<A: Adapter>(pub(crate) Arc<Registry<A>>);

// === impl Server ===

impl<A: Adapter> Server<A> {
    /// An adapter that serves sessions, and no template yet.
    #[must_use]
    pub fn new(adapter: A) -> Self {
        let server = Self {
            handlers: Handlers(Arc::new(Registry::new(adapter))),
            routes: Routes::builder(),
            services: Vec::new(),
        };
        server.template(InfrastructureBackendServer::new)
    }

    /// Serves a template of one's own, declared by [`template!`](crate::template): `new` of its generated server.
    #[must_use]
    pub fn template<S>(mut self, new: impl FnOnce(Handlers<A>) -> S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes.add_service(new(self.handlers.clone()));
        self.services.push(S::NAME);
        self
    }

    /// Names of the services so far.
    pub(crate) fn services(&self) -> &[&'static str] {
        &self.services
    }

    /// All services, to be served over gRPC by whoever has a server already; [`run`](crate::run) brings one.
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

// === impl Handlers ===

impl<A: Adapter> Handlers<A> {
    /// The handler of a call by its `adapter_config`: that of the session, or of the parameters, which is made if there is
    /// none yet.
    ///
    /// # Errors
    ///
    /// [`NotFound`](tonic::Code::NotFound) for a session that is none, by which Mixer knows that it has to make another one; what the adapter
    /// says about parameters.
    pub async fn of(&self, adapter_config: Option<Any>) -> Result<Arc<A::Handler>, Status> {
        self.0.handler(adapter_config).await
    }
}

impl<A: Adapter> Clone for Handlers<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Adapter> fmt::Debug for Handlers<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}
