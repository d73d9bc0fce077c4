//! One Envoy process: the files that it needs, its arguments, and what it leaves behind.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tracing::{debug, warn};

use crate::agent::Epoch;
use crate::bootstrap::bootstrap;
use crate::config::{BootstrapSource, Config, HotRestart, Tracer};
use crate::template::{self, TemplateError};

#[cfg(test)]
mod tests;

/// Where Envoy writes the number that it has chosen for its hot restarts.
const BASE_ID_FILE: &str = "envoy-base-id";

/// Where the access token for LightStep is put.
const LIGHTSTEP_TOKEN_FILE: &str = "lightstep_access_token.txt";

/// What Envoy processes are made from.
#[derive(Clone, Debug)]
pub struct Proxy {
    config: Config,
}

/// How to start a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// A process could not be prepared (`AGT-23`).
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A file cannot be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A template cannot be filled in.
    #[error("template {path}")]
    Template {
        /// The template.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: TemplateError,
    },
    /// The number that the running process has chosen is not known.
    #[error("{path} does not hold the base id of the running envoy")]
    BaseId {
        /// The file that should hold it.
        path: PathBuf,
    },
}

// === impl Proxy ===

impl Proxy {
    /// Everything follows from the configuration.
    #[must_use]
    pub fn new(config: Config) -> Proxy {
        Proxy { config }
    }

    /// Writes the files of an epoch and says how to start it.
    ///
    /// # Errors
    /// [`PrepareError`] when a file cannot be read or written.
    pub fn prepare(&self, epoch: Epoch) -> Result<Start, PrepareError> {
        let envoy = &self.config.envoy;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&envoy.folder)
            .map_err(failed("create", &envoy.folder))?;
        if let Some(Tracer::LightStep { access_token, .. }) = &self.config.tracer {
            write(&envoy.folder.join(LIGHTSTEP_TOKEN_FILE), access_token)?;
        }
        let file = match self.rendered()? {
            Some(text) => {
                let file = self.written_file(epoch);
                write(&file, &text)?;
                file
            }
            None => self.written_file(epoch),
        };
        let override_yaml = envoy.bootstrap_override.as_deref().and_then(read_override);
        let base_id = self.base_id(epoch)?;
        let args = arguments(&self.config, epoch, &file, &base_id, override_yaml);
        Ok(Start {
            program: envoy.binary.clone(),
            args,
        })
    }

    /// The text of the bootstrap file, for a person who wants to know why Envoy does not start.
    #[must_use]
    pub fn bootstrap_text(&self) -> String {
        match self.rendered() {
            Ok(Some(text)) => text,
            Ok(None) => fs::read_to_string(self.written_file(0)).unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Removes what an ended epoch has left (`AGT-45`), and after the last one what Envoy itself forgets.
    pub fn clean_up(&self, epoch: Epoch, last: bool) {
        if !matches!(self.config.envoy.bootstrap, BootstrapSource::File(_)) {
            remove(&self.written_file(epoch));
        }
        if last {
            self.remove_shared_memory();
        }
    }

    /// Removes the shared memory of Envoys that were killed, of this agent or the one before it, and the
    /// number that one of them has chosen for it.
    fn remove_shared_memory(&self) {
        let base_id = match self.config.envoy.hot_restart {
            HotRestart::Disabled => None,
            HotRestart::BaseId(id) => Some(id),
            HotRestart::Dynamic => self.chosen_base_id(),
        };
        if let Some(id) = base_id {
            // The name that Envoy gives it; ten numbers belong to each base id.
            remove(Path::new(&format!(
                "/dev/shm/envoy_shared_memory_{}",
                u64::from(id) * 10
            )));
            remove(&self.base_id_file());
        }
    }

    /// The bootstrap text, or `None` if a file is used as it is.
    fn rendered(&self) -> Result<Option<String>, PrepareError> {
        let (path, values) = match &self.config.envoy.bootstrap {
            BootstrapSource::Generated => return Ok(Some(format!("{:#}\n", bootstrap(&self.config)))),
            BootstrapSource::File(_) => return Ok(None),
            BootstrapSource::Template(path) => (path, self.template_values()),
            BootstrapSource::ControlPlane {
                template,
                disable_reports,
            } => (template, self.control_plane_values(*disable_reports)),
        };
        let text = fs::read_to_string(path).map_err(failed("read", path))?;
        let filled = template::fill(&text, &values);
        filled.map(Some).map_err(|source| PrepareError::Template {
            path: path.clone(),
            source,
        })
    }

    /// The file that Envoy is given. Envoy chooses its parser by the ending (`AGT-21`).
    fn written_file(&self, epoch: Epoch) -> PathBuf {
        let folder = &self.config.envoy.folder;
        match &self.config.envoy.bootstrap {
            BootstrapSource::File(file) => file.clone(),
            BootstrapSource::ControlPlane { .. } => folder.join("envoy.yaml"),
            BootstrapSource::Generated | BootstrapSource::Template(_) => {
                folder.join(format!("envoy-rev{epoch}.json"))
            }
        }
    }

    /// The names of templates that replace the generated bootstrap.
    fn template_values(&self) -> BTreeMap<&'static str, String> {
        let Config {
            node,
            discovery,
            admin_port,
            ..
        } = &self.config;
        let host = discovery.address.host.clone().unwrap_or_default();
        BTreeMap::from([
            ("nodeID", node.id()),
            ("cluster", node.cluster.clone()),
            ("meta_json_str", serde_json::json!(node.metadata).to_string()),
            ("config.ProxyAdminPort", admin_port.to_string()),
            ("config.DiscoveryAddress", discovery.address.to_string()),
            (
                "pilot_grpc_address",
                serde_json::json!({"address": host, "port_value": discovery.address.port}).to_string(),
            ),
            (
                "connect_timeout",
                format!("{}s", discovery.connect_timeout.as_secs_f64()),
            ),
            ("localhost", "127.0.0.1".to_owned()),
            ("wildcard", if node.is_v6() { "::" } else { "0.0.0.0" }.to_owned()),
            (
                "dns_lookup_family",
                if node.is_v6() { "V6_ONLY" } else { "V4_ONLY" }.to_owned(),
            ),
        ])
    }

    /// The names of templates of control-plane pods (`AGT-30`).
    fn control_plane_values(&self, disable_reports: bool) -> BTreeMap<&'static str, String> {
        let Config { node, discovery, .. } = &self.config;
        let authenticated = discovery.mutual_tls.is_some();
        let mixer = format!(
            "spiffe://{}/ns/{}/sa/istio-mixer-service-account",
            node.trust_domain, node.pod_namespace
        );
        BTreeMap::from([
            ("PodName", node.pod_name.clone()),
            ("PodNamespace", node.pod_namespace.clone()),
            ("PodIP", node.ips[0].to_string()),
            (
                "MixerSubjectAltName",
                if authenticated { mixer } else { String::new() },
            ),
            (
                "ControlPlaneAuth",
                if authenticated { "enable" } else { "" }.to_owned(),
            ),
            (
                "DisableReportCalls",
                if disable_reports { "true" } else { "" }.to_owned(),
            ),
        ])
    }

    fn base_id(&self, epoch: Epoch) -> Result<BaseId, PrepareError> {
        let path = self.base_id_file();
        Ok(match (self.config.envoy.hot_restart, epoch) {
            (HotRestart::Disabled, _) => BaseId::None,
            (HotRestart::BaseId(id), _) => BaseId::Known(id),
            (HotRestart::Dynamic, 0) => {
                // A number of an earlier life must not be taken for the one that Envoy is about to choose.
                self.remove_shared_memory();
                BaseId::Choose(path)
            }
            (HotRestart::Dynamic, _) => match self.chosen_base_id() {
                Some(id) => BaseId::Known(id),
                None => return Err(PrepareError::BaseId { path }),
            },
        })
    }

    fn base_id_file(&self) -> PathBuf {
        self.config.envoy.folder.join(BASE_ID_FILE)
    }

    fn chosen_base_id(&self) -> Option<u32> {
        fs::read_to_string(self.base_id_file()).ok()?.trim().parse().ok()
    }
}

