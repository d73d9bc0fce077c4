//! Configuration that Galley serves (`spec 02` §9.3).

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::{Config, ConfigError, ConfigKey, Kind};
use mesh_mcp::metrics::McpMetrics;
use mesh_mcp::sink::{Apply, ApplyError, Change, Content, Sink, SinkHandle, SinkOptions};
use mesh_runtime::Runtime;
use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::{ClientOptions, connect, connect_tls};
use mesh_runtime::tls::{CertificateFiles, ClientTls, Credentials, ServerCheck};
use mixer_runtime::config::StoreEvent;
use tokio::sync::mpsc;

/// What Mixer calls itself, as in 1.1.
const NODE: &str = "default";

/// Makes events of what a sink gets.
struct Input {
    events: mpsc::Sender<Vec<StoreEvent>>,
    /// Kinds of which nothing was told yet.
    missing: BTreeSet<Kind>,
    /// What there is, to know what a full state has no more.
    known: BTreeMap<Kind, BTreeSet<ConfigKey>>,
    problems: BTreeMap<Kind, Vec<ConfigError>>,
}

/// Follows a server. What it said last stays in force while it is away.
pub(super) fn follow(
    runtime: &Runtime,
    address: &HostPort,
    certificates: Option<CertificateFiles>,
    kinds: BTreeSet<Kind>,
    events: mpsc::Sender<Vec<StoreEvent>>,
) -> anyhow::Result<SinkHandle> {
    let channel = match certificates {
        None => connect(address, &ClientOptions::default())?,
        Some(files) => {
            let credentials = Credentials::new(files);
            let follow = credentials.clone().follow(|_| {});
            runtime.spawner().spawn("mcp certificates", follow);
            let tls = ClientTls::new(credentials, ServerCheck::Name);
            connect_tls(address, &ClientOptions::default(), tls)?
        }
    };
    let options = SinkOptions {
        incremental: true,
        ..SinkOptions::new(NODE, kinds.iter().copied())
    };
    let metrics = McpMetrics::register(runtime.metrics(), "mixer/mcp/sink")?;
    let (sink, handle) = Sink::new(channel, address.to_string(), options, metrics);
    let input = Input {
        events,
        missing: kinds,
        known: BTreeMap::new(),
        problems: BTreeMap::new(),
    };
    let drain = runtime.drain().clone();
    runtime.spawner().spawn_vital("mcp sink", async move {
        drain.cancel(sink.run(input)).await;
    });
    Ok(handle)
}

impl Apply for Input {
    async fn apply(&mut self, change: Change) -> Result<(), ApplyError> {
        let events = self.events_of(change);
        self.events.send(events).await.map_err(|_| ApplyError::Closed)
    }
}

// === impl Input ===

