//! The mesh's heart: one task that owns what should be and what is, and brings them together.
//!
//! ```text
//! files, requests ─► reading ─► desired pods ─► actions ─► pod workers ─► updates ─┐
//!                                                                                  ▼
//!             names, rules, Galley's folder, relays, state.json ◄─ cluster ◄─ engine's records
//! ```
//!
//! Everything that is derived is derived anew after every event, by pure functions, and written where it differs
//! from before. There is nothing to keep in step.

mod publish;
mod records;
mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use mesh_runtime::Spawner;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

pub(crate) use self::publish::Outputs;
use self::records::{History, Record};
pub(crate) use self::requests::{Reply, Request};
use super::cluster::node_labels;
use super::components::{self, Component};
use super::ipam::{self, PodAddresses};
use super::objects::Key;
use super::pods::plan::plan;
use super::pods::{Phase, PlanInputs, PodContext, PodHandle, PodIdentity, PodUpdate, Stop, is_on_host};
use super::reconcile::{Action, Actual, Desired, Injection, actions, desired};
use super::schedule;
use super::source::{self, Overrides, Reading};
use crate::images::Images;

/// What a mesh is started with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Files and folders with objects.
    pub(crate) files: Vec<PathBuf>,
    /// Files and folders with objects that count where no other file defines them.
    pub(crate) defaults: Vec<PathBuf>,
    /// Components that are not started.
    pub(crate) without: BTreeSet<Component>,
    /// More variables for components.
    pub(crate) env: BTreeMap<Component, BTreeMap<String, String>>,
    /// Folder from which paths are shown.
    pub(crate) base: PathBuf,
    /// Objects come from the API server that this file leads to, rather than from files.
    pub(crate) kubernetes: Option<PathBuf>,
    /// A pod gets the address of one that has ended.
    pub(crate) reuse_addresses: bool,
}

/// See the module's documentation.
pub(crate) struct Engine {
    settings: Settings,
    images: Images,
    /// What the mesh configuration said first: one that changes does not count for pods that run.
    injection: Option<Injection>,
    context: Arc<PodContext>,
    spawner: Spawner,
    overrides: Overrides,
    reading: Reading,
    desired: Desired,
    /// Why pods that should exist cannot be started.
    unplanned: BTreeMap<Key, String>,
    /// Why the node does not take pods that should exist, as things are.
    unscheduled: BTreeMap<Key, String>,
    records: BTreeMap<Key, Record>,
    history: BTreeMap<Key, History>,
    addresses: PodAddresses,
    started: u64,
    requests: mpsc::Receiver<Request>,
    updates: mpsc::UnboundedReceiver<PodUpdate>,
    /// Handed to every pod.
    update_sender: mpsc::UnboundedSender<PodUpdate>,
    outputs: Outputs,
    /// Problems that have been logged.
    reported: BTreeSet<String>,
    leaving: bool,
}

// === impl Engine ===

impl Engine {
    pub(crate) fn new(
        settings: Settings,
        images: Images,
        context: Arc<PodContext>,
        spawner: Spawner,
        requests: mpsc::Receiver<Request>,
        outputs: Outputs,
    ) -> Self {
        let (update_sender, updates) = mpsc::unbounded_channel();
        let addresses = if settings.reuse_addresses {
            PodAddresses::reused_at_once()
        } else {
            PodAddresses::default()
        };
        Self {
            settings,
            images,
            injection: None,
            context,
            spawner,
            overrides: Overrides::new(),
            reading: Reading::default(),
            desired: Desired::default(),
            unplanned: BTreeMap::new(),
            unscheduled: BTreeMap::new(),
            records: BTreeMap::new(),
            history: BTreeMap::new(),
            addresses,
            started: 0,
            requests,
            updates,
            update_sender,
            outputs,
            reported: BTreeSet::new(),
            leaving: false,
        }
    }

