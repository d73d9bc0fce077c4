//! Carries out what [`crate::agent`] decides: starts, kills and awaits Envoy processes, keeps its timer,
//! and lets them leave in order.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::time::Duration;

use mesh_runtime::{Drain, Spawner};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::agent::{Agent, Command, Epoch, Event, Exit, Outcome};
use crate::config::{Config, DrainLimits, HotRestart};
use crate::drain::drain_envoy;
use crate::launch::Launcher;
use crate::proxy::{PrepareError, Proxy};
use crate::throttle::Throttle;
use crate::watcher::Fingerprint;

/// How long Envoy may take to end when it is told to.
pub const TERMINATION: Duration = Duration::from_secs(5);

/// The agent with its processes.
#[derive(Debug)]
pub struct Supervisor {
    agent: Agent<Fingerprint>,
    proxy: Proxy,
    launcher: Launcher,
    spawner: Spawner,
    /// How to reach the task of each process.
    processes: BTreeMap<Epoch, mpsc::UnboundedSender<Signal>>,
    exits: mpsc::UnboundedReceiver<(Epoch, Exit)>,
    report_exit: mpsc::UnboundedSender<(Epoch, Exit)>,
    restart_at: Option<Instant>,
    throttle: Throttle,
    admin_port: u16,
    prometheus_port: Option<u16>,
    limits: DrainLimits,
}

/// Why Envoy no longer runs.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A process could not be prepared (`AGT-23`).
    #[error("envoy cannot be prepared")]
    Prepare(#[from] PrepareError),
    /// Every restart failed (`AGT-47`).
    #[error("envoy has failed {} times in a row", crate::agent::MAX_RETRIES + 1)]
    GaveUp,
}

// === impl Supervisor ===

impl Supervisor {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(config: Config, launcher: Launcher, spawner: Spawner) -> Supervisor {
        let (report_exit, exits) = mpsc::unbounded_channel();
        Supervisor {
            agent: Agent::new(config.envoy.hot_restart != HotRestart::Disabled),
            admin_port: config.admin_port,
            prometheus_port: config.prometheus_port,
            limits: config.drain,
            proxy: Proxy::new(config),
            launcher,
            spawner,
            processes: BTreeMap::new(),
            exits,
            report_exit,
            restart_at: None,
            throttle: Throttle::new(Instant::now()),
        }
    }

    /// Keeps an Envoy running for the latest fingerprint until `drain` begins, then lets it leave. Returns
    /// early when Envoy was asked to quit by somebody else.
    ///
    /// # Errors
    /// [`SupervisorError`] when Envoy cannot be kept running.
    pub async fn run(
        mut self,
        mut fingerprints: mpsc::Receiver<Fingerprint>,
        drain: Drain,
    ) -> Result<(), SupervisorError> {
        // Held until Envoy is gone: the process must not end before.
        let guard = drain.guard("envoy");
        loop {
            let event = tokio::select! {
                biased;
                () = guard.signaled() => break,
                event = self.next(&mut fingerprints) => event,
            };
            if let Some(outcome) = self.handle(event).await? {
                self.kill_all().await;
                return match outcome {
                    Outcome::Quit => Ok(()),
                    Outcome::GaveUp { .. } => {
                        error!(
                            bootstrap = self.proxy.bootstrap_text(),
                            "envoy cannot be kept running with this bootstrap"
                        );
                        Err(SupervisorError::GaveUp)
                    }
                };
            }
        }
        self.leave().await
    }

    /// The next thing that happens, not more often than the throttle allows (`AGT-48`).
    async fn next(&mut self, fingerprints: &mut mpsc::Receiver<Fingerprint>) -> Event<Fingerprint> {
        sleep_until(self.throttle.ready_at()).await;
        let restart = async {
            match self.restart_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            Some((epoch, exit)) = self.exits.recv() => Event::Exited { epoch, exit },
            Some(fingerprint) = fingerprints.recv() => Event::Desired(fingerprint),
            () = restart => Event::RestartDue,
        };
        self.throttle.spend(Instant::now());
        event
    }

