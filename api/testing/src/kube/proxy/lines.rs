//! The events of a watch, on their way through the proxy.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Fault, PAGE, Script, Shared};

/// Reads events of the server line by line and passes on what the script lets through.
pub(super) struct Lines {
    shared: Arc<Shared>,
    script: watch::Receiver<Script>,
    plural: String,
    /// How often watches had been dropped when this one began.
    drops: u64,
    from: BodyDataStream,
    /// What goes wrong, as of the last look at the script. A look at every event would let those that come when a fault
    /// is over overtake the ones that it has held.
    fault: Option<Fault>,
    /// What came of a line that is not complete.
    partial: BytesMut,
    /// Events that wait until a fault is over.
    held: VecDeque<Bytes>,
    /// What is passed on next, and how often.
    ready: VecDeque<(Bytes, usize)>,
    /// The version of the last event that was passed on.
    version: String,
    /// How the server ended the watch.
    source_end: Option<End>,
    /// How it ends for the client.
    end: Option<End>,
}

/// How a watch ends when all that is ready was passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Clean,
    Broken,
}

// === impl Lines ===

impl Lines {
    /// `drops` is how often watches had been dropped when the request arrived: the answer may come later.
    pub(super) fn new(body: Body, shared: Arc<Shared>, plural: String, version: String, drops: u64) -> Self {
        let script = shared.script.subscribe();
        Self {
            shared,
            script,
            plural,
            drops,
            from: body.into_data_stream(),
            fault: None,
            partial: BytesMut::new(),
            held: VecDeque::new(),
            ready: VecDeque::new(),
            version,
            source_end: None,
            end: None,
        }
    }

    /// What the client receives. The connection breaks after an error.
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        futures::stream::unfold(self, async |mut lines| {
            let next = lines.next().await?;
            Some((next, lines))
        })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        // In the order in which the caller sees it: the state of the script first.
        self.script.mark_changed();
        loop {
            if let Some((line, times)) = self.ready.front_mut() {
                let line = line.clone();
                *times -= 1;
                if *times == 0 {
                    self.ready.pop_front();
                }
                self.shared.count(&self.plural, |counts| counts.lines += 1);
                return Some(Ok(line));
            }
            match self.end {
                Some(End::Clean) => return None,
                Some(End::Broken) => return Some(Err(io::ErrorKind::ConnectionReset.into())),
                None => {}
            }
            tokio::select! {
                biased;
                // A sender lives as long as we do.
                _ = self.script.changed() => self.follow_script(),
                chunk = self.from.next(), if self.source_end.is_none() => self.take(chunk),
            }
        }
    }

    fn follow_script(&mut self) {
        let drops = {
            let script = self.script.borrow_and_update();
            self.fault = script.faults.get(&self.plural).cloned();
            script.drops.get(&self.plural).copied()
        };
        if drops.unwrap_or_default() != self.drops {
            self.end = Some(End::Broken);
            return;
        }
        match &self.fault {
            Some(Fault::HoldEvents | Fault::HoldObject(_) | Fault::Bookmarks) => {}
            Some(Fault::Gone) => {
                self.ready.push_back((gone(), 1));
                self.end = Some(End::Clean);
            }
            Some(Fault::EndWatches) => self.end = Some(End::Clean),
            _ => {
                for line in std::mem::take(&mut self.held) {
                    self.event(line);
                }
                self.end = self.end.or(self.source_end);
            }
        }
    }

    fn take<E>(&mut self, chunk: Option<Result<Bytes, E>>) {
        match chunk {
            Some(Ok(chunk)) => self.partial.extend_from_slice(&chunk),
            Some(Err(_)) => self.source_end = Some(End::Broken),
            None => self.source_end = Some(End::Clean),
        }
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line = self.partial.split_to(end + 1).freeze();
            self.event(line);
        }
        // Silence is not broken by the end either, as on a connection that died unnoticed.
        if self.fault != Some(Fault::HoldEvents) {
            self.end = self.end.or(self.source_end);
        }
    }

    fn event(&mut self, line: Bytes) {
        if self.end.is_some() {
            return;
        }
        let event: Value = serde_json::from_slice(&line).unwrap_or_default();
        let metadata = &event["object"]["metadata"];
        match &self.fault {
            Some(Fault::HoldEvents) => return self.held.push_back(line),
            Some(Fault::HoldObject(name)) if metadata["name"] == name.as_str() => {
                return self.held.push_back(line);
            }
            Some(Fault::Bookmarks) => {
                let bookmark = bookmark(&event["object"], &self.version);
                self.ready.push_back((bookmark, 1));
                return self.held.push_back(line);
            }
            Some(Fault::CutEvents) => {
                let half = line.slice(..line.len() / 2);
                self.ready.push_back((half, 1));
                self.end = Some(End::Broken);
                return;
            }
            Some(Fault::Garbage) => self.ready.push_back((Bytes::from_static(PAGE.as_bytes()), 1)),
            Some(Fault::Repeat(times)) => self.ready.push_back((line, (*times).max(1))),
            _ => self.ready.push_back((line, 1)),
        }
        if let Some(version) = metadata["resourceVersion"].as_str() {
            version.clone_into(&mut self.version);
        }
    }
}

fn bookmark(object: &Value, version: &str) -> Bytes {
    let object = json!({
        "kind": object["kind"],
        "apiVersion": object["apiVersion"],
        "metadata": { "resourceVersion": version, "creationTimestamp": null },
    });
    line(&json!({ "type": "BOOKMARK", "object": object }))
}

fn gone() -> Bytes {
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "too old resource version: 1 (2)",
        "reason": "Expired",
        "code": 410,
    });
    line(&json!({ "type": "ERROR", "object": status }))
}

fn line(value: &Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Events of this many chunks, with this many in each.
    const CHUNKS: usize = 200;
    const EVENTS: usize = 50;

    fn chunk(number: usize) -> Bytes {
        let events = (0..EVENTS).map(|event| {
            let version = (number * EVENTS + event).to_string();
            line(&json!({ "type": "MODIFIED", "object": { "metadata": { "resourceVersion": version } } }))
        });
        events.flatten().collect()
    }

    /// A fault may end while lines are read.
    #[tokio::test]
    async fn what_was_held_is_not_overtaken() {
        let shared = Arc::new(Shared {
            script: watch::Sender::default(),
            counts: Mutex::default(),
        });
        let chunks = (0..CHUNKS).map(|number| Ok::<_, Infallible>(chunk(number)));
        let body = Body::from_stream(futures::stream::iter(chunks));
        let lines = Lines::new(body, Arc::clone(&shared), "pods".to_owned(), String::new(), 0);
        let is_over = Arc::new(AtomicBool::new(false));
        let script = std::thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    for fault in [Some(Fault::HoldEvents), None] {
                        shared.script.send_modify(|script| {
                            script.faults = fault
                                .map(|fault| ("pods".to_owned(), fault))
                                .into_iter()
                                .collect();
                        });
                        std::thread::yield_now();
                    }
                }
            }
        });
        let versions: Vec<usize> = lines
            .into_stream()
            .map(|line| version(&line.unwrap()))
            .collect()
            .await;
        is_over.store(true, Ordering::Relaxed);
        script.join().unwrap();
        assert!(versions.is_sorted(), "{versions:?}");
        assert_eq!(versions.len(), CHUNKS * EVENTS);
    }

    fn version(line: &[u8]) -> usize {
        let event: Value = serde_json::from_slice(line).unwrap();
        let version = event["object"]["metadata"]["resourceVersion"].as_str().unwrap();
        version.parse().unwrap()
    }
}
