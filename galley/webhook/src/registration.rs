//! Registers the webhook with the API server and keeps it registered (G8.6).
//!
//! ```text
//! file and certificate ─> ready address of the service ─> webhook of our own calls ─> a call came back ─> all webhooks
//!                                                                 └──────── watched and repaired for ever ────────┘
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PostParams;
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use mesh_kube::{Event, Watch, WatchOptions, patch};
use mesh_runtime::tls::Certificates;
use mesh_runtime::{Backoff, ReadyGuard};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::call::{self, Returned};
use crate::configuration::{ConfigurationFile, Desired, Registrant};
use crate::metrics::ValidationMetrics;
use crate::service::ServiceWatch;

/// Pauses between writes where somebody else keeps writing something else. The longest is what a change of theirs may
/// last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(1_500);

/// After this long without a write the next one waits for nothing.
const PEACE: Duration = Duration::from_secs(10);

/// Pauses between calls that do not come back.
const FIRST_CALL: Duration = Duration::from_millis(100);
const LAST_CALL: Duration = Duration::from_secs(2);

/// How long the API server may take for a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a registration is made from, and for whom.
pub(crate) struct Registration {
    pub(crate) client: Client,
    pub(crate) registrant: Registrant,
    pub(crate) service: String,
    pub(crate) files: watch::Receiver<Option<Arc<ConfigurationFile>>>,
    pub(crate) certificates: watch::Receiver<Option<Arc<Certificates>>>,
    pub(crate) metrics: ValidationMetrics,
    /// Until the service has an address.
    pub(crate) addressed: Option<ReadyGuard>,
    /// Until a call came back.
    pub(crate) returned: Option<ReadyGuard>,
}

/// What is known while the configuration is being kept.
struct Keeper {
    registration: Registration,
    configurations: Api<ValidatingWebhookConfiguration>,
    /// As it was seen last; `None` when it is not there.
    present: Option<ValidatingWebhookConfiguration>,
    /// Whether it is known what is there.
    synced: bool,
    /// Whether the webhooks of the file belong into it.
    whole: bool,
    /// What the API server made of what should be.
    accepted: Option<(Desired, Option<Vec<ValidatingWebhook>>)>,
    pause: Backoff,
    written: Option<Instant>,
    not_before: Instant,
    failed: Option<String>,
    call: Option<Pin<Box<dyn Future<Output = Returned> + Send>>>,
    calls: Backoff,
    lost: Option<String>,
}

// === impl Registration ===

impl Registration {
    /// Never ends; may be dropped at any time.
    pub(crate) async fn run(mut self) {
        // The senders live as long as the process.
        let _closed = self.files.wait_for(Option::is_some).await.is_err();
        let _closed = self.certificates.wait_for(Option::is_some).await.is_err();
        self.wait_for_address().await;
        self.registrant.owner = self.owner().await;
        Keeper::new(self).run().await;
    }

    /// A webhook that nobody answers would refuse everything, the repair of Galley included.
    async fn wait_for_address(&mut self) {
        let namespace = self.registrant.namespace.as_str();
        let service = self.service.as_str();
        let mut watch = ServiceWatch::new(&self.client, namespace, service);
        let mut told = false;
        loop {
            let addresses = watch.next().await;
            if addresses.ready > 0 {
                info!(
                    namespace,
                    service,
                    addresses = addresses.ready,
                    "the service has an address"
                );
                self.addressed = None;
                return;
            }
            if addresses.waiting > 0 && self.returned.is_some() {
                // It is us who are waited for. Nobody depends on the webhook before a call came back in any case.
                info!(
                    namespace,
                    service, "the service publishes ready pods only: ready before a call came back"
                );
                self.addressed = None;
                self.returned = None;
            } else if !told {
                info!(namespace, service, "waiting for a ready address of the service");
            }
            told = true;
        }
    }

    /// Our namespace: the configuration goes with it. A Deployment, which 1.1 named, is no owner of what belongs to no
    /// namespace.
    async fn owner(&self) -> Option<OwnerReference> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let name = &self.registrant.namespace;
        let mut retry = Backoff::new(FIRST_CALL, LAST_CALL);
        let reason = loop {
            match namespaces.get(name).await {
                Ok(namespace) => {
                    return Some(OwnerReference {
                        api_version: "v1".to_owned(),
                        kind: "Namespace".to_owned(),
                        name: name.clone(),
                        uid: namespace.metadata.uid.unwrap_or_default(),
                        ..OwnerReference::default()
                    });
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403 | 404) => {
                    break status.message.clone();
                }
                Err(_) => retry.wait().await,
            }
        };
        warn!(
            reason,
            "the webhook configuration has no owner, and must be removed by `galley remove-webhook`"
        );
        None
    }
}

// === impl Keeper ===

impl Keeper {
    fn new(registration: Registration) -> Self {
        let configurations = Api::all(registration.client.clone());
        Self {
            registration,
            configurations,
            present: None,
            synced: false,
            whole: false,
            accepted: None,
            pause: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            written: None,
            not_before: Instant::now(),
            failed: None,
            call: None,
            calls: Backoff::new(FIRST_CALL, LAST_CALL),
            lost: None,
        }
    }

