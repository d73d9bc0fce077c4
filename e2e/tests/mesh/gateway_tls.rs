//! TLS that gateways end, with certificates from mounted Secrets (patterns 3 and 4 of §7.5).
//!
//! Pattern 5, which is pattern 3 with mutual TLS inside the mesh, is in `authentication.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use e2e::sample::echo::Echo;
use hyper::Version;
use mesh_testing::certificates::{Authority, Pair};
use tokio::net::TcpStream;

use crate::support::TestMesh;
use crate::support::rule::{object, virtual_service};
use crate::support::tls::{Session, TlsClient, secret, tls_secret};

const NAMESPACE: &str = "istio-system";
const CERTS: &str = "istio-ingressgateway-certs";
const CA_CERTS: &str = "istio-ingressgateway-ca-certs";

/// Several servers of one Gateway (EX53): plain HTTP that leads to HTTPS, two servers with certificates on one port, and
/// one that asks for those of its clients (EX51).
const SERVERS: &str = "{selector: {istio: ingressgateway}, servers: [
  {port: {number: 80, name: http, protocol: HTTP}, hosts: [weather.com, new.weather.com], tls: {httpsRedirect: true}},
  {port: {number: 443, name: https, protocol: HTTPS}, hosts: [weather.com],
   tls: {mode: SIMPLE, serverCertificate: /etc/istio/ingressgateway-certs/tls.crt, privateKey: /etc/istio/ingressgateway-certs/tls.key}},
  {port: {number: 443, name: https-www, protocol: HTTPS}, hosts: [www.weather.com],
   tls: {mode: SIMPLE, serverCertificate: /etc/istio/ingressgateway-certs/tls.crt, privateKey: /etc/istio/ingressgateway-certs/tls.key}},
  {port: {number: 443, name: https-safe, protocol: HTTPS}, hosts: [safe.weather.com],
   tls: {mode: MUTUAL, serverCertificate: /etc/istio/ingressgateway-certs/tls.crt, privateKey: /etc/istio/ingressgateway-certs/tls.key,
         caCertificates: /etc/istio/ingressgateway-ca-certs/ca-chain.cert.pem}}]}";
/// R-GW-4: the rules are those of HTTP.
const RULES: &str =
    "{hosts: [weather.com, www.weather.com], gateways: [istio-system/weather-gateway], http: [
  {match: [{headers: {location: {exact: north}}}], route: [{destination: {host: frontend, subset: v2}}]},
  {route: [{destination: {host: frontend, subset: v1}}]}]}";
/// A backend without a sidecar, which would not believe what it did not see itself.
const SAFE_RULES: &str = "{hosts: [safe.weather.com], gateways: [istio-system/weather-gateway], http: [
  {route: [{destination: {host: weatherdb.outside.svc.cluster.local}}]}]}";
const HOSTS: [&str; 4] = [
    "weather.com",
    "www.weather.com",
    "safe.weather.com",
    "late.weather.com",
];

/// The authority that signs the certificate of the gateway, and the certificate.
fn server(name: &str) -> (Authority, Pair) {
    let authority = Authority::new(name).expect("an authority");
    let pair = authority.issue(&HOSTS).expect("a certificate");
    (authority, pair)
}

/// Opens a connection to the gateway from the machine.
async fn open(mesh: &TestMesh, client: &TlsClient, host: &str) -> Result<Session> {
    let url = mesh.mesh().state().ingress.https.clone();
    let url = url.context("the ingress has an https URL")?;
    let address = url.strip_prefix("https://").context("a URL")?;
    client.open(TcpStream::connect(address).await?, host).await
}

/// One request over a connection of its own.
async fn echo(mesh: &TestMesh, client: &TlsClient, host: &str, headers: &[(&str, &str)]) -> Result<Echo> {
    let mut session = open(mesh, client, host).await?;
    let answer = session.get(host, "/", headers).await?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    Ok(serde_json::from_str(&answer.body)?)
}

