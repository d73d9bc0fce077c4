//! The table of spec 05 §3.6 row by row, and a model that plays random events.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::{Agent, Command, Epoch, Event, Exit, FIRST_RETRY_DELAY, MAX_RETRIES, Outcome};

type Events = Vec<Event<&'static str>>;
type Commands = Vec<Command<&'static str>>;

const SUCCESS: Exit = Exit::Success;
const FAILURE: Exit = Exit::Failure;

fn exited(epoch: Epoch, exit: Exit) -> Event<&'static str> {
    Event::Exited { epoch, exit }
}

fn start(epoch: Epoch, config: &'static str) -> Command<&'static str> {
    Command::Start { epoch, config }
}

fn pause(millis: u64) -> Command<&'static str> {
    Command::ScheduleRestart(Duration::from_millis(millis))
}

/// Plays the events and returns the commands of the last one.
fn last(agent: &mut Agent<&'static str>, events: Events) -> Commands {
    events
        .into_iter()
        .fold(Vec::new(), |_, event| agent.handle(event))
}

#[test]
fn every_row_of_the_state_table() {
    use Command::{CancelRestart, CleanUp, Finish, Kill};
    use Event::{Desired, Leave, RestartDue};
    let rows: Vec<(&str, Events, Commands)> = vec![
        (
            "agt_41 the first configuration starts epoch 0",
            vec![Desired("a")],
            vec![start(0, "a")],
        ),
        (
            "agt_42 the same configuration changes nothing",
            vec![Desired("a"), Desired("a")],
            vec![],
        ),
        (
            "agt_41 another one starts the next epoch",
            vec![Desired("a"), Desired("b")],
            vec![start(1, "b")],
        ),
        (
            "agt_41 the next epoch follows the highest that runs",
            vec![Desired("a"), Desired("b"), exited(0, SUCCESS), Desired("c")],
            vec![start(2, "c")],
        ),
        (
            "agt_45 the old epoch leaves by itself",
            vec![Desired("a"), Desired("b"), exited(0, SUCCESS)],
            vec![CleanUp(0)],
        ),
        (
            "agt_45 a failing new epoch takes the old one with it",
            vec![Desired("a"), Desired("b"), exited(1, FAILURE)],
            vec![CleanUp(1), Kill(0), pause(200)],
        ),
        (
            "agt_45 the end of a killed epoch asks for nothing more",
            vec![Desired("a"), Desired("b"), exited(1, FAILURE), exited(0, FAILURE)],
            vec![CleanUp(0)],
        ),
        (
            "agt_41 after everything has died epoch 0 comes again",
            vec![
                Desired("a"),
                Desired("b"),
                exited(1, FAILURE),
                exited(0, FAILURE),
                RestartDue,
            ],
            vec![start(0, "b")],
        ),
        (
            "a restart waits for what is still dying",
            vec![Desired("a"), Desired("b"), exited(1, FAILURE), RestartDue],
            vec![],
        ),
        (
            "and comes when the last of it is gone",
            vec![
                Desired("a"),
                Desired("b"),
                exited(1, FAILURE),
                RestartDue,
                exited(0, FAILURE),
            ],
            vec![CleanUp(0), start(0, "b")],
        ),
        (
            "agt_46 a crash is followed by a pause",
            vec![Desired("a"), exited(0, FAILURE)],
            vec![CleanUp(0), pause(200)],
        ),
        (
            "agt_46 the second pause is twice as long",
            vec![Desired("a"), exited(0, FAILURE), RestartDue, exited(0, FAILURE)],
            vec![CleanUp(0), pause(400)],
        ),
        (
            "agt_43 a new configuration does not wait for the pause",
            vec![Desired("a"), exited(0, FAILURE), Desired("b")],
            vec![CancelRestart, start(0, "b")],
        ),
        (
            "a pause that was cancelled may still be reported",
            vec![Desired("a"), exited(0, FAILURE), Desired("b"), RestartDue],
            vec![],
        ),
        (
            "agt_42 a new configuration resets the budget",
            vec![
                Desired("a"),
                exited(0, FAILURE),
                RestartDue,
                exited(0, FAILURE),
                Desired("b"),
                exited(0, FAILURE),
            ],
            vec![CleanUp(0), pause(200)],
        ),
        (
            "a configuration taken back while its epoch starts is started once more",
            vec![Desired("a"), Desired("b"), Desired("a")],
            vec![start(2, "a")],
        ),
        (
            "the last process leaving by itself ends the agent",
            vec![Desired("a"), exited(0, SUCCESS)],
            vec![CleanUp(0), Finish(Outcome::Quit)],
        ),
        (
            "nothing is restarted once the agent leaves",
            vec![Desired("a"), Leave, exited(0, FAILURE)],
            vec![CleanUp(0)],
        ),
        ("nor started", vec![Desired("a"), Leave, Desired("b")], vec![]),
        (
            "leaving cancels the pause",
            vec![Desired("a"), exited(0, FAILURE), Leave],
            vec![CancelRestart],
        ),
        (
            "an end that nobody knows of changes nothing",
            vec![Desired("a"), exited(7, FAILURE)],
            vec![],
        ),
    ];
    for (row, events, want) in rows {
        assert_eq!(last(&mut Agent::new(true), events), want, "{row}");
    }
}

