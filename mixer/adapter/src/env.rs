//! What the runtime gives a handler besides its parameters (`spec 02` §9.8).

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_runtime::Spawner;
use mesh_runtime::task::TaskHandle;

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
    /// `None` when the handler was closed.
    daemons_at_work: Mutex<Option<Vec<Daemon>>>,
}

/// A task that is aborted when this is dropped.
struct Daemon(TaskHandle);

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
            daemons_at_work: Mutex::new(Some(Vec::new())),
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

    /// Starts a task that lives as long as the handler: what of it is left when the handler was closed is aborted, and none
    /// is started any more.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut daemons = self.daemons_at_work();
        let Some(daemons) = daemons.as_mut() else { return };
        // A handler may start one for each of its connections.
        daemons.retain(|daemon| !daemon.0.is_finished());
        let count = Count::new(&self.0.daemons);
        let task = self
            .0
            .spawner
            .spawn(format!("{} daemon", self.0.handler), async move {
                let _count = count;
                future.await;
            });
        daemons.push(Daemon(task));
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

    /// Aborts the daemons, of which there can be none from now on. Called when the handler was closed.
    pub fn stop(&self) {
        let daemons = self.daemons_at_work().take();
        drop(daemons);
    }

    fn daemons_at_work(&self) -> MutexGuard<'_, Option<Vec<Daemon>>> {
        self.0
            .daemons_at_work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

// === impl Daemon ===

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.abort();
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn env() -> Env {
        Env::new("h.handler.ns", Spawner::default())
    }

    async fn ended(env: &Env) {
        while env.workers() != Workers::default() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn daemons_that_have_ended_are_forgotten() {
        let env = env();
        for _ in 0..100 {
            env.spawn(async {});
            ended(&env).await;
        }
        assert_eq!(env.daemons_at_work().as_ref().map(Vec::len), Some(1));
    }

    /// `spec 02` §9.5.6: whatever still holds the surroundings of a handler that was closed starts nothing.
    #[tokio::test]
    async fn nothing_lives_longer_than_its_handler() {
        let env = env();
        env.spawn(pending());
        let late = env.clone();
        env.stop();
        late.spawn(pending());
        ended(&env).await;
        late.stop();
    }
}