    async fn run(mut self) {
        let api: Api<DeserializeGuard<ValidatingWebhookConfiguration>> =
            Api::all(self.registration.client.clone());
        let options = WatchOptions {
            fields: Some(format!("metadata.name={}", self.registration.registrant.name)),
            // A foreign change is not seen while the connection is gone.
            timeout: Duration::from_secs(30),
            longest_pause: Duration::from_secs(1),
            ..WatchOptions::default()
        };
        let mut watch = Watch::new(api, options);
        self.call_again();
        loop {
            let due = self.due();
            tokio::select! {
                event = watch.next() => self.see(event),
                Ok(()) = self.registration.files.changed() => self.call_again(),
                Ok(()) = self.registration.certificates.changed() => self.call_again(),
                () = sleep_until(self.not_before), if due => self.write().await,
                returned = next(&mut self.call), if !due && self.synced => self.returned(returned),
            }
        }
    }

    fn see(&mut self, event: Event<ValidatingWebhookConfiguration>) {
        match event {
            Event::Applied(_, configuration) => {
                // One that was registered before we came was good for somebody: it is completed, never cut down.
                let file = self.registration.files.borrow();
                self.whole |= file.as_ref().is_some_and(|file| file.is_part_of(&configuration));
                drop(file);
                self.present = Some(configuration);
            }
            Event::Deleted(_) => self.present = None,
            // What cannot be read is not as it should be.
            Event::Rejected(..) => self.present = None,
            Event::Synced => self.synced = true,
        }
    }

    fn desired(&self) -> Option<Desired> {
        let file = self.registration.files.borrow().clone()?;
        let certificates = self.registration.certificates.borrow().clone()?;
        let authorities = certificates.authorities_pem();
        Some(file.desired(&self.registration.registrant, &authorities, self.whole))
    }

    /// Whether something must be written.
    fn due(&self) -> bool {
        self.synced && self.desired().is_some_and(|desired| !self.is(&desired))
    }

    fn is(&self, desired: &Desired) -> bool {
        let Some(present) = &self.present else {
            return false;
        };
        // What the API server makes of our words is as good as our words.
        let accepted = self.accepted.as_ref();
        let accepted = accepted.is_some_and(|(of, webhooks)| of == desired && *webhooks == present.webhooks);
        desired.is(present) || (accepted && desired.owns(present))
    }

    async fn write(&mut self) {
        let Some(desired) = self.desired() else { return };
        if self.written.is_none_or(|written| written.elapsed() > PEACE) {
            self.pause.reset();
        }
        let written = match timeout(WRITE_TIMEOUT, put(&self.configurations, &desired)).await {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(kube::Error::Api(status))) => Err((status.reason.clone(), status.message.clone())),
            Ok(Err(error)) => Err((String::new(), mesh_runtime::error_chain(&error))),
            Err(_) => Err((
                "Timeout".to_owned(),
                "the API server did not answer in time".to_owned(),
            )),
        };
        self.written = Some(Instant::now());
        self.not_before = Instant::now() + self.pause.next_delay();
        let name = &self.registration.registrant.name;
        let metrics = &self.registration.metrics;
        match written {
            Ok(written) => {
                metrics.config_updates.inc();
                info!(name, whole = self.whole, "webhook configuration written");
                self.failed = None;
                self.accepted = Some((desired, written.webhooks.clone()));
                self.present = Some(written);
            }
            Err((reason, message)) => {
                let label = if reason.is_empty() { "unknown" } else { &reason };
                metrics.config_update_errors.with_label_values(&[label]).inc();
                if self.failed.as_ref() != Some(&message) {
                    warn!(
                        name,
                        reason = message,
                        "webhook configuration cannot be written, trying again"
                    );
                    self.failed = Some(message);
                }
            }
        }
    }

    /// Makes the next call at once.
    fn call_again(&mut self) {
        self.calls.reset();
        self.call = Some(self.call_after(Duration::ZERO));
    }

    fn call_after(&self, pause: Duration) -> Pin<Box<dyn Future<Output = Returned> + Send>> {
        let client = self.registration.client.clone();
        let namespace = self.registration.registrant.namespace.clone();
        let service = self.registration.service.clone();
        Box::pin(async move {
            sleep(pause).await;
            call::make(&client, &namespace, &service).await
        })
    }

    fn returned(&mut self, returned: Returned) {
        match returned {
            Returned::Back => {
                info!("a call came back through the API server");
                self.confirm();
            }
            Returned::Forbidden(reason) => {
                warn!(
                    reason,
                    "no call through the API server is allowed, so that nothing tells whether it reaches the webhook"
                );
                self.confirm();
            }
            Returned::Lost(reason) => {
                if self.lost.as_ref() != Some(&reason) {
                    warn!(
                        reason,
                        "a call through the API server did not come back, trying again"
                    );
                    self.lost = Some(reason);
                }
                let pause = self.calls.next_delay();
                self.call = Some(self.call_after(pause));
            }
        }
    }

    fn confirm(&mut self) {
        self.lost = None;
        self.whole = true;
        // A write that makes it so need not wait for another one.
        self.not_before = Instant::now();
        self.registration.returned = None;
    }
}

/// Writes a configuration, or makes it where there is none.
async fn put(
    configurations: &Api<ValidatingWebhookConfiguration>,
    desired: &Desired,
) -> kube::Result<ValidatingWebhookConfiguration> {
    let change = |configuration: &mut ValidatingWebhookConfiguration| {
        let differs = !desired.is(configuration);
        desired.write(configuration);
        differs
    };
    match patch::update(configurations, desired.name(), change).await? {
        Some(written) => Ok(written),
        None => {
            configurations
                .create(&PostParams::default(), &desired.object())
                .await
        }
    }
}

/// The end of a call, if there is one under way; what was begun goes on when this is dropped.
async fn next(call: &mut Option<Pin<Box<dyn Future<Output = Returned> + Send>>>) -> Returned {
    match call {
        Some(under_way) => {
            let returned = under_way.await;
            *call = None;
            returned
        }
        None => std::future::pending().await,
    }
}
