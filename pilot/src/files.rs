//! Configuration from files (P5.3).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use galley_processing::{Event, FileSource, Problem};
use mesh_config::{Config, ConfigKey, Kind};
use mesh_runtime::Runtime;
use pilot_registry::{ControllerGone, SourceInput};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// How many batches of events wait at most.
const QUEUE: usize = 8;

/// Shows how a folder fares. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FilesHandle {
    source: Arc<str>,
    /// What cannot be used; `None` before the files were read for the first time.
    problems: Arc<Mutex<Option<Vec<String>>>>,
}

/// Hands over what the files say.
struct Files {
    kinds: Vec<Kind>,
    input: SourceInput,
    handle: FilesHandle,
    /// What they say of each kind, before they were all read.
    first: Option<BTreeMap<Kind, Vec<Config>>>,
}

/// Follows the files of a folder, as long as the controller runs. The system tells what changes, nothing is polled.
pub(crate) fn follow(runtime: &Runtime, path: PathBuf, kinds: &[Kind], input: SourceInput) -> FilesHandle {
    let handle = FilesHandle {
        source: format!("fs://{}", path.display()).into(),
        problems: Arc::default(),
    };
    let files = Files {
        kinds: kinds.to_vec(),
        input,
        handle: handle.clone(),
        first: Some(kinds.iter().map(|&kind| (kind, Vec::new())).collect()),
    };
    let (sender, events) = mpsc::channel(QUEUE);
    let source = handle.source.clone();
    runtime.spawner().spawn_vital("configuration files", async move {
        if let Err(error) = FileSource::new(path).run(sender).await {
            tracing::error!(source = %source, %error, "files cannot be followed");
        }
    });
    runtime
        .spawner()
        .spawn_vital("configuration of files", files.run(events));
    handle
}

// === impl Files ===

impl Files {
    async fn run(mut self, mut batches: mpsc::Receiver<Vec<Event>>) {
        while let Some(events) = batches.recv().await {
            if let Err(ControllerGone) = self.take(events).await {
                return;
            }
        }
    }

    async fn take(&mut self, events: Vec<Event>) -> Result<(), ControllerGone> {
        let mut news: BTreeMap<Kind, BTreeMap<ConfigKey, Option<Config>>> = BTreeMap::new();
        for event in events {
            match event {
                Event::Upsert(config) => {
                    let key = config.meta.key.clone();
                    news.entry(key.kind).or_default().insert(key, Some(config));
                }
                Event::Delete(key) => {
                    news.entry(key.kind).or_default().insert(key, None);
                }
                // Pilot has a file of its own for that.
                Event::Mesh(_) => {}
                Event::Problems(problems) => self.handle.show(&problems),
                Event::FullSync => {
                    for (kind, objects) in std::mem::take(&mut news) {
                        self.gather(kind, objects);
                    }
                    for (kind, objects) in self.first.take().unwrap_or_default() {
                        self.input.replace(kind, objects).await?;
                    }
                    self.handle.is_read();
                }
            }
        }
        for (kind, objects) in news {
            if self.first.is_some() {
                self.gather(kind, objects);
            } else if self.kinds.contains(&kind) {
                let (mut changed, mut gone) = (Vec::new(), Vec::new());
                for (key, config) in objects {
                    match config {
                        Some(config) => changed.push(config),
                        None => gone.push(key),
                    }
                }
                self.input.change(kind, changed, gone).await?;
            }
        }
        Ok(())
    }

    /// Keeps what is said of a kind until everything was read.
    fn gather(&mut self, kind: Kind, objects: BTreeMap<ConfigKey, Option<Config>>) {
        if let Some(known) = self.first.as_mut().and_then(|first| first.get_mut(&kind)) {
            known.retain(|config| !objects.contains_key(&config.meta.key));
            known.extend(objects.into_values().flatten());
        }
    }
}

// === impl FilesHandle ===

impl FilesHandle {
    /// How it stands now.
    pub(crate) fn status(&self) -> Value {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "source": &*self.source, "connected": problems.is_some(), "problems": *problems })
    }

    /// Shows the problems that there are, and tells those that are new.
    fn show(&self, found: &[Problem]) {
        let found = found.iter().flat_map(|problem| &problem.errors);
        let found: Vec<String> = found.map(ToString::to_string).collect();
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        for problem in &found {
            if !problems.as_ref().is_some_and(|known| known.contains(problem)) {
                tracing::warn!(problem, "configuration is left out");
            }
        }
        *problems = Some(found);
    }

    fn is_read(&self) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.get_or_insert_default();
    }
}
