//! A mesh without control plane for one test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::mesh::state::State;
use e2e::mesh::{Component, Mesh};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with files that a mesh reads.
pub(crate) struct Files(tempfile::TempDir);

// === impl Files ===

impl Files {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write(name, text);
        files
    }

    /// Replaces a file as editors do: a new one takes the old one's place.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.0.path().join(format!(".{name}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.0.path().join(name)).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Starts a mesh of nothing but the pods in `files`.
pub(crate) async fn start(files: &Files) -> Mesh {
    Mesh::builder()
        .unique_name()
        .no_build()
        .envoy(any_program())
        .only_files()
        .without(Component::Galley)
        .without(Component::Pilot)
        .without(Component::Policy)
        .without(Component::Telemetry)
        .file(files.path())
        .start()
        .await
        .unwrap()
}

/// Starts a mesh and waits until it is ready.
pub(crate) async fn ready(files: &Files) -> Mesh {
    let mesh = start(files).await;
    mesh.wait_ready(PATIENCE).await.unwrap();
    mesh
}

/// Waits until the state is as wished.
pub(crate) async fn until(mesh: &Mesh, wish: impl FnMut(&State) -> bool) {
    mesh.wait_for(PATIENCE, wish).await.unwrap();
}

/// Stands for Envoy where none runs.
fn any_program() -> PathBuf {
    env!("CARGO_BIN_EXE_mesh-sample").into()
}

/// What a shell command prints in a pod.
pub(crate) async fn shell(mesh: &Mesh, pod: &str, script: &str) -> String {
    let output = mesh.exec(pod, ["bash", "-c", script]).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => text(&output.stdout),
        false => format!("{}: {}", output.status, text(&output.stderr)),
    }
}

/// The body of a page, asked for from inside a pod. Needs nothing but a shell.
pub(crate) async fn get(mesh: &Mesh, pod: &str, host: &str, port: u16, path: &str) -> String {
    let script = format!(
        "exec 3<>/dev/tcp/{host}/{port} && printf 'GET {path} HTTP/1.1\\r\\nhost: {host}\\r\\nconnection: close\\r\\n\\r\\n' >&3 && cat <&3"
    );
    shell(mesh, pod, &script).await
}