#[test]
fn without_hot_restart_the_process_is_replaced() {
    let mut agent = Agent::new(false);
    assert_eq!(
        last(&mut agent, vec![Event::Desired("a"), Event::Desired("b")]),
        vec![Command::Kill(0)]
    );
    assert_eq!(
        agent.handle(exited(0, FAILURE)),
        vec![Command::CleanUp(0), start(0, "b")]
    );
    assert_eq!(
        agent.handle(exited(0, FAILURE)),
        vec![Command::CleanUp(0), pause(200)]
    );
}

#[test]
fn agt_46_and_47_ten_pauses_that_double_and_then_the_end() {
    let mut agent = Agent::new(true);
    agent.handle(Event::Desired("a"));
    for retry in 0..MAX_RETRIES {
        let want = Command::ScheduleRestart(FIRST_RETRY_DELAY * 2_u32.pow(retry));
        assert_eq!(agent.handle(exited(0, FAILURE)), vec![Command::CleanUp(0), want]);
        assert_eq!(agent.handle(Event::RestartDue), vec![start(0, "a")]);
    }
    let want = vec![Command::CleanUp(0), Command::Finish(Outcome::GaveUp { epoch: 0 })];
    assert_eq!(agent.handle(exited(0, FAILURE)), want);
}

/// What the world around the agent may do next.
#[derive(Clone, Debug)]
enum Step {
    Desire(u8),
    /// One of the running processes ends.
    End {
        which: usize,
        exit: Exit,
    },
    /// The pause ends, if there is one.
    Wait,
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    let exit = prop_oneof![Just(SUCCESS), Just(FAILURE)];
    prop_oneof![
        3 => (0_u8..4).prop_map(Step::Desire),
        6 => (any::<usize>(), exit).prop_map(|(which, exit)| Step::End { which, exit }),
        6 => Just(Step::Wait),
        1 => Just(Step::Leave),
    ]
}

/// The world: it carries out commands and checks that each makes sense.
#[derive(Default)]
struct World {
    running: BTreeSet<Epoch>,
    killed: BTreeSet<Epoch>,
    to_clean: BTreeSet<Epoch>,
    pause: bool,
    left: bool,
    finished: bool,
    failures_in_a_row: u32,
}

impl World {
    fn carry_out(&mut self, command: &Command<u8>) {
        match command {
            Command::Start { epoch, .. } => {
                assert!(!self.left && !self.finished, "started after the end");
                assert!(
                    self.killed.is_empty(),
                    "started beside a process that is being killed"
                );
                let next = self.running.last().map_or(0, |latest| latest + 1);
                assert_eq!(*epoch, next, "not the epoch that Envoy expects");
                self.running.insert(*epoch);
            }
            Command::Kill(epoch) => {
                assert!(self.running.contains(epoch), "killed what does not run");
                assert!(self.killed.insert(*epoch), "killed twice");
            }
            Command::CleanUp(epoch) => assert!(self.to_clean.remove(epoch), "cleaned up what did not end"),
            Command::ScheduleRestart(delay) => {
                assert!(!self.pause, "two pauses at once");
                assert_eq!(*delay, FIRST_RETRY_DELAY * 2_u32.pow(self.failures_in_a_row));
                self.failures_in_a_row += 1;
                self.pause = true;
            }
            Command::CancelRestart => {
                assert!(self.pause, "cancelled a pause that is not");
                self.pause = false;
            }
            Command::Finish(outcome) => {
                if let Outcome::GaveUp { .. } = outcome {
                    assert_eq!(self.failures_in_a_row, MAX_RETRIES, "gave up early");
                }
                self.finished = true;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_command_makes_sense(hot in any::<bool>(), steps in prop::collection::vec(step(), 1..80)) {
        let mut agent = Agent::new(hot);
        let mut world = World::default();
        let mut desired = None;
        for step in steps {
            if world.finished {
                break;
            }
            let event = match step {
                Step::Desire(config) => {
                    if desired.replace(config) != Some(config) {
                        world.failures_in_a_row = 0;
                    }
                    Event::Desired(config)
                }
                Step::End { which, exit } => {
                    let Some(epoch) = world.running.iter().nth(which % world.running.len().max(1)).copied() else {
                        continue;
                    };
                    world.running.remove(&epoch);
                    let killed = world.killed.remove(&epoch);
                    world.to_clean.insert(epoch);
                    Event::Exited { epoch, exit: if killed { FAILURE } else { exit } }
                }
                Step::Wait if world.pause => {
                    world.pause = false;
                    Event::RestartDue
                }
                Step::Wait => continue,
                Step::Leave => {
                    let commands = agent.handle(Event::Leave);
                    commands.iter().for_each(|command| world.carry_out(command));
                    world.left = true;
                    continue;
                }
            };
            for command in agent.handle(event) {
                world.carry_out(&command);
            }
            prop_assert!(world.to_clean.is_empty(), "an ended process was not cleaned up");
            prop_assert!(agent.running().eq(world.running.iter().copied()));
            if !world.left && !world.finished && desired.is_some() {
                prop_assert!(
                    !world.running.is_empty() || world.pause,
                    "nothing runs and nothing will come"
                );
            }
        }
    }
}
