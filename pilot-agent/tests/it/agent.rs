//! An agent under test, and the Envoys that it has started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::http::get;
use crate::pod::{Pod, eventually};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_pilot-agent");

/// Longer than anything takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A running agent, killed when dropped.
pub(crate) struct Agent {
    child: Child,
    pub(crate) folder: TempDir,
    admin_port: u16,
}

impl Agent {
    /// Starts `pilot-agent proxy` with the flags in the pod and waits until Envoy's admin interface answers.
    pub(crate) fn start(pod: &Pod, flags: &str, env: &[(&str, &str)]) -> Agent {
        let agent = Agent::launch(pod, flags, env);
        agent.await_admin(pod);
        agent
    }

    /// Starts without waiting. `DIR` in the flags stands for a folder of the agent's own.
    pub(crate) fn launch(pod: &Pod, flags: &str, env: &[(&str, &str)]) -> Agent {
        Agent::launch_in(pod, tempfile::tempdir().unwrap(), flags, env)
    }

    /// The same with a folder that the test has prepared.
    pub(crate) fn launch_in(pod: &Pod, folder: TempDir, flags: &str, env: &[(&str, &str)]) -> Agent {
        let flags = flags.replace("DIR", &folder.path().display().to_string());
        let envoy = mesh_testing::provision::envoy().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = pod
            .command(PROGRAM)
            .args([
                "proxy",
                "sidecar",
                "--ip",
                "10.0.0.1",
                "--aFlagOfTheFuture",
                "x",
                "--concurrency",
                "1",
            ])
            .arg("--binaryPath")
            .arg(envoy)
            .args(["--configPath", &folder.path().join("proxy").display().to_string()])
            .args(flags.split_whitespace())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut words = flags
            .split_whitespace()
            .skip_while(|word| *word != "--proxyAdminPort");
        let admin_port = words.nth(1).map_or(15000, |port| port.parse().unwrap());
        Agent {
            child,
            folder,
            admin_port,
        }
    }

    /// Waits until Envoy's admin interface answers.
    pub(crate) fn await_admin(&self, pod: &Pod) {
        self.eventually("envoy's admin interface", LONG, || {
            get(pod, self.admin_port, "/server_info")
        });
    }

    /// As [`eventually`], with the agent's log in the failure.
    pub(crate) fn eventually<T>(&self, what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
        let failure =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| eventually(what, limit, look)));
        failure.unwrap_or_else(|_| panic!("{what}: the agent's log is\n{}", self.log()))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A file in the agent's own folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The Envoys of this agent, oldest first.
    pub(crate) fn envoys(&self) -> Vec<i32> {
        let mut envoys: Vec<i32> = processes()
            .filter(|pid| parent(*pid) == i32::try_from(self.child.id()).ok())
            .collect();
        envoys.sort_unstable();
        envoys
    }

    /// The only Envoy.
    pub(crate) fn envoy(&self) -> i32 {
        match self.envoys()[..] {
            [envoy] => envoy,
            ref envoys => panic!("not one envoy but {envoys:?}:\n{}", self.log()),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits until the agent has ended.
    pub(crate) fn ended(&mut self, limit: Duration) -> ExitStatus {
        let child = &mut self.child;
        eventually("the agent's end", limit, || child.try_wait().unwrap())
    }

    /// The number that Envoy has chosen for its shared memory.
    pub(crate) fn shared_memory(&self) -> PathBuf {
        let id: u64 = fs::read_to_string(self.file("proxy/envoy-base-id"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        PathBuf::from(format!("/dev/shm/envoy_shared_memory_{}", id * 10))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let envoys = self.envoys();
        let shared_memory = self
            .file("proxy/envoy-base-id")
            .exists()
            .then(|| self.shared_memory());
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            eventually("the end of every envoy", LONG, || {
                envoys.iter().all(|pid| !alive(*pid)).then_some(())
            });
        }
        if let Some(file) = shared_memory {
            let _ = fs::remove_file(file);
        }
    }
}

fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn parent(pid: i32) -> Option<i32> {
    field(pid, "PPid:")
}

fn field(pid: i32, name: &str) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))?
        .trim()
        .parse()
        .ok()
}

/// Whether the process exists and is more than an entry that nobody has waited for.
pub(crate) fn alive(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// Writes a complete bootstrap: a listener on port 80 that leads to the application on port 8080, and with
/// the path `/direct` answers by itself; clusters and listeners also from files in the folder, so that
/// both count as delivered.
pub(crate) fn write_bootstrap(folder: &Path, admin_port: u16, port: u16) -> PathBuf {
    let manager = |port: u16| {
        serde_json::json!({
            "name": format!("listener_{port}"),
            "address": {"socket_address": {"address": "10.0.0.1", "port_value": port}},
            "additional_addresses": [{"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}],
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "test",
                    "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                        {"match": {"path": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "direct"}}},
                        {"match": {"prefix": "/"}, "route": {"cluster": "application", "timeout": "0s"}},
                    ]}]},
                    "http_filters": [{"name": "envoy.filters.http.router", "typed_config":
                        {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
                },
            }]}],
        })
    };
    let mut listener = manager(port);
    listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
    let write = |name: &str, value: serde_json::Value| {
        let file = folder.join(name);
        fs::write(&file, value.to_string()).unwrap();
        file
    };
    let lds = write("lds.json", serde_json::json!({"resources": [listener]}));
    let cds = write("cds.json", serde_json::json!({"resources": []}));
    let source = |file: PathBuf| serde_json::json!({"resource_api_version": "V3", "path_config_source": {"path": file}});
    let bootstrap = serde_json::json!({
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
        "dynamic_resources": {"lds_config": source(lds), "cds_config": source(cds)},
        "static_resources": {"clusters": [{
            "name": "application",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "application", "endpoints": [{"lb_endpoints": [{"endpoint":
                {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}}}]}]},
        }]},
    });
    write("bootstrap.json", bootstrap)
}

/// Starts an agent with the bootstrap of [`write_bootstrap`] and waits until the listener serves.
pub(crate) fn start_serving(pod: &Pod, flags: &str, env: &[(&str, &str)]) -> Agent {
    let folder = tempfile::tempdir().unwrap();
    write_bootstrap(folder.path(), 15000, 80);
    let flags = format!("--customConfigFile DIR/bootstrap.json {flags}");
    let agent = Agent::launch_in(pod, folder, &flags, env);
    agent.eventually("the listener", LONG, || {
        get(pod, 80, "/direct").filter(|answer| answer.status == 200)
    });
    agent
}