    /// Runs the mesh until it was asked to leave and everything has ended.
    pub(crate) async fn run(mut self) {
        self.reload();
        loop {
            let held_until = self.reconcile();
            self.publish().await;
            if self.leaving && self.records.is_empty() {
                return;
            }
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.answer(request),
                    // Nobody is interested any more.
                    None => self.leave(),
                },
                // Never closed: the engine holds a sender itself.
                Some(update) = self.updates.recv() => self.take(update),
                () = until(held_until) => {}
            }
            // What arrives together is dealt with together.
            while let Ok(update) = self.updates.try_recv() {
                self.take(update);
            }
        }
    }

    /// Reads all files again.
    fn reload(&mut self) {
        if self.settings.kubernetes.is_some() {
            // Told by `Request::Objects`.
            return;
        }
        let mut files = source::read_files(&self.settings.files, false);
        files.extend(source::read_files(&self.settings.defaults, true));
        self.reading = source::read(&files, &self.overrides, &self.settings.base);
        components::complete(&mut self.reading.objects);
        self.follow_reading();
    }

    /// Acts on objects that may have changed.
    fn follow_reading(&mut self) {
        self.redesire();
        for (key, record) in &mut self.records {
            // Mounted ConfigMaps and Secrets follow their objects.
            let inputs = PlanInputs {
                address: record.address,
                images: &self.images,
                config_maps: &self.reading.objects.config_maps,
                secrets: &self.reading.objects.secrets,
            };
            if let Ok(plan) = plan(&record.identified(), inputs) {
                record.update_volumes(key, plan.volumes);
            }
        }
    }

    fn redesire(&mut self) {
        let mut problem = None;
        if self.injection.is_none() {
            match components::injection(&self.reading.objects) {
                Ok(injection) => self.injection = injection,
                Err(reason) => problem = Some(reason),
            }
        }
        let defaults = Injection::default();
        let injection = self.injection.as_ref().unwrap_or(&defaults);
        self.desired = desired(&self.reading.objects, injection);
        self.desired.problems.extend(problem);
        let layout = &self.context.layout;
        let home = match self.settings.kubernetes {
            Some(_) => components::Home::Kubernetes(layout.kubernetes()),
            None => components::Home::Folder(layout.config()),
        };
        self.desired.pods.extend(components::pods(
            &self.settings.without,
            &home,
            &self.settings.env,
        ));
        self.unplanned.clear();
    }

    /// Starts and ends pods. The time is when the first of the pods that are held back may start.
    fn reconcile(&mut self) -> Option<Instant> {
        if self.leaving {
            return None;
        }
        self.unscheduled.clear();
        let now = Instant::now();
        let mut held_until: Option<Instant> = None;
        let actual = self.records.iter().map(|(key, record)| {
            (
                key.clone(),
                Actual {
                    pod: &record.pod,
                    ending: record.ending(),
                },
            )
        });
        for action in actions(&self.desired.pods, &actual.collect()) {
            match action {
                Action::Stop(key) => {
                    if let Some(record) = self.records.get_mut(&key) {
                        record.stop(Stop::Gracefully);
                    }
                }
                Action::Start(key) => match self.history.get(&key).map(|history| history.next) {
                    Some(next) if next > now => {
                        held_until = Some(held_until.map_or(next, |other| other.min(next)));
                    }
                    _ if self.unplanned.contains_key(&key) => {}
                    _ => self.start(&key),
                },
            }
        }
        held_until
    }

    fn start(&mut self, key: &Key) {
        let Some(pod) = self.desired.pods.get(key) else {
            return;
        };
        let others = self.records.iter().map(|(key, record)| (key, &record.pod));
        if let Err(reason) = schedule::fits(pod, &node_labels(), others) {
            self.unscheduled.insert(key.clone(), reason);
            return;
        }
        let address = match is_on_host(pod) {
            true => Some(ipam::NODE),
            false => self.addresses.take(),
        };
        let Some(address) = address else {
            self.unplanned
                .insert(key.clone(), "no address is free".to_owned());
            return;
        };
        self.started += 1;
        // Unique within the mesh, and in the shape that everybody expects.
        let uid = format!("{:08x}-0000-4000-8000-{:012x}", std::process::id(), self.started);
        let mut record = Record::new(pod.clone(), uid.clone(), address);
        let inputs = PlanInputs {
            address,
            images: &self.images,
            config_maps: &self.reading.objects.config_maps,
            secrets: &self.reading.objects.secrets,
        };
        let plan = match plan(&record.identified(), inputs) {
            Ok(plan) => plan,
            Err(reason) => {
                self.addresses.free(address);
                self.unplanned.insert(key.clone(), reason);
                return;
            }
        };
        let identity = PodIdentity {
            namespace: key.0.clone(),
            name: key.1.clone(),
            uid,
            address,
            control_plane: components::ALL.iter().any(|component| component.key() == *key),
        };
        record.expect(&plan);
        let context = Arc::clone(&self.context);
        record.handle = Some(PodHandle::start(
            identity,
            plan,
            context,
            self.update_sender.clone(),
            &self.spawner,
        ));
        self.records.insert(key.clone(), record);
    }

    /// Takes news of a pod into its record.
    fn take(&mut self, update: PodUpdate) {
        let Some((key, record)) = self
            .records
            .iter_mut()
            .find(|(_, record)| record.uid == update.uid)
        else {
            return;
        };
        let key = key.clone();
        let history = self.history.entry(key.clone()).or_default();
        if update.status.phase == Phase::Failed && record.status.phase != Phase::Failed {
            history.failed(&update.status.message, record.since);
            warn!(namespace = %key.0, pod = %key.1, reason = %update.status.message, "pod failed and will be replaced");
        }
        let was_ready = record.status.ready;
        record.status = update.status;
        if record.status.ready && !was_ready {
            info!(namespace = %key.0, pod = %key.1, address = %record.address, "pod ready");
        }
        if update.ended {
            self.addresses.free(record.address);
            self.records.remove(&key);
        }
    }

    /// Ends everything, at once: nobody is left to be served.
    fn leave(&mut self) {
        self.leaving = true;
        for record in self.records.values_mut() {
            record.stop(Stop::Now);
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Where the control plane's readiness is announced (see [`PodContext::gate`]).
pub(crate) type Gate = watch::Sender<bool>;