/// Asks for a host as long as a test wants, each time over a new connection; keeps what went wrong.
async fn ask(mesh: &TestMesh, client: &TlsClient, until: &AtomicBool) -> (usize, Vec<String>) {
    let (mut answered, mut failures) = (0, Vec::new());
    while !until.load(Ordering::Relaxed) {
        match echo(mesh, client, "weather.com", &[]).await {
            Ok(_) => answered += 1,
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    (answered, failures)
}

/// R-GW-1, R-GW-3, R-GW-4, P14.
#[tokio::test(flavor = "multi_thread")]
async fn ex_50_51_53_a_gateway_ends_tls_for_several_servers() {
    let mesh = TestMesh::start(&["../tests/mesh/gateways"]).await;
    let (authority, pair) = server("public");
    let clients = Authority::new("clients").expect("an authority");
    mesh.apply(
        &(tls_secret(NAMESPACE, CERTS, &pair)
            + &secret(
                NAMESPACE,
                CA_CERTS,
                &[("ca-chain.cert.pem", clients.certificate())],
            )
            + &object("Gateway", NAMESPACE, "weather-gateway", SERVERS)
            + &virtual_service("frontend", RULES)
            + &virtual_service("safe", SAFE_RULES)),
    )
    .await;
    let stranger = TlsClient::trusting([&authority]);
    mesh.eventually("the gateway serves its certificate", async || {
        echo(&mesh, &stranger, "weather.com", &[]).await.map(|_| ())
    })
    .await;

    ends_tls(&mesh, &stranger, &pair).await;
    leads_to_https(&mesh).await;
    answers_421(&mesh, &stranger).await;
    goes_on_beside_a_broken_server(&mesh, &stranger).await;
    asks_for_certificates(&mesh, &authority, &clients).await;
    Box::pin(takes_new_certificates(&mesh, &authority)).await;
}

/// EX50: the certificate of the gateway is shown, plain HTTP arrives, and the rules hold.
async fn ends_tls(mesh: &TestMesh, client: &TlsClient, pair: &Pair) {
    let mut session = open(mesh, client, "weather.com").await.expect("a connection");
    assert!(session.shows(pair));
    assert_eq!(session.version(), Version::HTTP_2, "ALPN");
    let answer = session.get("weather.com", "/", &[]).await.expect("answered");
    assert_eq!(answer.header("server"), "istio-envoy");
    let seen: Echo = serde_json::from_str(&answer.body).expect("an echo");
    assert_eq!(seen.headers["x-forwarded-proto"], "https");
    assert_eq!(seen.version, "v1");
    let north = echo(mesh, client, "weather.com", &[("location", "north")]).await;
    assert_eq!(north.expect("answered").version, "v2");

    // Nobody who does not know the authority goes on.
    let other = Authority::new("other").expect("an authority");
    let error = open(mesh, &TlsClient::trusting([&other]), "weather.com")
        .await
        .err();
    let error = format!("{:#}", error.expect("refused"));
    assert!(error.contains("UnknownIssuer"), "{error}");
    // R-GW-1: a server name of nobody is closed.
    assert!(open(mesh, client, "news.com").await.is_err());
}

/// EX53: what comes without TLS is told where to come, also for hosts without a rule.
async fn leads_to_https(mesh: &TestMesh) {
    for host in ["weather.com", "new.weather.com"] {
        let answer = mesh
            .get("/some/path?x=1", &[("host", host)])
            .await
            .expect("answered");
        assert_eq!(answer.status, 301, "{host}");
        assert_eq!(answer.header("location"), format!("https://{host}/some/path?x=1"));
    }
    let other = mesh
        .get("/", &[("host", "www.weather.com")])
        .await
        .expect("answered");
    assert_eq!(other.status, 404);
}

/// Spec 09, pain 29: one certificate covers all hosts, so a browser uses the connection that it has.
async fn answers_421(mesh: &TestMesh, client: &TlsClient) {
    let mut session = open(mesh, client, "weather.com").await.expect("a connection");
    for (host, status) in [
        ("weather.com", 200),
        ("www.weather.com", 421),
        ("safe.weather.com", 421),
        ("nobody.weather.com", 404),
        ("weather.com", 200),
    ] {
        let answer = session.get(host, "/", &[]).await.expect("answered");
        assert_eq!(answer.status, status, "{host}");
        if host == "www.weather.com" {
            // What a browser does then.
            let again = echo(mesh, client, host, &[]).await.expect("answered");
            assert_eq!(again.host, host);
        }
    }
}

/// Spec 09, pain 10: a server whose files do not exist makes Envoy refuse its listener, which is that of all servers on the
/// port.
async fn goes_on_beside_a_broken_server(mesh: &TestMesh, client: &TlsClient) {
    let broken = "{selector: {istio: ingressgateway}, servers: [
      {port: {number: 443, name: https, protocol: HTTPS}, hosts: [broken.weather.com],
       tls: {mode: SIMPLE, serverCertificate: /nowhere/tls.crt, privateKey: /nowhere/tls.key}}]}";
    mesh.apply(&object("Gateway", NAMESPACE, "broken", broken)).await;
    // A later change of the same listener is taken: a server for another name.
    let late = SERVERS.replace(
        "hosts: [www.weather.com]",
        "hosts: [www.weather.com, late.weather.com]",
    );
    let rules = RULES.replace(
        "[weather.com, www.weather.com]",
        "[weather.com, www.weather.com, late.weather.com]",
    );
    mesh.apply(
        &(object("Gateway", NAMESPACE, "weather-gateway", &late) + &virtual_service("frontend", &rules)),
    )
    .await;
    mesh.eventually("the others are served", async || {
        echo(mesh, client, "late.weather.com", &[]).await.map(|_| ())
    })
    .await;
    mesh.mesh()
        .delete("Gateway", NAMESPACE, "broken")
        .await
        .expect("deleted");
}

