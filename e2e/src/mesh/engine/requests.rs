//! What can be asked of a running mesh.

use std::collections::BTreeMap;

use mesh_config::yaml;
use tokio::sync::oneshot;

use super::Engine;
use crate::mesh::components::Component;
use crate::mesh::objects::{ObjectKey, Objects};
use crate::mesh::pods::Stop;

/// Whether it was done, or why not.
pub(crate) type Reply = oneshot::Sender<Result<String, String>>;

/// A request to the engine.
#[derive(Debug)]
pub(crate) enum Request {
    /// Read the files again.
    Reload,
    /// Add or replace the objects of this text.
    Apply { yaml: String, reply: Reply },
    /// Remove an object. An empty namespace stands for `default`.
    Delete {
        kind: String,
        namespace: String,
        name: String,
        reply: Reply,
    },
    /// Go back to what the files say.
    ForgetApplied { reply: Reply },
    /// Change labels of a running pod; `None` removes.
    Label {
        pod: String,
        labels: BTreeMap<String, Option<String>>,
        reply: Reply,
    },
    /// Start or end a component.
    Switch {
        component: Component,
        on: bool,
        reply: Reply,
    },
    /// Set a variable of a component, which is started anew with it.
    SetEnv {
        component: Component,
        name: String,
        value: String,
        reply: Reply,
    },
    /// These are the objects of the API server.
    Objects(Box<Objects>),
    /// End the pod of this uid; one that should be is started anew.
    Evict(String),
    /// End everything.
    Leave,
}

// === impl Engine ===

impl Engine {
    pub(super) fn answer(&mut self, request: Request) {
        let (reply, result) = match request {
            Request::Reload => return self.reload(),
            Request::Leave => return self.leave(),
            Request::Objects(objects) => {
                self.reading.objects = *objects;
                return self.follow_reading();
            }
            Request::Evict(uid) => {
                let record = self.records.values_mut().find(|record| record.uid == uid);
                if let Some(record) = record.filter(|record| !record.stopping()) {
                    record.stop(Stop::Gracefully);
                }
                return;
            }
            Request::Apply { reply, .. }
            | Request::Delete { reply, .. }
            | Request::ForgetApplied { reply }
                if let Some(path) = &self.settings.kubernetes =>
            {
                let text = format!(
                    "the objects are in an API server: kubectl --kubeconfig {}",
                    path.display()
                );
                (reply, Err(text))
            }
            Request::Apply { yaml, reply } => (reply, self.apply(&yaml)),
            Request::Delete {
                kind,
                namespace,
                name,
                reply,
            } => (reply, self.delete(&kind, &namespace, &name)),
            Request::ForgetApplied { reply } => (reply, Ok(self.forget_applied())),
            Request::Label { pod, labels, reply } => (reply, self.label(&pod, labels)),
            Request::SetEnv {
                component,
                name,
                value,
                reply,
            } => (reply, Ok(self.set_env(component, name, value))),
            Request::Switch { component, on, reply } => (reply, Ok(self.switch(component, on))),
        };
        // Whoever asked may have left.
        let _ = reply.send(result);
    }

    fn apply(&mut self, text: &str) -> Result<String, String> {
        let mut found = BTreeMap::new();
        for document in yaml::documents("applied", text) {
            let document = document.map_err(|error| error.to_string())?;
            let key = ObjectKey::of(&document.value)
                .ok_or_else(|| format!("{}: kind or metadata.name is missing", document.location))?;
            let yaml = serde_saphyr::to_string(&document.value).map_err(|error| error.to_string())?;
            found.insert(key, Some(yaml));
        }
        if found.is_empty() {
            return Err("there is no object in it".to_owned());
        }
        let done: Vec<String> = found.keys().map(|key| format!("{key} applied")).collect();
        self.overrides.extend(found);
        self.reload();
        Ok(done.join("\n"))
    }

    fn delete(&mut self, kind: &str, namespace: &str, name: &str) -> Result<String, String> {
        let namespace = if namespace.is_empty() {
            "default"
        } else {
            namespace
        };
        let matches = |key: &&ObjectKey| {
            key.kind.eq_ignore_ascii_case(kind)
                && key.name == name
                && (key.namespace == namespace || key.namespace.is_empty())
        };
        let key = self.reading.keys.iter().find(matches).cloned();
        let key = key.ok_or_else(|| format!("{kind} {namespace}/{name} does not exist"))?;
        let done = format!("{key} deleted");
        self.overrides.insert(key, None);
        self.reload();
        Ok(done)
    }

    fn forget_applied(&mut self) -> String {
        self.overrides.clear();
        self.reload();
        "everything applied is forgotten".to_owned()
    }

    fn label(&mut self, pod: &str, labels: BTreeMap<String, Option<String>>) -> Result<String, String> {
        let (namespace, name) = match pod.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, pod),
        };
        let mut found = self
            .records
            .iter_mut()
            .filter(|((ns, n), _)| n == name && namespace.is_none_or(|namespace| ns == namespace));
        let (_, record) = found.next().ok_or_else(|| format!("pod {pod} does not exist"))?;
        if found.next().is_some() {
            return Err(format!(
                "pod {pod} exists in several namespaces: say NAMESPACE/{pod}"
            ));
        }
        record.label(labels);
        Ok(format!("pod {pod} labeled"))
    }

    fn set_env(&mut self, component: Component, name: String, value: String) -> String {
        let variables = self.settings.env.entry(component).or_default();
        variables.insert(name, value);
        self.redesire();
        format!("{} env updated", component.name())
    }

    fn switch(&mut self, component: Component, on: bool) -> String {
        if on {
            self.settings.without.remove(&component);
        } else {
            self.settings.without.insert(component);
            if let Some(record) = self.records.get_mut(&component.key()) {
                record.stop(Stop::Now);
            }
        }
        self.redesire();
        format!("{} {}", component.name(), if on { "started" } else { "stopped" })
    }
}
