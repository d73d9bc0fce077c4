//! What proxies do on the way to an upstream: TLS, localities, networks. Each on every supported Envoy.

use std::path::PathBuf;

use mesh_testing::certificates::{Authority, Pair};
use mesh_testing::{Envoy, envoys, eventually, ports};
use serde_json::json;
use tempfile::TempDir;

use crate::galley::Galley;
use crate::pilot::Pilot;
use crate::proxy::{Node, Proxy};
use crate::server::Server;

const API: &str = "api.example.com";
const IDENTITY: &str = "spiffe://cluster.local/ns/weather/sa/forecast";

/// A folder with certificates.
struct Files {
    directory: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
            authority: Authority::new("test").unwrap(),
        };
        std::fs::write(files.path("ca.pem"), files.authority.certificate()).unwrap();
        let client = files.authority.issue(&["client.example.com"]).unwrap();
        std::fs::write(files.path("cert.pem"), client.certificate).unwrap();
        std::fs::write(files.path("key.pem"), client.key).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn issue(&self, names: &[&str]) -> Pair {
        self.authority.issue(names).unwrap()
    }
}

/// A ServiceEntry with an HTTP port 80 and endpoints on loopback, to which the gateway leads.
pub(crate) fn entry(host: &str, extra: &str, endpoints: &[(u16, &str)]) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(port, more)| format!("{{address: 127.0.0.1, ports: {{http: {port}}}{more}}}"))
        .collect();
    format!(
        "{{apiVersion: networking.istio.io/v1alpha3, kind: ServiceEntry, metadata: {{name: {host}, namespace: weather}},
           spec: {{hosts: [{host}], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: STATIC,
                   {extra} endpoints: [{}]}}}}
---
{{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {{name: {host}, namespace: weather}},
           spec: {{hosts: [{host}], gateways: [edge],
                   http: [{{retries: {{attempts: 0}}, route: [{{destination: {{host: {host}}}}}]}}]}}}}",
        endpoints.join(", ")
    )
}

fn policy(host: &str, policy: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {{name: {host}, namespace: weather}},
           spec: {{host: {host}, trafficPolicy: {{{policy}}}}}}}"
    )
}

/// A mesh with nothing but these objects, and one proxy.
pub(crate) async fn mesh(
    envoy: &Envoy,
    objects: &[String],
    settings: &str,
    flags: &[&str],
    node: &Node<'_>,
) -> (Galley, Pilot, Proxy) {
    let port = ports::unused().unwrap();
    let mut galley = Galley::silent();
    galley.set(&objects.join("\n---\n"));
    galley.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: edge-0, namespace: weather, labels: {{app: edge}}}},
           spec: {{containers: [{{name: istio-proxy}}]}}, status: {{phase: Running, podIP: 10.1.0.5}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: edge, namespace: weather}},
           spec: {{clusterIP: 10.0.1.5, selector: {{app: edge}}, ports: [{{name: http2, port: {port}}}]}}}}
---
{{apiVersion: networking.istio.io/v1alpha3, kind: Gateway, metadata: {{name: edge, namespace: weather}},
           spec: {{selector: {{app: edge}},
                   servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ['*']}}]}}}}"
    ));
    let pilot = Pilot::start(&galley, flags).await;
    std::fs::write(pilot.mesh_config(), format!("accessLogFile: \"\"\n{settings}\n")).unwrap();
    pilot.ready().await;
    let proxy = Proxy::start(envoy, &pilot, port, node);
    (galley, pilot, proxy)
}

