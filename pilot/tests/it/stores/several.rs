//! Several MCP servers, some with TLS, and files.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use mesh_testing::certificates::{Authority, Pair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{gateway, until_in_force};
use crate::galley::Galley;
use crate::pilot::Pilot;

/// A gateway of namespace `weather`.
fn of_weather(name: &str, port: u16) -> String {
    gateway(name, port).replace(
        &format!("{{name: {name}}}"),
        &format!("{{name: {name}, namespace: weather}}"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_4_several_sources_are_merged_and_all_are_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, mut second) = (Galley::silent(), Galley::silent());
    let mesh = format!(
        "configSources: [{{address: '{}'}}, {{address: 'mcp://{}'}}, {{address: 'fs://{}'}}]",
        first.address(),
        second.address(),
        directory.path().display()
    );
    let file = directory.path().join("gateways.yaml");
    std::fs::write(&file, of_weather("shared", 83) + &of_weather("of-files", 83)).unwrap();
    let pilot = Pilot::alone(&mesh, &[]).await;
    first.apply(&(of_weather("shared", 81) + &of_weather("of-first", 81)));
    assert_eq!(pilot.get("/ready").await.0, 503);
    second.apply(&(of_weather("shared", 82) + &of_weather("of-second", 82)));
    pilot.ready().await;
    let expected = ["of-files", "of-first", "of-second", "shared"];
    until_in_force(&pilot, "Gateway", &expected).await;
    let port = async || {
        let objects = pilot.json("/debug/configz").await;
        let shared = objects
            .as_array()
            .unwrap()
            .iter()
            .find(|object| object["metadata"]["name"] == "shared")
            .cloned();
        shared.unwrap()["spec"]["servers"][0]["port"]["number"].clone()
    };
    assert_eq!(port().await, 81);
    let sources = pilot.json("/debug/sourcez").await;
    assert_eq!(sources.as_array().unwrap().len(), 3, "{sources}");

    // Where one has it no longer, the next one's counts.
    std::fs::write(&file, of_weather("shared", 83)).unwrap();
    until_in_force(&pilot, "Gateway", &["of-first", "of-second", "shared"]).await;
    first.remove(mesh_config::Kind::Gateway, "weather", "shared");
    first.remove(mesh_config::Kind::Gateway, "weather", "of-first");
    first.publish();
    until_in_force(&pilot, "Gateway", &["of-second", "shared"]).await;
    assert_eq!(port().await, 82);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_3_files_are_followed_and_what_is_wrong_in_them_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let flag = format!("--configDir={}", directory.path().display());
    std::fs::write(directory.path().join("a.yaml"), of_weather("a", 80)).unwrap();
    let pilot = Pilot::alone("", &[&flag]).await;
    pilot.ready().await;
    until_in_force(&pilot, "Gateway", &["a"]).await;
    std::fs::write(directory.path().join("b.yml"), of_weather("b", 80) + "---\napiVersion: networking.istio.io/v1alpha3\nkind: Gateway\nmetadata: {name: bad}\nspec: {}\n").unwrap();
    until_in_force(&pilot, "Gateway", &["a", "b"]).await;
    let sources = pilot.json("/debug/sourcez").await;
    let problem = sources[0]["problems"][0].as_str().unwrap_or_default();
    assert!(
        problem.contains("b.yml") && problem.contains("servers"),
        "{sources}"
    );
    std::fs::remove_file(directory.path().join("a.yaml")).unwrap();
    until_in_force(&pilot, "Gateway", &["b"]).await;
}

/// Takes TLS connections of clients with certificates of the authority, and speaks to a server in plain text.
async fn terminate(pair: &Pair, clients: &Authority, server: SocketAddr) -> (SocketAddr, JoinSet<()>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(clients.certificate().as_bytes()).unwrap())
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            chain.collect::<Result<_, _>>().unwrap(),
            PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                // A handshake that fails is for the client to report.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut server = TcpStream::connect(server).await.unwrap();
                let _ends_with_either = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    (address, tasks)
}

fn write(path: &Path, pair: &Pair) {
    std::fs::write(path.join("key.pem"), &pair.key).unwrap();
    std::fs::write(path.join("cert-chain.pem"), &pair.certificate).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_4_istio_mutual_waits_for_the_certificates_of_the_mesh() {
    let authority = Authority::new("mesh").unwrap();
    let mut galley = Galley::silent();
    galley.apply(&of_weather("a", 80));
    let pair = authority.issue(&["galley.local"]).unwrap();
    let (address, _terminator) = terminate(&pair, &authority, galley.address()).await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let flags = [
        format!("--certFile={}", file("cert-chain.pem")),
        format!("--keyFile={}", file("key.pem")),
        format!("--caCertFile={}", file("root-cert.pem")),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mesh = format!(
        "configSources: [{{address: '{address}', tlsSettings: {{mode: ISTIO_MUTUAL, sni: galley.local}}}}]"
    );
    let pilot = Pilot::alone(&mesh, &flags).await;
    assert_eq!(pilot.get("/ready").await.0, 503);
    std::fs::write(file("root-cert.pem"), authority.certificate()).unwrap();
    write(directory.path(), &authority.issue(&["pilot.local"]).unwrap());
    pilot.ready().await;
    until_in_force(&pilot, "Gateway", &["a"]).await;
    galley.apply(&of_weather("b", 80));
    until_in_force(&pilot, "Gateway", &["a", "b"]).await;

    // By SIMPLE nobody shows a certificate, and the server wants one.
    let simple = mesh.replace("ISTIO_MUTUAL", "SIMPLE");
    let refused = Pilot::alone(&simple, &[]).await;
    mesh_testing::eventually(crate::PATIENCE, async || {
        let sources = refused.json("/debug/sourcez").await;
        if sources[0]["error"].is_string() {
            Ok(())
        } else {
            Err(sources)
        }
    })
    .await
    .unwrap();
    assert_eq!(refused.get("/ready").await.0, 503);
}
