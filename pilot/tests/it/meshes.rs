//! Admitted means accepted: random meshes, one after another, to real Envoys that Pilot configures over ADS.
//!
//! The suite pushes a few. `MESHES` says how many instead, and `MESHES_FROM` the number of the first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use mesh_config::{Config, Kind, decode};
use mesh_testing::certificates::Authority;
use mesh_testing::objects::{self, Choices};
use mesh_testing::{Envoy, Process, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::PATIENCE;
use crate::galley::Galley;
use crate::pilot::Pilot;

/// How many meshes the suite pushes.
const MESHES: u64 = 6;

/// The proxies: their names in `/debug/syncz`, their ids and their labels.
const PROXIES: [(&str, &str, &str); 2] = [
    (
        "web-0.weather",
        "sidecar~10.1.0.7~web-0.weather~weather.svc.cluster.local",
        "web",
    ),
    (
        "gateway-0.istio-system",
        "router~10.1.0.9~gateway-0.istio-system~istio-system.svc.cluster.local",
        "web",
    ),
];

/// Runs Envoy on a network and below folders of its own: whatever port, address, socket or file a mesh names, it is
/// there and nobody else has it.
///
/// Its arguments: the folder of all proxies, the name of this one, Envoy.
const ALONE: &str = r#"
set -e
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind
echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind
mount -t tmpfs none /etc
mkdir /etc/run
mount --bind "$1" /etc/run
for folder in certs b istio; do
  mkdir /etc/$folder
  cp /etc/run/$2/*.pem /etc/$folder
done
mount -t tmpfs none /tmp
exec "$3" --config-path /etc/run/$2/bootstrap.json --disable-hot-restart --concurrency 1 --log-level error
"#;

/// A real Envoy that has only files in common with the rest of the machine.
struct Proxy {
    process: Process,
    admin: PathBuf,
}

impl Proxy {
    fn start(envoy: &Envoy, all: &Path, name: &str, id: &str, app: &str) -> Self {
        let folder = all.join(name);
        fs::create_dir_all(&folder).unwrap();
        let authority = Authority::new("mesh").unwrap();
        let pair = authority.issue(&["www.example.com"]).unwrap();
        for name in ["cert-chain", "cert"] {
            fs::write(folder.join(format!("{name}.pem")), &pair.certificate).unwrap();
        }
        for name in ["root-cert", "root"] {
            fs::write(folder.join(format!("{name}.pem")), authority.certificate()).unwrap();
        }
        fs::write(folder.join("key.pem"), &pair.key).unwrap();
        let admin = folder.join("admin");
        let bootstrap = bootstrap(name, id, app);
        fs::write(folder.join("bootstrap.json"), bootstrap.to_string()).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--", "sh", "-c", ALONE, "sh"]);
        command.arg(all).arg(name).arg(&envoy.path);
        Self {
            process: Process::start(id, command).unwrap(),
            admin,
        }
    }

    /// A page of the admin interface.
    async fn admin(&self, path: &str) -> Result<String, String> {
        let exchange = async {
            let mut stream = UnixStream::connect(&self.admin).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        exchange
            .await
            .map_err(|error| format!("{error}; {}", self.process.log()))
    }
}

fn bootstrap(name: &str, id: &str, app: &str) -> Value {
    let pipe = |path: &str| json!({ "pipe": { "path": path } });
    let ads = json!({ "ads": {}, "resourceApiVersion": "V3" });
    let cluster = |name: &str| {
        json!({
            "name": name, "type": "STATIC",
            "typedExtensionProtocolOptions": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicitHttpConfig": { "http2ProtocolOptions": {} },
            } },
            "loadAssignment": { "clusterName": name, "endpoints": [
                { "lbEndpoints": [{ "endpoint": { "address": pipe("/etc/run/xds") } }] },
            ] },
        })
    };
    json!({
        "node": { "id": id, "cluster": "mesh", "metadata": { "app": app, "istio": "ingressgateway" } },
        "admin": { "address": pipe(&format!("/etc/run/{name}/admin")) },
        // As in the bootstrap of every proxy of the mesh: patterns may be longer than Envoy's default.
        "layeredRuntime": { "layers": [
            { "name": "static", "staticLayer": { "re2.max_program_size.error_level": 32768 } },
        ] },
        "dynamicResources": {
            "cdsConfig": ads, "ldsConfig": ads,
            "adsConfig": {
                "apiType": "GRPC", "transportApiVersion": "V3",
                "grpcServices": [{ "envoyGrpc": { "clusterName": "xds-grpc" } }],
            },
        },
        "staticResources": { "clusters": [cluster("xds-grpc"), cluster("zipkin")] },
    })
}

/// Lets proxies reach Pilot through a file.
fn through_a_file(pilot: &Pilot, path: &Path, tasks: &mut JoinSet<()>) {
    let listener = UnixListener::bind(path).unwrap();
    let target = pilot.addresses.xds.unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut proxy, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut pilot = TcpStream::connect(target).await?;
                copy_bidirectional(&mut proxy, &mut pilot).await
            });
        }
    });
}

/// A service that tells which mesh a proxy has.
fn marker(number: u64) -> Config {
    let object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": format!("marker-{number}"), "namespace": "marker" },
        "spec": { "clusterIP": "10.97.0.1", "ports": [{ "name": "http", "port": 9 }] },
    });
    decode::from_json(None, &object).unwrap()
}

/// Reads a number from the environment.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What Pilot says of rejected responses, for people.
async fn complaints(pilot: &Pilot) -> String {
    let mut all = Vec::new();
    for (name, _, _) in PROXIES {
        all.push(match pilot.find_sync_status(name).await {
            Some(status) => status["errors"].to_string(),
            None => format!("{name} is not connected"),
        });
    }
    all.push(pilot.json("/debug/push_status").await["isolated"].to_string());
    all.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn r_n_13_live_envoys_accept_one_admitted_mesh_after_another() {
    let Some(envoy) = mesh_testing::envoy() else {
        return;
    };
    let mut galley = Galley::silent();
    galley.replace(objects::base());
    galley.publish();
    let pilot = Pilot::of(&galley).await;
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut tasks = JoinSet::new();
    through_a_file(&pilot, &folder.path().join("xds"), &mut tasks);
    let proxies = PROXIES.map(|(name, id, app)| Proxy::start(&envoy, folder.path(), name, id, app));

    let (count, first) = (
        number("MESHES").unwrap_or(MESHES),
        number("MESHES_FROM").unwrap_or(0),
    );
    let began = Instant::now();
    for number in first..first + count {
        let mut mesh = objects::admitted_mesh(&mut Choices::seeded(number));
        // A Sidecar may hide the marker. Then the next mesh tells that this one was taken.
        let has_sidecars = number % 2 == 1;
        mesh.retain(|object| has_sidecars || object.meta.key.kind != Kind::Sidecar);
        galley.replace(mesh.into_iter().chain([marker(number)]));
        galley.publish();
        let marked = format!("marker-{number}.marker.svc.cluster.local");
        for (proxy, (name, _, _)) in proxies.iter().zip(PROXIES) {
            eventually(PATIENCE, async || {
                let seen = if has_sidecars {
                    pilot.json("/debug/registryz").await.to_string()
                } else {
                    proxy.admin("/clusters").await?
                };
                if seen.contains(&marked) {
                    Ok(())
                } else {
                    Err(complaints(&pilot).await)
                }
            })
            .await
            .unwrap();
            pilot.synced(name).await;
        }
        let rejected = pilot.metric("pilot_total_xds_rejects").await;
        assert_eq!(
            rejected,
            0.0,
            "mesh {number}, or the one before: {}",
            complaints(&pilot).await
        );
    }
    println!("{count} meshes from {first} in {:?}: 0 rejected", began.elapsed());
}
