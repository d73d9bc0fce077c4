//! Mutual TLS between proxies: authentication policies, and the rules of callers that match them (spec 03, §7).
//!
//! The certificates are those of an authority of the test, in Secrets as Citadel writes them.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use e2e::load::Answer;
use e2e::sample::echo::Echo;
use hyper::{Method, Uri};
use mesh_testing::certificates::{Authority, Pair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::rule::{destination_rule, object, virtual_service};
use crate::support::tls::{TlsClient, secret, tls_secret};
use crate::support::{TestMesh, exchange};

const FRONTEND: &str = "frontend-v1-0";
const FORECAST: &str = "forecast-v1-0";
/// Somebody without a sidecar.
const STRANGER: &str = "stranger-v1-0";
const FORECAST_URL: &str = "http://forecast.weather:3002/";
const TCP_ECHO_URL: &str = "http://tcp-echo.weather:9000/";
/// Who a caller was, as the proxy of the server tells the application.
const CALLER: &str = "x-forwarded-client-cert";
const SYSTEM: &str = "istio-system";
const GATEWAY_ACCOUNT: &str = "istio-ingressgateway-service-account";

/// EX50.
const GATEWAY: &str = "{selector: {istio: ingressgateway}, servers: [
  {port: {number: 443, name: https, protocol: HTTPS}, hosts: [weather.com],
   tls: {mode: SIMPLE, serverCertificate: /etc/istio/ingressgateway-certs/tls.crt, privateKey: /etc/istio/ingressgateway-certs/tls.key}}]}";
const RULES: &str = "{hosts: [weather.com], gateways: [istio-system/weather-gateway], http: [
  {route: [{destination: {host: frontend}}]}]}";

/// A running mesh whose workloads have certificates.
struct World {
    mesh: TestMesh,
    /// Holds the Secrets, which the mesh follows.
    _folder: TempDir,
    /// The authority of the mesh, that of the gateway's certificate, and the certificates that they signed.
    mesh_authority: Authority,
    forecast: Pair,
    frontend: Pair,
    public_authority: Authority,
    public: Pair,
}

fn identity(namespace: &str, account: &str) -> String {
    format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
}

/// The Secret of a service account.
fn workload_secret(authority: &Authority, namespace: &str, account: &str, pair: &Pair) -> String {
    let name = format!("istio.{account}");
    let files = [
        ("cert-chain.pem", &*pair.certificate),
        ("key.pem", &*pair.key),
        ("root-cert.pem", authority.certificate()),
    ];
    secret(namespace, &name, &files) + "type: istio.io/key-and-cert\n"
}

/// A Policy of namespace `weather`.
fn policy(name: &str, spec: &str) -> String {
    authentication("Policy", &format!("{{name: {name}, namespace: weather}}"), spec)
}

fn authentication(kind: &str, metadata: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: authentication.istio.io/v1alpha1\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n"
    )
}

// === impl World ===

impl World {
    async fn start() -> Self {
        let mesh_authority = Authority::new("mesh").expect("an authority");
        let public_authority = Authority::new("public").expect("an authority");
        let public = public_authority.issue(&["weather.com"]).expect("a certificate");
        let mut secrets = tls_secret(SYSTEM, "istio-ingressgateway-certs", &public);
        let mut issue = |namespace, account| {
            let pair = mesh_authority
                .issue(&[&identity(namespace, account)])
                .expect("a certificate");
            secrets += &workload_secret(&mesh_authority, namespace, account, &pair);
            pair
        };
        let frontend = issue("weather", "frontend");
        let forecast = issue("weather", "forecast");
        issue("weather", "tcp-echo");
        issue(SYSTEM, GATEWAY_ACCOUNT);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secrets.yaml");
        fs::write(&file, secrets).expect("written");
        let file = file.to_str().expect("a path of text");
        Self {
            mesh: TestMesh::start(&["../tests/mesh/authentication", file]).await,
            _folder: folder,
            mesh_authority,
            forecast,
            frontend,
            public_authority,
            public,
        }
    }