/// How an Envoy gets the number that hot restart needs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum BaseId {
    /// No hot restart.
    None,
    /// This one.
    Known(u32),
    /// It chooses one and writes it here.
    Choose(PathBuf),
}

/// The arguments of Envoy (spec 05 §3.5).
fn arguments(
    config: &Config,
    epoch: Epoch,
    file: &Path,
    base_id: &BaseId,
    override_yaml: Option<String>,
) -> Vec<OsString> {
    let envoy = &config.envoy;
    let mut args: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: OsString| args.extend([OsString::from(name), value]);
    option("-c", file.into());
    match base_id {
        BaseId::None => {}
        BaseId::Known(id) => {
            option("--base-id", id.to_string().into());
            option("--restart-epoch", epoch.to_string().into());
        }
        BaseId::Choose(path) => {
            option("--base-id-path", path.into());
            option("--restart-epoch", epoch.to_string().into());
        }
    }
    option("--drain-time-s", envoy.drain_seconds.to_string().into());
    // At once instead of over the drain time: the agent does not wait that long when it leaves.
    option("--drain-strategy", "immediate".into());
    option(
        "--parent-shutdown-time-s",
        envoy.parent_shutdown_seconds.to_string().into(),
    );
    option("--service-cluster", config.node.cluster.clone().into());
    option("--service-node", config.node.id().into());
    option(
        "--local-address-ip-version",
        if config.node.is_v6() { "v6" } else { "v4" }.into(),
    );
    option("-l", envoy.log_level.clone().into());
    if let Some(yaml) = override_yaml {
        option("--config-yaml", yaml.into());
    }
    if let Some(concurrency) = envoy.concurrency {
        option("--concurrency", concurrency.to_string().into());
    }
    match base_id {
        BaseId::None => args.push("--disable-hot-restart".into()),
        BaseId::Known(_) => {}
        BaseId::Choose(_) => args.push("--use-dynamic-base-id".into()),
    }
    // A bootstrap that was written for another version of Envoy still starts.
    args.push("--allow-unknown-static-fields".into());
    args
}

/// The content of the override; Envoy starts without it if it cannot be read (`AGT-49`).
fn read_override(path: &Path) -> Option<String> {
    fs::read_to_string(path)
        .inspect_err(|error| warn!(path = %path.display(), %error, "starting without the bootstrap override"))
        .ok()
}

fn write(path: &Path, text: &str) -> Result<(), PrepareError> {
    use io::Write as _;
    let opened = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(failed("write", path))
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => debug!(path = %path.display(), %error, "cannot remove"),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrepareError {
    let path = path.to_owned();
    move |source| PrepareError::File { action, path, source }
}