impl Input {
    fn events_of(&mut self, change: Change) -> Vec<StoreEvent> {
        let known = self.known.entry(change.kind).or_default();
        let is_part = matches!(change.content, Content::Changes { .. });
        let (changed, gone): (Vec<Config>, Vec<ConfigKey>) = match change.content {
            Content::Full(objects) => {
                let now: BTreeSet<_> = objects.iter().map(|object| object.meta.key.clone()).collect();
                let gone = known.difference(&now).cloned().collect();
                *known = now;
                (objects, gone)
            }
            Content::Changes { changed, gone } => {
                known.extend(changed.iter().map(|object| object.meta.key.clone()));
                for key in &gone {
                    known.remove(key);
                }
                (changed, gone)
            }
        };
        let mut problems = change.errors;
        let before = self.problems.remove(&change.kind).unwrap_or_default();
        if is_part {
            // Objects of which nothing is said are as they were.
            let told: BTreeSet<String> = changed
                .iter()
                .map(|object| &object.meta.key)
                .chain(&gone)
                .map(ToString::to_string)
                .collect();
            let others = before.iter().filter(|problem| !told.contains(&problem.object));
            problems.extend(others.cloned());
        }
        let is_new = problems != before;
        self.problems.insert(change.kind, problems);
        let mut events: Vec<_> = gone.into_iter().map(StoreEvent::Delete).collect();
        events.extend(changed.into_iter().map(StoreEvent::Upsert));
        if is_new {
            events.push(StoreEvent::Problems(
                self.problems.values().flatten().cloned().collect(),
            ));
        }
        if self.missing.remove(&change.kind) && self.missing.is_empty() {
            events.push(StoreEvent::Synced);
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::Any;
    use mesh_config::{Meta, Timestamp};

    use super::*;

    fn rule(name: &str) -> Config {
        Config {
            meta: Meta {
                key: ConfigKey::new(Kind::Rule, "ns", name),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                created: Timestamp::default(),
                version: String::new(),
            },
            body: Any::default(),
        }
    }

    fn change(kind: Kind, content: Content) -> Change {
        Change {
            collection: kind.collection(),
            kind,
            version: String::new(),
            content,
            errors: Vec::new(),
        }
    }

    /// §9.3: what is wrong with an object is told until there is news of that object.
    #[test]
    fn spec_02_9_3_changes_of_others_do_not_mend_an_object() {
        let (events, _receiver) = mpsc::channel(1);
        let mut input = Input {
            events,
            missing: BTreeSet::new(),
            known: BTreeMap::new(),
            problems: BTreeMap::new(),
        };
        let key = rule("bad").meta.key;
        let problem = ConfigError {
            location: None,
            object: key.to_string(),
            field: "body".to_owned(),
            reason: "is missing".to_owned(),
        };
        let part = |changed: &[&str], gone: &[&str]| Content::Changes {
            changed: changed.iter().map(|name| rule(name)).collect(),
            gone: gone.iter().map(|name| rule(name).meta.key).collect(),
        };
        let told = |events: Vec<StoreEvent>| {
            events.into_iter().find_map(|event| match event {
                StoreEvent::Problems(problems) => Some(problems),
                _ => None,
            })
        };
        let bad = Change {
            errors: vec![problem.clone()],
            ..change(Kind::Rule, part(&["a"], &["bad"]))
        };
        assert_eq!(told(input.events_of(bad)), Some(vec![problem]));
        assert_eq!(
            told(input.events_of(change(Kind::Rule, part(&["a"], &["b"])))),
            None
        );
        assert_eq!(
            told(input.events_of(change(Kind::Handler, part(&[], &["bad"])))),
            None
        );
        let mended = input.events_of(change(Kind::Rule, part(&["bad"], &[])));
        assert_eq!(told(mended), Some(Vec::new()));
    }

    /// §9.3 MUST-OURS: an update without resources deletes everything of the kind.
    #[test]
    fn spec_02_9_3_a_state_without_objects_deletes_all_of_its_kind() {
        let (events, _receiver) = mpsc::channel(1);
        let mut input = Input {
            events,
            missing: BTreeSet::from([Kind::Rule, Kind::Handler]),
            known: BTreeMap::new(),
            problems: BTreeMap::new(),
        };
        let first = input.events_of(change(Kind::Rule, Content::Full(vec![rule("a"), rule("b")])));
        assert_eq!(first.len(), 2);
        let synced = input.events_of(change(Kind::Handler, Content::Full(Vec::new())));
        assert_eq!(synced, [StoreEvent::Synced]);
        let changes = Content::Changes {
            changed: vec![rule("c")],
            gone: vec![rule("a").meta.key],
        };
        assert_eq!(input.events_of(change(Kind::Rule, changes)).len(), 2);
        let gone = input.events_of(change(Kind::Rule, Content::Full(Vec::new())));
        assert_eq!(
            gone,
            [
                StoreEvent::Delete(rule("b").meta.key),
                StoreEvent::Delete(rule("c").meta.key)
            ]
        );
    }
}
