//! Threads that decide: policies call their rules one from another, which takes more stack than the tasks of a runtime
//! have.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use regorus::{CompiledPolicy, Value};
use tokio::sync::oneshot;

/// Stack of a thread, of which only what is used takes memory.
const STACK: usize = 256 << 20;

/// Decisions that may wait for a thread.
const WAITING: usize = 1024;

/// Most threads of a handler.
const MOST_THREADS: usize = 4;

/// What a policy says, or why it says nothing.
pub(super) type Decision = Result<bool, String>;

/// The threads of a handler, which end with it.
#[derive(Debug)]
pub(super) struct Deciders(SyncSender<Question>);

struct Question {
    input: Value,
    answer: oneshot::Sender<Decision>,
}

/// Runs something that may need a large stack; `None` when it panics or there is no thread for it.
pub(super) fn on_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

// === impl Deciders ===

impl Deciders {
    /// # Errors
    ///
    /// When there can be no more threads.
    pub(super) fn start(policy: &CompiledPolicy) -> io::Result<Self> {
        let (sender, questions) = sync_channel(WAITING);
        let questions = Arc::new(Mutex::new(questions));
        let threads = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MOST_THREADS);
        for _ in 0..threads {
            let (policy, questions) = (policy.clone(), Arc::clone(&questions));
            thread::Builder::new()
                .name("opa".to_owned())
                .stack_size(STACK)
                .spawn(move || answer(&policy, &questions))?;
        }
        Ok(Self(sender))
    }

    /// Whether the policy allows this.
    ///
    /// # Errors
    ///
    /// When too many wait already.
    pub(super) fn ask(&self, input: Value) -> Result<oneshot::Receiver<Decision>, String> {
        let (answer, decision) = oneshot::channel();
        self.0
            .try_send(Question { input, answer })
            .map_err(|_| format!("{WAITING} decisions are waiting"))?;
        Ok(decision)
    }
}

/// Answers until nobody can ask any more.
fn answer(policy: &CompiledPolicy, questions: &Mutex<Receiver<Question>>) {
    loop {
        // Only taking the next one is for one thread at a time.
        let question = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Question { input, answer }) = question else {
            return;
        };
        // Who asked may have gone meanwhile.
        if answer.is_closed() {
            continue;
        }
        let decision = catch_unwind(AssertUnwindSafe(|| decide(policy, input)));
        let _ = answer.send(decision.unwrap_or_else(|_| Err("the policy cannot be evaluated".to_owned())));
    }
}

fn decide(policy: &CompiledPolicy, input: Value) -> Decision {
    match evaluate(policy, input)? {
        Value::Bool(allowed) => Ok(allowed),
        Value::Undefined => Err("the rule is undefined".to_owned()),
        other => Err(format!("the rule is not a boolean but {other}")),
    }
}

/// What the rule gives.
pub(super) fn evaluate(policy: &CompiledPolicy, input: Value) -> Result<Value, String> {
    policy.eval_with_input(input).map_err(|error| error.to_string())
}
