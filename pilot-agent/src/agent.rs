//! The state machine that decides which Envoy processes run. It does nothing itself: events go in,
//! commands come out (`AGT-40` to `AGT-48`).
//!
//! Envoy's hot restart numbers the processes that follow each other: the *epoch*. A new configuration
//! starts a new epoch beside the old one, which hands over its sockets, drains and leaves by itself. An
//! epoch that fails takes all others with it, because hot restart leaves them in a state that nobody
//! can trust; after a pause everything starts again with epoch 0.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The number of an Envoy process among those that follow each other by hot restart.
pub type Epoch = u32;

/// How many restarts in a row are tried before the agent gives up (`AGT-46`).
pub const MAX_RETRIES: u32 = 10;

/// The pause before the first restart; each further one is twice as long (`AGT-46`).
pub const FIRST_RETRY_DELAY: Duration = Duration::from_millis(200);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<C> {
    /// This configuration is wanted from now on.
    Desired(C),
    /// The process of an epoch has ended.
    Exited {
        /// Which one.
        epoch: Epoch,
        /// How.
        exit: Exit,
    },
    /// The pause that [`Command::ScheduleRestart`] asked for is over.
    RestartDue,
    /// The agent is leaving: nothing is started any more.
    Leave,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With code 0.
    Success,
    /// With another code, by a signal, or it could not be started.
    Failure,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<C> {
    /// Start the process of an epoch. Its end must be reported, also when it cannot be started.
    Start {
        /// The new epoch.
        epoch: Epoch,
        /// Its configuration.
        config: C,
    },
    /// Kill the process of an epoch; its end will be reported.
    Kill(Epoch),
    /// Remove what an ended epoch left behind.
    CleanUp(Epoch),
    /// Report [`Event::RestartDue`] after the pause.
    ScheduleRestart(Duration),
    /// Forget the pause that was asked for.
    CancelRestart,
    /// End the agent.
    Finish(Outcome),
}

/// Why the agent ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The last Envoy was asked to quit by somebody else, which is how a finished job ends its sidecar.
    Quit,
    /// Every restart has failed (`AGT-47`).
    GaveUp {
        /// The epoch that failed last.
        epoch: Epoch,
    },
}

/// The state: what is wanted, what runs, and how often it may fail.
#[derive(Clone, Debug)]
pub struct Agent<C> {
    hot_restart: bool,
    desired: Option<C>,
    running: BTreeMap<Epoch, C>,
    /// Those of `running` that were killed and whose end has not been reported yet.
    dying: BTreeSet<Epoch>,
    budget: u32,
    /// A pause is going on.
    restart_scheduled: bool,
    /// The configuration is to be started as soon as nothing is dying.
    start_when_clear: bool,
    leaving: bool,
}

// === impl Agent ===

impl<C: Clone + Eq> Agent<C> {
    /// Nothing is wanted and nothing runs. Without hot restart a new configuration replaces the process
    /// instead of starting a second one beside it.
    #[must_use]
    pub fn new(hot_restart: bool) -> Agent<C> {
        Agent {
            hot_restart,
            desired: None,
            running: BTreeMap::new(),
            dying: BTreeSet::new(),
            budget: MAX_RETRIES,
            restart_scheduled: false,
            start_when_clear: false,
            leaving: false,
        }
    }

    /// The epochs whose end has not been reported.
    pub fn running(&self) -> impl Iterator<Item = Epoch> {
        self.running.keys().copied()
    }

    /// Takes an event and says what is to be done, in this order.
    pub fn handle(&mut self, event: Event<C>) -> Vec<Command<C>> {
        let mut commands = Vec::new();
        match event {
            Event::Desired(config) => self.desired(config, &mut commands),
            Event::Exited { epoch, exit } => self.exited(epoch, exit, &mut commands),
            Event::RestartDue => {
                // A pause that was cancelled may still be reported when both happen at once.
                if std::mem::take(&mut self.restart_scheduled) {
                    self.reconcile(&mut commands);
                }
            }
            Event::Leave => {
                self.leaving = true;
                self.start_when_clear = false;
                self.cancel_restart(&mut commands);
            }
        }
        commands
    }

    /// A changed wish resets the budget; a repeated one changes nothing (`AGT-42`).
    fn desired(&mut self, config: C, commands: &mut Vec<Command<C>>) {
        if self.desired.as_ref() == Some(&config) {
            return;
        }
        self.desired = Some(config);
        self.budget = MAX_RETRIES;
        self.reconcile(commands);
    }

    /// Brings what runs in line with what is wanted (`AGT-43`).
    fn reconcile(&mut self, commands: &mut Vec<Command<C>>) {
        if self.leaving {
            return;
        }
        self.cancel_restart(commands);
        if !self.dying.is_empty() {
            self.start_when_clear = true;
            return;
        }
        let latest = self.running.last_key_value();
        let Some(desired) = self
            .desired
            .clone()
            .filter(|desired| latest.map(|(_, config)| config) != Some(desired))
        else {
            return;
        };
        let latest = latest.map(|(epoch, _)| *epoch);
        if latest.is_some() && !self.hot_restart {
            self.kill_all(commands);
            self.start_when_clear = true;
            return;
        }
        // Envoy insists on exactly one more than the process that it takes over from (AGT-41).
        let epoch = latest.map_or(0, |latest| latest.saturating_add(1));
        self.running.insert(epoch, desired.clone());
        commands.push(Command::Start {
            epoch,
            config: desired,
        });
    }

    fn exited(&mut self, epoch: Epoch, exit: Exit, commands: &mut Vec<Command<C>>) {
        if self.running.remove(&epoch).is_none() {
            return;
        }
        commands.push(Command::CleanUp(epoch));
        let killed = self.dying.remove(&epoch);
        if self.leaving {
            return;
        }
        if !killed && exit == Exit::Failure {
            self.kill_all(commands);
            self.retry(epoch, commands);
        }
        if self.start_when_clear && self.dying.is_empty() {
            self.start_when_clear = false;
            self.reconcile(commands);
        }
        if self.running.is_empty() && !self.restart_scheduled && !finished(commands) {
            // Nobody is left and nobody is to come: this end was wished for.
            commands.push(Command::Finish(Outcome::Quit));
        }
    }

    /// Asks for one restart, unless one is already coming (`AGT-46`).
    fn retry(&mut self, failed: Epoch, commands: &mut Vec<Command<C>>) {
        if self.restart_scheduled || self.start_when_clear {
            return;
        }
        if self.budget == 0 {
            commands.push(Command::Finish(Outcome::GaveUp { epoch: failed }));
            return;
        }
        let delay = FIRST_RETRY_DELAY * 2_u32.pow(MAX_RETRIES - self.budget);
        self.budget -= 1;
        self.restart_scheduled = true;
        commands.push(Command::ScheduleRestart(delay));
    }

    fn kill_all(&mut self, commands: &mut Vec<Command<C>>) {
        for epoch in self.running.keys() {
            if self.dying.insert(*epoch) {
                commands.push(Command::Kill(*epoch));
            }
        }
    }

    fn cancel_restart(&mut self, commands: &mut Vec<Command<C>>) {
        if std::mem::take(&mut self.restart_scheduled) {
            commands.push(Command::CancelRestart);
        }
    }
}

fn finished<C>(commands: &[Command<C>]) -> bool {
    commands
        .iter()
        .any(|command| matches!(command, Command::Finish(_)))
}
