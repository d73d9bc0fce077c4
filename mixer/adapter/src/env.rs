//! What the runtime gives a handler besides its parameters (`spec 02` §9.8).

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mesh_runtime::Spawner;
use mesh_runtime::task::AbortOnDrop;

/// The surroundings of one handler. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Env(Arc<Inner>);

/// How many tasks of a handler are running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// Those that end by themselves.
    pub workers: usize,
    /// Those that live as long as the handler.
    pub daemons: usize,
}

struct Inner {
    handler: String,
    spawner: Spawner,
    on_fault: Option<OnFault>,
    workers: Arc<AtomicUsize>,
    daemons: Arc<AtomicUsize>,
    tasks: Mutex<Vec<AbortOnDrop>>,
}

/// Is told what went wrong, and how often.
type OnFault = Box<dyn Fn(&'static str, u64) + Send + Sync>;

/// Counts a task while it exists.
struct Count(Arc<AtomicUsize>);

// === impl Env ===

impl Env {
    /// The surroundings of the handler with this full name.
    #[must_use]
    pub fn new(handler: impl Into<String>, spawner: Spawner) -> Self {
        Self::with(handler.into(), spawner, None)
    }

    /// The same for somebody who counts what goes wrong outside of calls ([`fault`](Self::fault)).
    #[must_use]
    pub fn counting(
        handler: impl Into<String>,
        spawner: Spawner,
        on_fault: impl Fn(&'static str, u64) + Send + Sync + 'static,
    ) -> Self {
        Self::with(handler.into(), spawner, Some(Box::new(on_fault)))
    }

    fn with(handler: String, spawner: Spawner, on_fault: Option<OnFault>) -> Self {
        Self(Arc::new(Inner {
            handler,
            spawner,
            on_fault,
            workers: Arc::default(),
            daemons: Arc::default(),
            tasks: Mutex::default(),
        }))
    }

    /// Counts what went wrong where no call can tell it: `kind` is one of few words, such as `dropped`.
    pub fn fault(&self, kind: &'static str, count: u64) {
        if let Some(on_fault) = &self.0.on_fault {
            on_fault(kind, count);
        }
    }

    /// Full name of the handler.
    #[must_use]
    pub fn handler(&self) -> &str {
        &self.0.handler
    }

    /// Starts a task that ends by itself. It outlives the handler if it has to; a panic ends it alone.
    pub fn work(&self, future: impl Future<Output = ()> + Send + 'static) {
        let count = Count::new(&self.0.workers);
        self.0
            .spawner
            .spawn(format!("{} worker", self.0.handler), async move {
                let _count = count;
                future.await;
            });
    }

    /// Starts a task that lives as long as the handler: what of it is left when the handler was closed is aborted.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let count = Count::new(&self.0.daemons);
        let task = self
            .0
            .spawner
            .spawn(format!("{} daemon", self.0.handler), async move {
                let _count = count;
                future.await;
            });
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(task.abort_on_drop());
    }

    /// Starts tasks of something that handlers share, and which outlives each of them.
    #[must_use]
    pub fn spawner(&self) -> &Spawner {
        &self.0.spawner
    }

    /// How many tasks are running.
    #[must_use]
    pub fn workers(&self) -> Workers {
        Workers {
            workers: self.0.workers.load(Ordering::Relaxed),
            daemons: self.0.daemons.load(Ordering::Relaxed),
        }
    }

    /// Aborts the daemons. Called when the handler was closed.
    pub fn stop(&self) {
        self.0
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("handler", &self.handler)
            .field("workers", &self.workers)
            .field("daemons", &self.daemons)
            .finish_non_exhaustive()
    }
}

// === impl Count ===

impl Count {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
