//! Leader election: one of several replicas does what only one may do.
//!
//! As client-go does it: whoever writes its name into a Lease leads, and goes on writing. Others take over when they have
//! seen no write for as long as the lease lasts, by their own clocks, so that clocks need not agree.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use crate::backoff::spread;
use crate::patch::{is, named};

/// What is contended for, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseParams {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Who we are; no two replicas have the same, and it is the same after a restart where a new process may lead at once.
    pub identity: String,
    /// After so long without a sign of life of the leader another may lead.
    pub duration: Duration,
    /// After so long without being able to give a sign of life the leader steps down; shorter than `duration`, so that
    /// there are never two.
    pub renew_deadline: Duration,
    /// Between two signs of life, and between two looks at the leader.
    pub retry_period: Duration,
}

/// Runs for the leadership for as long as [`Self::run`] runs.
pub struct Election {
    leases: Api<Lease>,
    params: LeaseParams,
    leads: watch::Sender<bool>,
    /// The lease as it was seen last, and when that was first.
    seen: Option<(Lease, Instant)>,
}

/// Whether we lead.
#[derive(Clone, Debug)]
pub struct Leadership {
    leads: watch::Receiver<bool>,
}

/// How one attempt ended.
enum Attempt {
    /// The lease is ours, from the moment before it was asked for.
    Held(Instant),
    /// It is another's.
    Others,
}

// === impl LeaseParams ===

impl LeaseParams {
    /// With the periods of Istio 1.1: 30 s, 15 s and 7.5 s (`P5.5`).
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(30),
            renew_deadline: Duration::from_secs(15),
            retry_period: Duration::from_millis(7500),
        }
    }
}

// === impl Election ===

impl Election {
    /// Runs for nothing yet.
    #[must_use]
    pub fn new(client: Client, params: LeaseParams) -> Self {
        Self {
            leases: Api::namespaced(client, &params.namespace),
            params,
            leads: watch::Sender::new(false),
            seen: None,
        }
    }

