//! What Galley's validating webhook needs: a certificate, and a configuration by which an API server outside of the mesh
//! reaches it.
//!
//! The API server calls a port of the machine that leads to Galley. No service of the cluster means anything to it, since it
//! knows none of their addresses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use mesh_config::yaml;
use mesh_testing::certificates::Authority;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::warn;

use crate::mesh::components::{Component, VALIDATION};
use crate::mesh::folder;
use crate::mesh::programs::workspace;
use crate::mesh::state::State;

/// The configuration as operators have it.
const FILE: &str = "charts/galley/validatingwebhookconfiguration.yaml";

/// Its name among the files of a mesh.
pub(crate) const CONFIGURATION: &str = "validatingwebhookconfiguration.yaml";

/// Certificate, key and authorities, by the names that Citadel gives them.
pub(crate) const CERTIFICATE: &str = "cert-chain.pem";
pub(crate) const KEY: &str = "key.pem";
pub(crate) const AUTHORITIES: &str = "root-cert.pem";

/// The host by which the API server calls.
const HOST: &str = "localhost";

/// Makes a certificate for Galley, of an authority of this mesh.
pub(super) fn certify(folder: &Path) -> Result<()> {
    let authority = Authority::new("mesh")?;
    let pair = authority.issue(&[HOST])?;
    let write = |name: &str, text: &str| folder::replace(&folder.join(name), text.as_bytes());
    write(AUTHORITIES, authority.certificate())?;
    write(KEY, &pair.key)?;
    write(CERTIFICATE, &pair.certificate)?;
    Ok(())
}

/// Keeps the file that Galley registers, from when the port of the machine is known that leads to it.
pub(crate) async fn configure(folder: PathBuf, mut state: watch::Receiver<Arc<State>>) {
    let mut written = None;
    loop {
        let galley = Component::Galley.name();
        let port = state
            .borrow_and_update()
            .component(galley)
            .and_then(|galley| galley.ports.get(VALIDATION).copied());
        if let Some(port) = port
            && written != Some(port)
        {
            let file = configuration(port)
                .and_then(|text| Ok(folder::replace(&folder.join(CONFIGURATION), text.as_bytes())?));
            match file {
                Ok(()) => written = Some(port),
                Err(error) => warn!(
                    error = format!("{error:#}"),
                    "cannot write what Galley registers with the API server"
                ),
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// The configuration of [`FILE`] for a Galley at a port of the machine.
fn configuration(port: u16) -> Result<String> {
    let path = workspace().join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut document = yaml::documents(FILE, &text)
        .into_iter()
        .next()
        .with_context(|| format!("{FILE} is empty"))??
        .value;
    let webhooks = document["webhooks"].as_array_mut();
    for webhook in webhooks.into_iter().flatten() {
        let client = &mut webhook["clientConfig"];
        let path = match &client["service"]["path"] {
            Value::String(path) => path.clone(),
            _ => String::new(),
        };
        *client = json!({ "url": format!("https://{HOST}:{port}{path}") });
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g8_1_webhooks_are_called_at_a_port_of_the_machine() {
        let configuration: Value = serde_json::from_str(&configuration(1234).unwrap()).unwrap();
        let webhooks = configuration["webhooks"].as_array().unwrap();
        let clients: Vec<_> = webhooks.iter().map(|webhook| &webhook["clientConfig"]).collect();
        let at = |path: &str| json!({ "url": format!("https://localhost:1234/{path}") });
        assert_eq!(
            clients,
            [&at("admitpilot"), &at("admitmixer"), &at("admitservice")]
        );
    }
}
