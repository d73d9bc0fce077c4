//! The mesh configuration: a file that is followed (G6.3), and a collection that is served.
//!
//! The collection is ours: 1.1 had none, and consumers of 1.1 do not ask for it. It holds one resource.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_api::Any;
use mesh_api::istio::mcp::v1alpha1::{Metadata, Resource};
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::mesh::{default_galley_mesh, parse_over};
use mesh_config::{ConfigError, Location};
use mesh_mcp::Entry;
use mesh_runtime::watch::{FileWatch, WatchError};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tracing::info;

use crate::event::{Event, Problem};

/// The collection.
pub const COLLECTION: &str = "istio/mesh/v1alpha1/MeshConfig";

/// The name of its resource.
pub const RESOURCE: &str = "istio-system/meshconfig";

/// A burst of file events is over after this long.
const QUIET: Duration = Duration::from_millis(20);

/// Follows the file.
#[derive(Debug)]
pub struct MeshSource {
    path: PathBuf,
}

/// Reads the file. One that does not exist means Galley's defaults.
///
/// # Errors
///
/// Why it cannot be used.
pub fn read(path: &Path) -> Result<MeshConfig, Problem> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(problem(path, None, format!("cannot be read: {error}"))),
    };
    parse_over(default_galley_mesh(), &text).map_err(|error| {
        let line = error.location.as_ref().map(|location| location.line);
        let mut problem = problem(path, line, error.reason);
        for told in &mut problem.errors {
            told.field.clone_from(&error.field);
        }
        problem
    })
}

fn problem(path: &Path, line: Option<usize>, reason: String) -> Problem {
    let location = Location {
        file: path.display().to_string().into(),
        document: 1,
        line: line.unwrap_or(1),
    };
    Problem {
        kind: None,
        namespace: None,
        errors: vec![ConfigError {
            location: Some(location),
            object: "MeshConfig".to_owned(),
            field: String::new(),
            reason,
        }],
    }
}

/// The resource that carries it.
pub(crate) fn entry(mesh: &MeshConfig) -> Arc<Entry> {
    let body = Any::pack(mesh);
    let metadata = Metadata {
        name: RESOURCE.to_owned(),
        version: version_of(&body.value),
        ..Metadata::default()
    };
    Arc::new(Entry::of_resource(&Resource {
        metadata: Some(metadata),
        body: Some(body),
    }))
}

/// The same for the same content.
fn version_of(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

// === impl MeshSource ===

impl MeshSource {
    /// A source of the mesh configuration in a file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Tells what the file says, now and after every change, until nobody listens.
    ///
    /// # Errors
    ///
    /// When the system does not report changes.
    pub async fn run(self, events: mpsc::Sender<Vec<Event>>) -> Result<(), WatchError> {
        let mut watch = FileWatch::new([&self.path], QUIET)?;
        loop {
            let path = self.path.clone();
            // A file that cannot be read now may be soon, and that is a change.
            if let Ok(read) = tokio::task::spawn_blocking(move || read(&path)).await {
                let told = Event::Mesh(read.map(Box::new));
                if events.send(vec![told]).await.is_err() {
                    return Ok(());
                }
            }
            tokio::select! {
                _ = watch.changed() => info!(path = %self.path.display(), "mesh configuration changed"),
                () = events.closed() => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::istio::mesh::v1alpha1::mesh_config::IngressControllerMode;

    use super::*;

    #[test]
    fn g6_3_no_file_means_galleys_own_defaults() {
        let mesh = read(Path::new("/no/such/file")).unwrap();
        assert_eq!(mesh.ingress_controller_mode(), IngressControllerMode::Strict);
        assert_eq!(mesh.ingress_class, "istio");
        assert!(!mesh.disable_policy_checks);
        assert!(mesh.root_namespace.is_empty() && mesh.default_service_export_to.is_empty());
    }

    #[test]
    fn g6_3_a_fault_is_named_with_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "ingressClass: own\ningressControllerMode: 7x\n").unwrap();
        let problem = read(file.path()).unwrap_err();
        let error = &problem.errors[0];
        assert_eq!(error.location.as_ref().unwrap().line, 2);
        assert_eq!(error.field, "ingressControllerMode");
        fs::write(file.path(), "ingressClass: own\n").unwrap();
        let mesh = read(file.path()).unwrap();
        assert_eq!(mesh.ingress_class, "own");
        assert_eq!(mesh.ingress_controller_mode(), IngressControllerMode::Strict);
    }
}
