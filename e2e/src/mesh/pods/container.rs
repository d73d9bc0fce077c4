//! Keeps one container running: start, probe, restart with back-off, end.

use std::sync::Arc;
use std::time::Duration;

use mesh_runtime::Backoff;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::handle::PodContext;
use super::plan::{ContainerPlan, Restart, Role};
use super::probe::Prober;
use crate::mesh::helper::protocol::{ContainerSpec, Exit};
use crate::mesh::process::ContainerProcess;

/// Pauses before restarts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A container that ran so long had a good start.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// Exit code of a container that could not be created.
const NOT_CREATED: Exit = Exit::Code(128);

/// What the pod hears from its containers; `usize` is the container's place in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The command runs: the container's first process, and the command's.
    Running(usize, i32, Option<i32>),
    /// The startup probe has succeeded, or there is none.
    Started(usize),
    /// Readiness has changed.
    Ready(usize, bool),
    /// The command has ended. It may be restarted.
    Exited(usize, Exit, Option<String>),
    /// The container has ended for good.
    Done(usize, Exit),
}

/// Ends a container: the time it may take, once known.
pub(super) type StopSignal = watch::Receiver<Option<Duration>>;

/// One container under care.
pub(super) struct Supervisor {
    pub(super) index: usize,
    pub(super) plan: ContainerPlan,
    pub(super) restart: Restart,
    /// Pod name for messages, `namespace/name`.
    pub(super) pod: String,
    pub(super) spec: ContainerSpec,
    pub(super) prober: Prober,
    pub(super) context: Arc<PodContext>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) stop: StopSignal,
}

// === impl Supervisor ===

impl Supervisor {
    /// Runs the container until it is done.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let exit = loop {
            let begin = Instant::now();
            let (exit, reason) = self.run_once().await;
            let stopping = self.stop.borrow().is_some();
            let again = !stopping && self.restarts(exit);
            if !stopping && (again || !exit.success()) {
                let (pod, container) = (&self.pod, &self.plan.name);
                info!(%pod, %container, %exit, reason = reason.as_deref().unwrap_or_default(), again, "container ended");
            }
            self.send(Event::Exited(self.index, exit, reason));
            if !again {
                break exit;
            }
            if begin.elapsed() > GOOD_RUN {
                backoff.reset();
            }
            tokio::select! {
                () = backoff.wait() => {}
                _ = asked(&mut self.stop) => break exit,
            }
        };
        self.send(Event::Done(self.index, exit));
    }

    fn restarts(&self, exit: Exit) -> bool {
        match self.plan.role {
            // The pod as a whole is replaced.
            _ if self.plan.is_proxy() => false,
            Role::Sidecar => true,
            Role::Init => !exit.success() && self.restart != Restart::Never,
            Role::App => match self.restart {
                Restart::Always => true,
                Restart::OnFailure => !exit.success(),
                Restart::Never => false,
            },
        }
    }

    async fn run_once(&mut self) -> (Exit, Option<String>) {
        let mut process = match self.context.helper.container(&self.spec).await {
            Ok(process) => process,
            Err(error) => {
                let reason = format!("{error:#}");
                warn!(pod = %self.pod, container = %self.plan.name, %reason, "cannot start the container");
                return (NOT_CREATED, Some(reason));
            }
        };
        self.prober.init = process.init();
        self.send(Event::Running(self.index, process.init(), process.command()));
        let mut stop = self.stop.clone();
        tokio::select! {
            exit = process.wait() => (exit, None),
            reason = self.probe() => (end(&mut process, Duration::from_secs(5)).await, Some(reason)),
            grace = asked(&mut stop) => (end(&mut process, grace).await, None),
        }
    }

    /// Runs all probes; returns when one of them wants the container restarted.
    async fn probe(&self) -> String {
        if let Some(startup) = &self.plan.startup
            && let Err(reason) = self.prober.started(startup).await
        {
            return reason;
        }
        self.send(Event::Started(self.index));
        let readiness = async {
            match &self.plan.readiness {
                Some(plan) => {
                    self.prober
                        .readiness(plan, |ready| self.send(Event::Ready(self.index, ready)))
                        .await
                }
                None => self.send(Event::Ready(self.index, true)),
            }
            std::future::pending().await
        };
        let liveness = async {
            match &self.plan.liveness {
                Some(plan) => self.prober.dead(plan).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = readiness => reason,
            reason = liveness => reason,
        }
    }

    fn send(&self, event: Event) {
        // Nobody listens any more when the pod is gone.
        let _ = self.events.send(event);
    }
}

/// Waits for the wish to end the container; the time it may take.
async fn asked(stop: &mut StopSignal) -> Duration {
    // An error means that the pod is gone, which ends the container too.
    stop.wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|grace| *grace)
        .unwrap_or_default()
}

/// Ends a container, with force after `grace`.
async fn end(process: &mut ContainerProcess, grace: Duration) -> Exit {
    if !grace.is_zero() {
        process.terminate();
        if let Ok(exit) = timeout(grace, process.wait()).await {
            return exit;
        }
    }
    process.kill();
    process.wait().await
}