    /// Tells the agent and carries out what it says; an outcome ends everything.
    async fn handle(&mut self, event: Event<Fingerprint>) -> Result<Option<Outcome>, SupervisorError> {
        for command in self.agent.handle(event) {
            match command {
                Command::Start { epoch, config: _ } => self.start(epoch).await?,
                Command::Kill(epoch) => self.signal(epoch, Signal::SIGKILL),
                Command::CleanUp(epoch) => {
                    self.processes.remove(&epoch);
                    self.proxy.clean_up(epoch, self.processes.is_empty());
                }
                Command::ScheduleRestart(delay) => {
                    info!(?delay, "envoy will be restarted");
                    self.restart_at = Some(Instant::now() + delay);
                }
                Command::CancelRestart => self.restart_at = None,
                Command::Finish(outcome) => return Ok(Some(outcome)),
            }
        }
        Ok(None)
    }

    async fn start(&mut self, epoch: Epoch) -> Result<(), SupervisorError> {
        self.restart_at = None;
        let start = self.proxy.prepare(epoch)?;
        info!(epoch, program = %start.program.display(), args = ?start.args, "starting envoy");
        let (signals, received) = mpsc::unbounded_channel();
        self.processes.insert(epoch, signals);
        let report = self.report_exit.clone();
        match self.launcher.launch(&start.program, &start.args).await {
            Ok(child) => {
                self.spawner.spawn(format!("envoy {epoch}"), async move {
                    let exit = attend(epoch, child, received).await;
                    // The supervisor may have stopped listening: then nobody has to know.
                    let _ = report.send((epoch, exit));
                });
            }
            Err(error) => {
                error!(epoch, %error, "envoy cannot be started");
                let _ = report.send((epoch, Exit::Failure));
            }
        }
        Ok(())
    }

    fn signal(&self, epoch: Epoch, signal: Signal) {
        if let Some(process) = self.processes.get(&epoch) {
            // Closed when the process has ended; its exit is on the way.
            let _ = process.send(signal);
        }
    }

    /// The end (`AGT-60` to `AGT-65`): drain, ask to end, kill what does not.
    async fn leave(mut self) -> Result<(), SupervisorError> {
        self.handle(Event::Leave).await?;
        if !self.processes.is_empty() {
            let drained = drain_envoy(self.admin_port, self.prometheus_port, self.limits);
            let mut drained = std::pin::pin!(drained);
            loop {
                tokio::select! {
                    () = &mut drained => break,
                    Some((epoch, exit)) = self.exits.recv() => {
                        for command in self.agent.handle(Event::Exited { epoch, exit }) {
                            if let Command::CleanUp(epoch) = command {
                                self.processes.remove(&epoch);
                                self.proxy.clean_up(epoch, self.processes.is_empty());
                            }
                        }
                        if self.processes.is_empty() {
                            break;
                        }
                    }
                }
            }
        }
        self.end_all(Signal::SIGTERM).await;
        self.kill_all().await;
        Ok(())
    }

    async fn kill_all(&mut self) {
        self.end_all(Signal::SIGKILL).await;
    }

    /// Sends every process the signal and waits until they have ended, for a limited time.
    async fn end_all(&mut self, signal: Signal) {
        for epoch in self.processes.keys() {
            self.signal(*epoch, signal);
        }
        let ended = async {
            while !self.processes.is_empty() {
                let Some((epoch, exit)) = self.exits.recv().await else {
                    return;
                };
                self.processes.remove(&epoch);
                self.agent.handle(Event::Exited { epoch, exit });
                self.proxy.clean_up(epoch, self.processes.is_empty());
            }
        };
        if timeout(TERMINATION, ended).await.is_err() {
            warn!(%signal, epochs = ?self.processes.keys(), "envoy has not ended");
        }
    }
}

/// Waits for the end of a process and passes signals to it meanwhile.
async fn attend(epoch: Epoch, mut child: Child, mut signals: mpsc::UnboundedReceiver<Signal>) -> Exit {
    loop {
        tokio::select! {
            biased;
            ended = child.wait() => return judge(epoch, ended),
            Some(signal) = signals.recv() => {
                // The id is known as long as nobody has waited for the end, so it is not another's.
                let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) else { continue };
                if let Err(error) = kill(Pid::from_raw(pid), signal) {
                    warn!(epoch, %signal, %error, "envoy cannot be signalled");
                }
            }
        }
    }
}

fn judge(epoch: Epoch, ended: std::io::Result<ExitStatus>) -> Exit {
    match ended {
        Ok(status) if status.success() => {
            info!(epoch, "envoy has ended");
            Exit::Success
        }
        Ok(status) => {
            warn!(epoch, %status, "envoy has ended");
            Exit::Failure
        }
        Err(error) => {
            error!(epoch, %error, "the end of envoy cannot be awaited");
            Exit::Failure
        }
    }
}