    /// What the server says of the caller of a call to forecast: nothing of one that showed no certificate.
    async fn caller_seen(&self, pod: &str) -> Result<Option<String>> {
        let answer = self.mesh.from(pod).get(FORECAST_URL, &[]).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        let seen: Echo = serde_json::from_str(&answer.body)?;
        Ok(seen.headers.get(CALLER).cloned())
    }

    /// A call to forecast over TLS of our own, on the wire between the node and the pod.
    async fn over_tls(&self, client: &TlsClient) -> Result<bool> {
        let stream = self.mesh.mesh().connect(FORECAST, 3002).await?;
        let mut session = client.open(stream, "forecast").await?;
        let answer = session.get("forecast", "/", &[]).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        Ok(session.shows(&self.forecast))
    }

    /// A call to forecast in plain text, on the wire between the node and the pod.
    async fn in_plain_text(&self) -> Result<Answer> {
        let stream = self.mesh.mesh().connect(FORECAST, 3002).await?;
        let uri = Uri::from_static("http://forecast:3002/");
        exchange(stream, Method::GET, &uri, &[], "").await
    }

    /// What a server of bytes makes of some.
    async fn bytes(&self, pod: &str) -> Result<String> {
        let uri = Uri::from_static(TCP_ECHO_URL);
        let mut stream = self.mesh.from(pod).connect(&uri).await?;
        stream.write_all(b"world\n").await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.context("no answer")?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// What the application sees of a request over a connection to the gateway, and whether that shows its certificate.
    async fn outside(&self) -> Result<(Echo, bool)> {
        let url = self.mesh.mesh().state().ingress.https.clone();
        let url = url.context("the ingress has an https URL")?;
        let stream = TcpStream::connect(url.strip_prefix("https://").context("a URL")?).await?;
        let client = TlsClient::trusting([&self.public_authority]);
        let mut session = client.open(stream, "weather.com").await?;
        let answer = session.get("weather.com", "/", &[]).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        Ok((serde_json::from_str(&answer.body)?, session.shows(&self.public)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_45_52_certificates_between_proxies_and_others_outside() {
    let world = World::start().await;
    let callers = "{host: forecast, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}";
    plain_at_first(&world).await;
    permissive(&world, callers).await;
    strict(&world).await;
    without_the_rule_of_callers(&world, callers).await;
    whole_mesh(&world).await;
}

/// Without a policy nobody is asked for anything.
async fn plain_at_first(world: &World) {
    for pod in [FRONTEND, STRANGER] {
        world
            .mesh
            .eventually("forecast answers", async || {
                let seen = world.caller_seen(pod).await?;
                ensure!(seen.is_none(), "{seen:?}");
                Ok(())
            })
            .await;
    }
}

/// T-503: callers with a certificate of the mesh are known, and others are served.
async fn permissive(world: &World, callers: &str) {
    let rules = policy(
        "forecast",
        "{targets: [{name: forecast}], peers: [{mtls: {mode: PERMISSIVE}}]}",
    );
    world
        .mesh
        .enforce(&(rules + &destination_rule("forecast", callers)))
        .await;
    is_known(world).await;
    let stranger = world.caller_seen(STRANGER).await.expect("served");
    assert_eq!(stranger, None);
    assert_eq!(world.in_plain_text().await.expect("served").status, 200);
}

/// EX45: the applications speak as before.
async fn is_known(world: &World) {
    world
        .mesh
        .eventually("forecast knows who calls", async || {
            let seen = world.caller_seen(FRONTEND).await?.context("no certificate")?;
            for part in [
                format!("By={}", identity("weather", "forecast")),
                format!("URI={}", identity("weather", "frontend")),
            ] {
                ensure!(seen.contains(&part), "{seen}");
            }
            Ok(())
        })
        .await;
}

/// EX45, T-501: whoever has no certificate of the mesh is refused.
async fn strict(world: &World) {
    world
        .mesh
        .enforce(&policy(
            "forecast",
            "{targets: [{name: forecast}], peers: [{mtls: {}}]}",
        ))
        .await;
    is_known(world).await;
    world
        .mesh
        .eventually("a caller without sidecar is refused", async || {
            ensure!(world.caller_seen(STRANGER).await.is_err(), "served");
            Ok(())
        })
        .await;
    assert!(world.in_plain_text().await.is_err(), "plain text on the wire");
    // Pain 15: members of a stateful set call themselves too.
    let itself = world.mesh.pod_ip(FORECAST).expect("it runs");
    let url = format!("http://{itself}:3002/");
    world.mesh.from(FORECAST).expect(200, &url, &[]).await;

    // What is on the wire is TLS with the certificate of the workload, for whoever has one of the mesh too.
    let authority = &world.mesh_authority;
    let known = TlsClient::of_mesh(authority, Some(&world.frontend));
    assert!(
        world.over_tls(&known).await.expect("served"),
        "the certificate of forecast"
    );
    assert!(
        world
            .over_tls(&TlsClient::of_mesh(authority, None))
            .await
            .is_err(),
        "no certificate"
    );
    let of_others = Authority::new("others").expect("an authority");
    let forged = of_others
        .issue(&[&identity("weather", "frontend")])
        .expect("a certificate");
    assert!(
        world
            .over_tls(&TlsClient::of_mesh(authority, Some(&forged)))
            .await
            .is_err(),
        "a certificate of others"
    );
}

/// T-508, T-511, `R-DR-31`: the two halves must match.
async fn without_the_rule_of_callers(world: &World, callers: &str) {
    let plain = "{host: forecast, trafficPolicy: {tls: {mode: DISABLE}}}";
    world.mesh.enforce(&destination_rule("forecast", plain)).await;
    is_unreachable(world).await;
    // T-512.
    world.mesh.enforce(&destination_rule("forecast", callers)).await;
    is_known(world).await;
    world.mesh.withdraw("Policy", "weather", "forecast").await;
    is_unreachable(world).await;
    world
        .mesh
        .withdraw("DestinationRule", "weather", "forecast")
        .await;
}

async fn is_unreachable(world: &World) {
    world
        .mesh
        .eventually("forecast cannot be reached", async || {
            let answer = world.mesh.from(FRONTEND).get(FORECAST_URL, &[]).await?;
            let is_refused = answer.status == 503 && answer.body.contains("upstream connect error");
            ensure!(is_refused, "{}: {}", answer.status, answer.body);
            Ok(())
        })
        .await;
}

/// EX52, T-514, §7.9: the whole mesh takes certificates only, and the gateway has two that have nothing to do with each
/// other.
async fn whole_mesh(world: &World) {
    let everybody = authentication("MeshPolicy", "{name: default}", "{peers: [{mtls: {}}]}")
        + &object(
            "DestinationRule",
            SYSTEM,
            "default",
            "{host: '*.local', trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}",
        )
        + &object("Gateway", SYSTEM, "weather-gateway", GATEWAY)
        + &virtual_service("frontend", RULES);
    world.mesh.enforce(&everybody).await;
    is_known(world).await;
    world
        .mesh
        .eventually("only callers with a certificate are served", async || {
            let answer = world.bytes(FRONTEND).await?;
            ensure!(answer == "hello world\n", "{answer:?}");
            ensure!(world.bytes(STRANGER).await.is_err(), "bytes of a stranger");
            ensure!(
                world.caller_seen(STRANGER).await.is_err(),
                "requests of a stranger"
            );
            Ok(())
        })
        .await;
    world
        .mesh
        .eventually("one certificate outside, another inside", async || {
            let (seen, is_public) = world.outside().await?;
            ensure!(
                is_public,
                "the public does not see the certificate of the gateway"
            );
            let caller = seen.headers.get(CALLER).context("no certificate inside")?;
            for part in [
                format!("By={}", identity("weather", "frontend")),
                format!("URI={}", identity(SYSTEM, GATEWAY_ACCOUNT)),
            ] {
                ensure!(caller.contains(&part), "{caller}");
            }
            Ok(())
        })
        .await;
    // The public certificate is worth nothing inside.
    let public = TlsClient::of_mesh(&world.mesh_authority, Some(&world.public));
    assert!(
        world.over_tls(&public).await.is_err(),
        "the public certificate inside"
    );
}
