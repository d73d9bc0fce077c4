//! The ADS server: what is shared by all streams.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mesh_runtime::{Drain, Spawner};
use pilot_model::{Published, Warning};
use pilot_networking::{Features, XdsType};
use tokio::sync::{Semaphore, mpsc, watch};
use tonic::transport::server::TcpConnectInfo;

use crate::audit::{Auditor, Divergence};
use crate::connection::{Connection, Verdicts};
use crate::generator::{Generator, ProxyContext};
use crate::messages::Messages;
use crate::metrics::XdsMetrics;
use crate::names::Names;
use crate::resource::ResourceSet;
use crate::status::{ClientStatus, Clients};
use crate::throttle::{PushLimit, Throttle};
use crate::transport::{AdsService, ResponseBody};
use crate::wire::Wire;

/// How proxies are served.
#[derive(Clone, Debug)]
pub struct DiscoveryOptions {
    /// What is generated.
    pub features: Features,
    /// How long a proxy may take to read one response before its stream is closed (P8.7).
    pub send_timeout: Duration,
    /// How long listeners and routes wait for a proxy that has not acknowledged its clusters and says nothing about them.
    /// As long as that, publications that are newer wait as well.
    pub settle_timeout: Duration,
    /// How many streams may generate at the same time.
    pub concurrency: usize,
    /// How often configuration may be pushed; as often as it is published when `None`.
    pub push_limit: Option<PushLimit>,
    /// Names this Pilot in responses.
    pub identifier: String,
}

/// Serves ADS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Discovery {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: DiscoveryOptions,
    pub(crate) generator: Generator,
    pub(crate) metrics: XdsMetrics,
    pub(crate) clients: Clients,
    pub(crate) verdicts: Verdicts,
    auditor: Auditor,
    pub(crate) permits: Semaphore,
    /// Turns of proxies that have got something already.
    pub(crate) pushes: Option<Throttle>,
    /// Turns of proxies that have got nothing yet.
    pub(crate) first_pushes: Option<Throttle>,
    pub(crate) drain: Drain,
    /// What streams serve; `None` before the first publication.
    current: watch::Sender<Option<Current>>,
    spawner: Spawner,
    connections: AtomicU64,
}

/// A publication as streams see it.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) published: Published,
    pub(crate) at: Instant,
    /// Counts the requests of operators to send everything again.
    pub(crate) resends: u64,
}

// === impl DiscoveryOptions ===

impl Default for DiscoveryOptions {
    fn default() -> Self {
        Self {
            features: Features::default(),
            send_timeout: Duration::from_secs(5),
            // As long as Envoy waits for the endpoints of a cluster. One that is busy may be silent for seconds.
            settle_timeout: Duration::from_secs(15),
            concurrency: std::thread::available_parallelism().map_or(1, usize::from),
            push_limit: None,
            identifier: String::new(),
        }
    }
}

// === impl Discovery ===

impl Discovery {
    /// A server that has nothing to serve yet: streams wait for the first [`Self::publish`].
    pub fn new(options: DiscoveryOptions, metrics: XdsMetrics, spawner: Spawner, drain: Drain) -> Self {
        let shared = Shared {
            generator: Generator::new(options.features, metrics.clone()),
            permits: Semaphore::new(options.concurrency.max(1)),
            pushes: options.push_limit.map(Throttle::new),
            first_pushes: options
                .push_limit
                .map(|limit| Throttle::new(limit.of_new_proxies())),
            options,
            metrics,
            clients: Clients::default(),
            verdicts: Verdicts::default(),
            auditor: Auditor::default(),
            drain,
            current: watch::Sender::new(None),
            spawner,
            connections: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Serves a new publication. Streams that are busy skip those in between. One of the same generation is the same.
    pub fn publish(&self, published: Published) {
        let generation = published.generation;
        let is_new = self.shared.current.send_if_modified(|current| {
            if current
                .as_ref()
                .is_some_and(|current| current.published.generation == generation)
            {
                return false;
            }
            let resends = current.as_ref().map_or(0, |current| current.resends);
            *current = Some(Current {
                published,
                at: Instant::now(),
                resends,
            });
            true
        });
        if is_new {
            self.shared.generator.sweep(generation);
        }
    }

    /// Sends everything to all proxies again, changed or not.
    pub fn resend_all(&self) {
        self.shared
            .current
            .send_if_modified(|current| current.as_mut().map(|current| current.resends += 1).is_some());
    }

    /// The gRPC service.
    pub fn service(&self) -> AdsService {
        AdsService::new(self.clone())
    }

    /// What is served; `None` before the first publication.
    pub fn published(&self) -> Option<Published> {
        self.shared
            .current
            .borrow()
            .as_ref()
            .map(|current| current.published.clone())
    }

    /// The connected proxies.
    pub fn clients(&self) -> Vec<ClientStatus> {
        self.shared.clients.all()
    }

    /// A connected proxy by node id, `<pod>.<namespace>` or connection.
    pub fn client(&self, proxy: &str) -> Option<ClientStatus> {
        self.shared.clients.find(proxy)
    }

    /// What a connected proxy gets of one type, generated anew from what is published.
    pub fn generate(&self, client: &ClientStatus, xds_type: XdsType) -> Vec<Arc<ResourceSet>> {
        let Some(published) = self.published() else {
            return Vec::new();
        };
        let names = client
            .types
            .get(&xds_type)
            .into_iter()
            .flat_map(|status| status.resources());
        let names = Names::new(names.map(|resource| resource.name.clone()).collect());
        let context = ProxyContext::new(Arc::clone(&client.proxy), published);
        self.shared
            .generator
            .generate(&context, xds_type, &self.shared.generator.intern(&names))
    }

    /// The findings about everything that the connected proxies were sent, and about what is published.
    pub fn warnings(&self) -> BTreeSet<Warning> {
        let mut warnings = self.shared.clients.warnings();
        if let Some(published) = self.published() {
            warnings.extend(published.snapshot.warnings());
            warnings.extend(published.held.iter().cloned());
        }
        warnings
    }

    /// The proxies that do not hold the endpoints that the registries know.
    pub fn audit(&self) -> Vec<Divergence> {
        let Some(published) = self.published() else {
            return Vec::new();
        };
        let clients = self.shared.clients.all();
        self.shared
            .auditor
            .audit(&self.shared.generator, &published, &clients)
    }

    /// What a connected proxy is made to see of what is published.
    pub fn context(&self, client: &ClientStatus) -> Option<ProxyContext> {
        let published = self.published()?;
        Some(ProxyContext::new(Arc::clone(&client.proxy), published))
    }

    /// What is generated for whom.
    pub fn generator(&self) -> &Generator {
        &self.shared.generator
    }

    pub(crate) fn open<W: Wire>(&self, request: http::Request<tonic::body::Body>) -> ResponseBody {
        let peer = request.extensions().get::<TcpConnectInfo>();
        let peer = peer.and_then(TcpConnectInfo::remote_addr);
        let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
        let id = self.shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        // One response under way, one being made: a client that does not read holds nothing else up.
        let (sender, receiver) = mpsc::channel(1);
        let connection = Connection::<W>::new(id, peer, Arc::clone(&self.shared), sender);
        let current = self.shared.current.subscribe();
        let requests = Messages::new(request.into_body());
        self.shared
            .spawner
            .spawn("ads stream", connection.run(requests, current));
        ResponseBody::new(receiver)
    }
}