    /// Tells whether we lead, now and later.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership {
            leads: self.leads.subscribe(),
        }
    }

    /// Runs for the leadership, keeps it, and runs again when it was lost, until `stop` is ready; then gives it up, so that
    /// another need not wait for the end of the lease.
    ///
    /// When the future is dropped instead, nobody leads until the lease has run out.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        // Also when this future is dropped.
        let leads = StepDown(self.leads.clone());
        let mut stop = std::pin::pin!(stop);
        tokio::select! {
            () = self.contend() => {}
            () = &mut stop => {}
        }
        let led = *leads.0.borrow();
        drop(leads);
        if led && let Err(error) = self.release().await {
            warn!(lease = self.params.name, %error, "cannot give the lease up");
        }
    }

    async fn contend(&mut self) {
        // What is wrong for long, such as a missing role, is told once.
        let mut told = None;
        loop {
            match self.attempt().await {
                Ok(Attempt::Held(since)) => {
                    told = None;
                    self.lead(since).await;
                }
                Ok(Attempt::Others) => told = None,
                Err(error) => {
                    let error = error.to_string();
                    if told.as_ref() != Some(&error) {
                        warn!(lease = self.params.name, error, "cannot run for the lease");
                    }
                    told = Some(error);
                }
            }
            sleep(spread(self.params.retry_period)).await;
        }
    }

    /// Leads until the lease could not be renewed in time, or is another's.
    async fn lead(&mut self, mut since: Instant) {
        let LeaseParams { name, identity, .. } = self.params.clone();
        info!(lease = name, identity, "leading");
        self.leads.send_replace(true);
        loop {
            sleep_until(since + self.params.retry_period).await;
            let deadline = since + self.params.renew_deadline;
            match self.renew(deadline).await {
                Some(renewed) => since = renewed,
                None => break,
            }
        }
        self.leads.send_replace(false);
        warn!(lease = name, identity, "not leading any more");
    }

    /// Tries until the deadline.
    async fn renew(&mut self, deadline: Instant) -> Option<Instant> {
        let pause = (self.params.retry_period / 4).min(Duration::from_secs(1));
        while Instant::now() < deadline {
            match timeout_at(deadline, self.attempt()).await {
                Ok(Ok(Attempt::Held(since))) => return Some(since),
                Ok(Ok(Attempt::Others)) => return None,
                Ok(Err(error)) => debug!(lease = self.params.name, %error, "cannot renew the lease"),
                Err(_) => break,
            }
            sleep(pause).await;
        }
        None
    }

    /// Takes or renews the lease if nobody else has it.
    async fn attempt(&mut self) -> kube::Result<Attempt> {
        let began = Instant::now();
        let written = match self.leases.get_opt(&self.params.name).await? {
            None => self.create().await,
            Some(lease) => {
                let first = self.note(&lease, began);
                let ours = holder(&lease) == Some(self.params.identity.as_str());
                if !ours && holder(&lease).is_some() && first + lasts(&lease) > began {
                    return Ok(Attempt::Others);
                }
                self.replace(lease, ours).await
            }
        };
        match written {
            Ok(lease) => {
                self.note(&lease, began);
                Ok(Attempt::Held(began))
            }
            // Another was faster; the next look tells who.
            Err(error) if is(&error, 409) => Ok(Attempt::Others),
            Err(error) => Err(error),
        }
    }

    /// Remembers the lease; since when it has been as it is.
    fn note(&mut self, lease: &Lease, now: Instant) -> Instant {
        match &self.seen {
            Some((seen, since)) if seen.spec == lease.spec => *since,
            _ => {
                self.seen = Some((lease.clone(), now));
                now
            }
        }
    }

    async fn create(&self) -> kube::Result<Lease> {
        let lease = Lease {
            metadata: named(&self.params.namespace, &self.params.name),
            spec: Some(self.claim(None, 0)),
        };
        self.leases.create(&PostParams::default(), &lease).await
    }

    /// Writes our name over what was read; fails with 409 when somebody wrote in between.
    async fn replace(&self, mut lease: Lease, ours: bool) -> kube::Result<Lease> {
        let old = lease.spec.unwrap_or_default();
        let transitions = old.lease_transitions.unwrap_or_default();
        lease.spec = Some(if ours {
            self.claim(old.acquire_time, transitions)
        } else {
            self.claim(None, transitions.saturating_add(1))
        });
        self.leases
            .replace(&self.params.name, &PostParams::default(), &lease)
            .await
    }

    fn claim(&self, acquired: Option<MicroTime>, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let seconds = self.params.duration.as_secs().max(1);
        LeaseSpec {
            holder_identity: Some(self.params.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Leaves the lease without a holder, if it is still ours.
    async fn release(&self) -> kube::Result<()> {
        let Some(mut lease) = self.leases.get_opt(&self.params.name).await? else {
            return Ok(());
        };
        if holder(&lease) != Some(self.params.identity.as_str()) {
            return Ok(());
        }
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        let replaced = self
            .leases
            .replace(&self.params.name, &PostParams::default(), &lease)
            .await;
        match replaced {
            Err(error) if !is(&error, 409) => Err(error),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("params", &self.params)
            .field("leads", &*self.leads.borrow())
            .finish_non_exhaustive()
    }
}

/// Nobody leads who does not run.
struct StepDown(watch::Sender<bool>);

impl Drop for StepDown {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

// === impl Leadership ===

impl Leadership {
    /// Whether we lead at this moment.
    #[must_use]
    pub fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// Waits until we lead. For ever when nobody runs for it any more.
    pub async fn gained(&mut self) {
        if self.leads.wait_for(|leads| *leads).await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until we do not lead.
    pub async fn lost(&mut self) {
        // An election that is gone has stepped down.
        let _ = self.leads.wait_for(|leads| !leads).await;
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}

/// How long the holder of a lease is given.
fn lasts(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    Duration::from_secs(u64::try_from(seconds.unwrap_or_default()).unwrap_or_default())
}