/// EX51: no certificate, or one of a stranger, is refused; the backend learns who it was, and from nobody else.
async fn asks_for_certificates(mesh: &TestMesh, authority: &Authority, clients: &Authority) {
    let host = "safe.weather.com";
    assert!(
        echo(mesh, &TlsClient::trusting([authority]), host, &[])
            .await
            .is_err(),
        "a client without a certificate"
    );
    let strangers = Authority::new("strangers").expect("an authority");
    let stranger = strangers.issue(&["client.weather.com"]).expect("a certificate");
    assert!(
        echo(mesh, &TlsClient::named([authority], &stranger), host, &[])
            .await
            .is_err(),
        "a client with a certificate of a stranger"
    );
    let known = clients.issue(&["client.weather.com"]).expect("a certificate");
    let forged = ("x-forwarded-client-cert", "Subject=\"CN=admin\"");
    let seen = echo(mesh, &TlsClient::named([authority], &known), host, &[forged])
        .await
        .expect("answered");
    let certificate = &seen.headers["x-forwarded-client-cert"];
    assert!(
        certificate.contains("DNS=client.weather.com") && !certificate.contains("admin"),
        "{certificate}"
    );
}

/// A replaced Secret is served without a failed request.
async fn takes_new_certificates(mesh: &TestMesh, old: &Authority) {
    let (new, pair) = server("renewed");
    let client = TlsClient::trusting([old, &new]);
    let done = Arc::new(AtomicBool::new(false));
    let asking = ask(mesh, &client, &done);
    let replacing = async {
        mesh.apply(&tls_secret(NAMESPACE, CERTS, &pair)).await;
        mesh.eventually("the new certificate is served", async || {
            let session = open(mesh, &client, "weather.com").await?;
            ensure!(session.shows(&pair), "the old one");
            Ok(())
        })
        .await;
        done.store(true, Ordering::Relaxed);
    };
    let ((answered, failures), ()) = tokio::join!(asking, replacing);
    assert!(failures.is_empty(), "{answered} answered, failed: {failures:?}");
    assert!(answered > 0);
}