async fn plain_mesh(envoy: &Envoy, objects: &[String]) -> (Galley, Pilot, Proxy) {
    mesh(envoy, objects, "", &[], &Node::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn section_6_6_simple_originates_tls() {
    let files = Files::new();
    for envoy in envoys() {
        let server = Server::tls("api", &files.issue(&["api.example.com"]), None).await;
        let (mut galley, _pilot, proxy) =
            plain_mesh(&envoy, &[entry("api.example.com", "", &[(server.port, "")])]).await;
        // The server speaks TLS only.
        proxy.until(API, "refused", |answer| answer.status != 200).await;

        galley.apply(&policy("api.example.com", "tls: {mode: SIMPLE}"));
        let answer = proxy.expect(API, 200).await;
        assert_eq!(answer.field("sni"), json!("api.example.com"));
        assert_eq!(answer.field("client"), json!(false));

        // Names are checked when somebody vouches for them.
        let verified = |name: &str| {
            let ca = files.text("ca.pem");
            let tls = format!(
                "tls: {{mode: SIMPLE, sni: front.example.com, caCertificates: {ca}, subjectAltNames: [{name}]}}"
            );
            policy("api.example.com", &tls)
        };
        galley.apply(&verified("other.example.com"));
        proxy.expect(API, 503).await;
        let stats = proxy.admin("/stats?filter=fail_verify_san").await.unwrap();
        let refused = |line: &str| !line.ends_with(": 0") && line.contains("api.example.com");
        assert!(stats.lines().any(refused), "{stats}");
        galley.apply(&verified("api.example.com"));
        let answer = proxy.expect(API, 200).await;
        assert_eq!(answer.field("sni"), json!("front.example.com"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn section_6_6_mutual_shows_a_certificate() {
    let files = Files::new();
    for envoy in envoys() {
        let pair = files.issue(&["api.example.com"]);
        let server = Server::tls("api", &pair, Some(&files.authority)).await;
        let objects = [
            entry(
                "api.example.com",
                "subjectAltNames: [api.example.com],",
                &[(server.port, "")],
            ),
            policy("api.example.com", "tls: {mode: SIMPLE}"),
        ];
        let (mut galley, _pilot, proxy) = plain_mesh(&envoy, &objects).await;
        proxy.expect(API, 503).await;

        let (cert, key, ca) = (
            files.text("cert.pem"),
            files.text("key.pem"),
            files.text("ca.pem"),
        );
        let tls = format!(
            "tls: {{mode: MUTUAL, clientCertificate: {cert}, privateKey: {key}, caCertificates: {ca}}}"
        );
        galley.apply(&policy("api.example.com", &tls));
        let answer = proxy.expect(API, 200).await;
        assert_eq!(answer.field("client"), json!(true));
    }
}

/// The bytes are TLS with the certificates of the mesh, and nobody but the service accounts of the service may answer.
/// `R-DR-29`.
#[tokio::test(flavor = "multi_thread")]
async fn ex_45_r_dr_29_istio_mutual_uses_the_certificates_of_the_mesh() {
    let files = Files::new();
    let node = || Node {
        metadata: vec![
            ("TLS_CLIENT_CERT_CHAIN", files.text("cert.pem")),
            ("TLS_CLIENT_KEY", files.text("key.pem")),
            ("TLS_CLIENT_ROOT_CERT", files.text("ca.pem")),
        ],
        ..Node::default()
    };
    for envoy in envoys() {
        let forecast = Server::tls("forecast", &files.issue(&[IDENTITY]), Some(&files.authority)).await;
        let impostor = files.issue(&["spiffe://cluster.local/ns/weather/sa/other"]);
        let impostor = Server::tls("impostor", &impostor, Some(&files.authority)).await;
        let host = "forecast.weather.svc.cluster.local";
        let entry_at = |port| {
            let extra = format!("location: MESH_INTERNAL, subjectAltNames: [\"{IDENTITY}\"],");
            entry(host, &extra, &[(port, "")])
        };
        let objects = [entry_at(forecast.port), policy(host, "tls: {mode: ISTIO_MUTUAL}")];
        let (mut galley, _pilot, proxy) = mesh(&envoy, &objects, "", &[], &node()).await;

        let answer = proxy.expect(host, 200).await;
        assert_eq!(answer.field("alpn"), json!("istio"));
        assert_eq!(answer.field("sni"), json!(format!("outbound_.80_._.{host}")));
        assert_eq!(answer.field("client"), json!(true));

        galley.apply(&entry_at(impostor.port));
        proxy.expect(host, 503).await;
        assert_eq!(impostor.requests(), 0);
    }
}

/// Envoy leaves out a cluster whose files it does not find, and takes everything else.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_with_files_that_do_not_exist_harms_its_own_cluster_only() {
    for envoy in envoys() {
        let good = Server::plain("good").await;
        let bad = Server::plain("bad").await;
        let objects = [
            entry("good.example.com", "", &[(good.port, "")]),
            entry("bad.example.com", "", &[(bad.port, "")]),
            policy(
                "bad.example.com",
                "tls: {mode: SIMPLE, caCertificates: /nonexistent/ca.pem}",
            ),
        ];
        let (mut galley, pilot, proxy) = plain_mesh(&envoy, &objects).await;
        proxy.expect("good.example.com", 200).await;
        let refused = proxy.expect("bad.example.com", 503).await;
        assert_eq!(bad.requests(), 0, "{refused:?}");
        assert!(proxy.log().contains("/nonexistent/ca.pem"), "{}", proxy.log());
        let found = async || {
            let status = pilot.json("/debug/push_status").await;
            let isolated: Vec<String> = status["isolated"].as_object().unwrap().keys().cloned().collect();
            if isolated == ["DestinationRule weather/bad.example.com"] {
                Ok(())
            } else {
                Err(isolated.join(", "))
            }
        };
        eventually(crate::PATIENCE, found).await.unwrap();

        // What comes later arrives as well.
        let new = Server::plain("new").await;
        galley.apply(&entry("new.example.com", "", &[(new.port, "")]));
        proxy.expect("new.example.com", 200).await;
        galley.apply(&policy("bad.example.com", "tls: {mode: DISABLE}"));
        proxy.expect("bad.example.com", 200).await;

        // What was called in plain text before is not called so any more.
        galley.apply(&policy(
            "new.example.com",
            "tls: {mode: SIMPLE, caCertificates: /nonexistent/ca.pem}",
        ));
        proxy.expect("new.example.com", 503).await;
        let before = new.requests();
        proxy.expect("new.example.com", 503).await;
        assert_eq!(new.requests(), before);
        proxy.expect("good.example.com", 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_6_the_next_region_takes_over_and_only_then() {
    for envoy in envoys() {
        let (near, far, farther) =
            tokio::join!(Server::plain("us"), Server::plain("eu"), Server::plain("asia"));
        let endpoints = [
            (near.port, ", locality: us/a"),
            (far.port, ", locality: eu/a"),
            (farther.port, ", locality: asia/a"),
        ];
        let objects = [
            entry("api.example.com", "", &endpoints),
            policy(
                "api.example.com",
                "outlierDetection: {consecutiveErrors: 1, interval: 100ms, baseEjectionTime: 600s, maxEjectionPercent: 100}",
            ),
        ];
        let node = Node {
            locality: "us/a/1",
            ..Node::default()
        };
        let settings = "localityLbSetting: {failover: [{from: us, to: eu}]}";
        let flags = ["--enableLocalityLoadBalancing=true"];
        let (_galley, _pilot, proxy) = mesh(&envoy, &objects, settings, &flags, &node).await;
        // The settings reach the proxy as an edit of the mesh configuration.
        proxy
            .until(API, "answered by us", |answer| answer.status == 200)
            .await;
        let served = async || {
            let clusters = proxy.admin("/clusters").await.unwrap_or_default();
            clusters.contains("::priority::2")
        };
        eventually(crate::PATIENCE, async || {
            if served().await {
                Ok(())
            } else {
                Err("no priorities")
            }
        })
        .await
        .unwrap();
        let before = [near.requests(), far.requests(), farther.requests()];
        for _ in 0..20 {
            assert_eq!(proxy.get(API).await.unwrap().field("server"), json!("us"));
        }
        assert_eq!([far.requests(), farther.requests()], before[1..]);

        drop(near);
        proxy
            .until(API, "answered by eu", |answer| answer.body.contains("\"eu\""))
            .await;
        for _ in 0..20 {
            assert_eq!(proxy.get(API).await.unwrap().field("server"), json!("eu"));
        }
        assert_eq!(farther.requests(), before[2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_6_localities_get_the_shares_that_somebody_fixed() {
    for envoy in envoys() {
        let (near, far, unlisted) =
            tokio::join!(Server::plain("us"), Server::plain("eu"), Server::plain("asia"));
        let endpoints = [
            (near.port, ", locality: us/a"),
            (far.port, ", locality: eu/a"),
            (unlisted.port, ", locality: asia/a"),
        ];
        let objects = [entry("api.example.com", "", &endpoints)];
        let node = Node {
            locality: "us/a/1",
            ..Node::default()
        };
        let settings = "localityLbSetting: {distribute: [{from: us/*, to: {us: 80, eu: 20}}]}";
        let flags = ["--enableLocalityLoadBalancing=true"];
        let (_galley, _pilot, proxy) = mesh(&envoy, &objects, settings, &flags, &node).await;
        proxy.expect(API, 200).await;
        let port = unlisted.port.to_string();
        let reduced = async || match proxy.admin("/clusters").await {
            Ok(clusters) if !clusters.contains(&port) && clusters.contains("api.example.com") => Ok(()),
            other => Err(format!("{other:?}")),
        };
        eventually(crate::PATIENCE, reduced).await.unwrap();

        let before = [near.requests(), far.requests(), unlisted.requests()];
        for _ in 0..200 {
            assert_eq!(proxy.get(API).await.unwrap().status, 200);
        }
        let counts = [near.requests() - before[0], far.requests() - before[1]];
        assert!(
            (150..=170).contains(&counts[0]) && counts[0] + counts[1] == 200,
            "{counts:?}"
        );
        assert_eq!(unlisted.requests(), before[2]);
    }
}

/// Endpoints of another network are called through its gateway; a changed file takes effect.
#[tokio::test(flavor = "multi_thread")]
async fn p10_5_other_networks_are_reached_through_their_gateways() {
    for envoy in envoys() {
        let (local, remote, gateway) = tokio::join!(
            Server::plain("local"),
            Server::plain("remote"),
            Server::plain("gateway")
        );
        let endpoints = [(local.port, ", network: n1"), (remote.port, ", network: n2")];
        let objects = [entry("api.example.com", "location: MESH_INTERNAL,", &endpoints)];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("meshNetworks");
        std::fs::write(&file, "networks: {n1: {endpoints: []}, n2: {endpoints: []}}").unwrap();
        let flag = format!("--networksConfig={}", file.display());
        let node = Node {
            metadata: vec![("NETWORK", "n1".to_owned())],
            ..Node::default()
        };
        let (_galley, _pilot, proxy) = mesh(&envoy, &objects, "", &[&flag], &node).await;
        proxy.expect(API, 200).await;
        for _ in 0..10 {
            assert_eq!(proxy.get(API).await.unwrap().field("server"), json!("local"));
        }

        let networks = format!(
            "networks: {{n1: {{endpoints: []}}, n2: {{endpoints: [], gateways: [{{address: localhost, port: {}}}]}}}}",
            gateway.port
        );
        std::fs::write(&file, networks).unwrap();
        proxy
            .until(API, "answered by the gateway", |answer| {
                answer.body.contains("\"gateway\"")
            })
            .await;
        assert_eq!(remote.requests(), 0);
    }
}
