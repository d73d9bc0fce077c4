//! What the debug interface and the metrics read.

use std::sync::Arc;

use pilot_registry::Publication;
use pilot_registry::consul::ConsulHandle;
use pilot_xds::Discovery;
use tokio::sync::watch;

use crate::debug::RegistrationMetrics;
use crate::kube::ClustersHandle;
use crate::sources::SourceHandle;

/// Read access to everything that Pilot knows. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The push engine.
    pub(crate) discovery: Discovery,
    /// The last publication; `None` before the first.
    pub(crate) publication: watch::Receiver<Option<Publication>>,
    /// The configuration sources.
    pub(crate) sources: Arc<[SourceHandle]>,
    /// The API servers, where one is followed.
    pub(crate) kube: Option<ClustersHandle>,
    /// The Consul agent, where one is followed.
    pub(crate) consul: Option<ConsulHandle>,
    /// What is counted of `/v1/registration`.
    pub(crate) registration: RegistrationMetrics,
}

impl State {
    /// The last publication; `None` before the first.
    pub(crate) fn publication(&self) -> Option<Publication> {
        self.publication.borrow().clone()
    }
}
