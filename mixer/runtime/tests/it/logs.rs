//! What is said of requests that something is wrong with, and how often.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::world::{World, object};

/// What was logged by this thread.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Listens until the guard is dropped.
    fn listen(level: Level) -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines(&self, text: &str) -> Vec<String> {
        let logged = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = logged.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// §2.2: of Checks and of Reports.
#[tokio::test]
async fn spec_02_2_2_an_attribute_that_cannot_be_read_is_absent_and_logged() {
    let (log, _guard) = Log::listen(Level::DEBUG);
    let mut world = World::new();
    world.configure("").await;
    let set = [("response.code", "text"), ("source.name", "a")];
    for logged in 1..3 {
        match logged {
            1 => assert!(world.check(&set, &[]).await.unwrap().verdict.is_ok()),
            _ => world.report(&[&set]).await.unwrap(),
        }
        let lines = log.lines("attribute response.code is sent as strings, but is of type INT64");
        assert_eq!(lines.len(), logged, "{lines:?}");
    }
}

/// §4.3: what may happen with every request is said aloud once.
#[tokio::test]
async fn spec_02_4_3_a_header_whose_value_cannot_be_evaluated_is_warned_of_once() {
    let (log, _guard) = Log::listen(Level::WARN);
    let mut world = World::new();
    let headers =
        "{requestHeaderOperations: [{name: a, values: [source.name]}, {name: b, values: ['\"b\"']}]}";
    world
        .configure(&object("rule", "istio-system", "headers", headers))
        .await;
    for _ in 0..3 {
        let checked = world.check(&[], &[]).await.unwrap();
        let directive = checked.verdict.directive.unwrap();
        assert_eq!(
            directive.request_header_operations.len(),
            1,
            "the other one is set"
        );
    }
    let lines = log.lines("lookup failed: 'source.name'");
    assert_eq!(lines.len(), 1, "{lines:?}");
}
