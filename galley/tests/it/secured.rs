//! MCP over mutual TLS, and who is served (G9.3).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use mesh_config::Kind;
use mesh_runtime::grpc::{self, ClientOptions};
use mesh_runtime::tls::{CertificateFiles, ClientTls, Credentials, IdentityFiles, ServerCheck};
use mesh_testing::certificates::{Authority, Pair};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::harness::{ConfigDir, Galley, TestSink, gateway, within};

const GALLEY: &str = "spiffe://cluster.local/ns/istio-system/sa/istio-galley-service-account";
const PILOT: &str = "spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account";
const OTHER: &str = "spiffe://cluster.local/ns/weather/sa/frontend";

/// A folder with the files of one identity.
struct Identity {
    folder: TempDir,
}

// === impl Identity ===

impl Identity {
    fn new(authority: &Authority, id: &str) -> Self {
        let identity = Self {
            folder: TempDir::new().unwrap(),
        };
        identity.write(&authority.issue(&[id]).unwrap(), authority);
        identity
    }

    fn write(&self, pair: &Pair, authority: &Authority) {
        fs::write(self.path().join("cert-chain.pem"), &pair.certificate).unwrap();
        fs::write(self.path().join("key.pem"), &pair.key).unwrap();
        fs::write(self.path().join("root-cert.pem"), authority.certificate()).unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    /// A channel of a sink with this identity, which expects to meet Galley.
    async fn channel(&self, galley: &Galley) -> Channel {
        let credentials = Credentials::load(CertificateFiles {
            identity: Some(IdentityFiles {
                certificate: self.path().join("cert-chain.pem"),
                key: self.path().join("key.pem"),
            }),
            authorities: Some(self.path().join("root-cert.pem")),
        })
        .await
        .unwrap();
        let tls = ClientTls::new(credentials, ServerCheck::AnyOf(vec![GALLEY.to_owned()]));
        let address = galley.mcp.to_string().parse().unwrap();
        grpc::connect_tls(&address, &ClientOptions::default(), tls).unwrap()
    }

    async fn sink(&self, galley: &Galley) -> TestSink {
        TestSink::start_on(self.channel(galley).await, &[Kind::Gateway])
    }
}

fn start(config: &ConfigDir, identity: &Identity, list: &Path) -> Galley {
    Galley::start_with(
        config.path(),
        "127.0.0.1:0",
        &[
            &format!("--tlsCertFile={}", identity.file("cert-chain.pem")),
            &format!("--tlsKeyFile={}", identity.file("key.pem")),
            &format!("--caCertFile={}", identity.file("root-cert.pem")),
            &format!("--accessListFile={}", list.display()),
        ],
    )
}

async fn refused(sink: &TestSink) -> String {
    within("refusal", async || sink.handle.status().error).await
}

#[tokio::test]
async fn g9_3_who_is_in_the_list_is_served_and_the_list_may_change() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let authority = Authority::new("mesh").unwrap();
    let (own, pilot, other) = (
        Identity::new(&authority, GALLEY),
        Identity::new(&authority, PILOT),
        Identity::new(&authority, OTHER),
    );
    let list = own.path().join("accesslist.yaml");
    fs::write(&list, format!("allowed: [{PILOT}]")).unwrap();
    let galley = start(&config, &own, &list);
    let mut good = pilot.sink(&galley).await;
    good.expect(Kind::Gateway, &["weather/a"]).await;

    let mut turned_away = other.sink(&galley).await;
    let error = refused(&turned_away).await;
    assert!(error.contains("not in the access list"), "{error}");
    within("more refusals", async || {
        (galley.metric("galley_mcp_source_streams_denied_total").await >= 2.0).then_some(())
    })
    .await;
    let told = |line: &serde_json::Value| line["msg"] == "sink turned away";
    let line = galley.log_line("refusal", told).await;
    assert!(line.to_string().contains(OTHER), "{line}");
    assert_eq!(galley.log_lines(told), 1, "one line in a minute");

    // A broken list and none at all change nothing.
    fs::write(&list, "allowed: [nonsense]").unwrap();
    within("the error", async || {
        (galley.metric("galley_mcp_access_list_errors_total").await == 1.0).then_some(())
    })
    .await;
    fs::remove_file(&list).unwrap();
    galley
        .log_line("removal", |line| {
            line["msg"] == "the access list is gone, the last one stays in force"
        })
        .await;
    assert!(
        refused(&other.sink(&galley).await)
            .await
            .contains("not in the access list")
    );

    // A new list lets the other in, by itself; the stream of who was served goes on.
    fs::write(&list, "isblacklist: true\nallowed: []").unwrap();
    turned_away.expect(Kind::Gateway, &["weather/a"]).await;
    config.write("a.yaml", gateway("b", 80));
    good.expect(Kind::Gateway, &["weather/b"]).await;
    assert_eq!(good.handle.status().streams, 1);
}

#[tokio::test]
async fn g9_3_strangers_do_not_get_that_far() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let authority = Authority::new("mesh").unwrap();
    let own = Identity::new(&authority, GALLEY);
    let galley = start(&config, &own, &own.path().join("none.yaml"));
    // Without a list everybody of the mesh is served, but nobody else.
    let mut anybody = Identity::new(&authority, OTHER).sink(&galley).await;
    anybody.expect(Kind::Gateway, &["weather/a"]).await;
    let stranger = Identity::new(&Authority::new("elsewhere").unwrap(), PILOT);
    fs::write(stranger.path().join("elsewhere.pem"), "").unwrap();
    // It trusts our Galley, and shows a certificate of another authority.
    let credentials = Credentials::load(CertificateFiles {
        identity: Some(IdentityFiles {
            certificate: stranger.path().join("cert-chain.pem"),
            key: stranger.path().join("key.pem"),
        }),
        authorities: None,
    })
    .await
    .unwrap();
    let address = galley.mcp.to_string().parse().unwrap();
    let tls = ClientTls::new(credentials, ServerCheck::None);
    let channel = grpc::connect_tls(&address, &ClientOptions::default(), tls).unwrap();
    let stranger = TestSink::start_on(channel, &[Kind::Gateway]);
    refused(&stranger).await;
    // Plain text is no way in either.
    let plain = TestSink::start(galley.mcp, &[Kind::Gateway]);
    refused(&plain).await;
    assert_eq!(galley.metric("galley_mcp_source_clients_total").await, 1.0);
}

#[tokio::test]
async fn g9_2_certificates_are_replaced_under_open_streams() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let first = Authority::new("first").unwrap();
    let own = Identity::new(&first, GALLEY);
    let galley = start(&config, &own, &own.path().join("none.yaml"));
    let mut old = Identity::new(&first, PILOT).sink(&galley).await;
    old.expect(Kind::Gateway, &["weather/a"]).await;

    fs::write(own.path().join("key.pem"), "broken").unwrap();
    within("the error", async || {
        (galley.metric("galley_validation_cert_key_update_errors").await >= 1.0).then_some(())
    })
    .await;
    let mut same = Identity::new(&first, PILOT).sink(&galley).await;
    same.expect(Kind::Gateway, &["weather/a"]).await;

    let second = Authority::new("second").unwrap();
    own.write(&second.issue(&[GALLEY]).unwrap(), &second);
    let mut new = Identity::new(&second, PILOT).sink(&galley).await;
    new.expect(Kind::Gateway, &["weather/a"]).await;
    config.write("a.yaml", gateway("b", 80));
    for sink in [&mut old, &mut same, &mut new] {
        sink.expect(Kind::Gateway, &["weather/b"]).await;
    }
    assert_eq!(old.handle.status().streams, 1);
}
