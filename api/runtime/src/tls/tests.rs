//! Connections over loopback with certificates that come and go.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mesh_testing::certificates::{Authority, Pair};
use mesh_testing::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::{Spawner, TaskHandle};

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

const SERVER: &str = "spiffe://cluster.local/ns/istio-system/sa/istio-galley-service-account";
const CLIENT: &str = "spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account";

/// The files of one party.
struct Party {
    folder: tempfile::TempDir,
}

// === impl Party ===

impl Party {
    fn new(authority: &Authority, names: &[&str]) -> Self {
        let party = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        party.write(&authority.issue(names).unwrap(), authority);
        party
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, pair: &Pair, authority: &Authority) {
        fs::write(self.path().join("cert-chain.pem"), &pair.certificate).unwrap();
        fs::write(self.path().join("key.pem"), &pair.key).unwrap();
        fs::write(self.path().join("root-cert.pem"), authority.certificate()).unwrap();
    }

    fn files(&self) -> CertificateFiles {
        CertificateFiles {
            identity: Some(IdentityFiles {
                certificate: self.path().join("cert-chain.pem"),
                key: self.path().join("key.pem"),
            }),
            authorities: Some(self.path().join("root-cert.pem")),
        }
    }

    async fn credentials(&self) -> Credentials {
        Credentials::load(self.files()).await.unwrap()
    }
}

/// Accepts connections and tells the URIs of each client, by a line on the connection.
async fn serve(tls: ServerTls) -> (u16, TaskHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let spawner = Spawner::default();
    let task = spawner.clone().spawn("server", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            spawner.spawn("connection", async move {
                if let Ok((mut stream, peer)) = tls.accept(stream).await {
                    let text = peer.uris().join(",");
                    let _gone = stream.write_all(text.as_bytes()).await;
                    let _gone = stream.shutdown().await;
                }
            });
        }
    });
    (port, task)
}

/// Who the server says that the client is.
async fn ask(client: &ClientTls, port: u16) -> std::io::Result<String> {
    let mut stream = client.connect("127.0.0.1", port).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// What [`Credentials::follow`] reported.
#[derive(Clone, Default)]
struct Reports {
    updates: Arc<AtomicUsize>,
    errors: Arc<AtomicUsize>,
}

impl Reports {
    fn follow(&self, credentials: &Credentials) -> TaskHandle {
        let Self { updates, errors } = self.clone();
        let follow = credentials.clone().follow(move |outcome| {
            let count = if outcome.is_ok() { &updates } else { &errors };
            count.fetch_add(1, Ordering::SeqCst);
        });
        Spawner::default().spawn("follow", follow)
    }

    fn errors(&self) -> usize {
        self.errors.load(Ordering::SeqCst)
    }

    fn updates(&self) -> usize {
        self.updates.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn g9_3_both_ends_know_each_other_and_strangers_are_turned_away() {
    let authority = Authority::new("mesh").unwrap();
    let server = Party::new(&authority, &[SERVER, "127.0.0.1"]);
    let tls = ServerTls::new(server.credentials().await, ClientAuth::Required, &[H2]);
    let (port, _task) = serve(tls).await;

    let client = Party::new(&authority, &[CLIENT]).credentials().await;
    let names = |names: &[&str]| ServerCheck::AnyOf(names.iter().map(|&name| name.to_owned()).collect());
    for (check, fits) in [
        (ServerCheck::None, true),
        (ServerCheck::Name, true),
        (ServerCheck::Authority, true),
        (names(&["other", SERVER]), true),
        (names(&["other"]), false),
    ] {
        let answer = ask(&ClientTls::new(client.clone(), check.clone()), port).await;
        match answer {
            Ok(text) if fits => assert_eq!(text, CLIENT),
            Err(_) if !fits => {}
            other => panic!("{check:?}: {other:?}"),
        }
    }
    // Another name than that of the certificate.
    let other = ClientTls::new(client, ServerCheck::Name).with_sni("istio-pilot.istio-system");
    assert!(ask(&other, port).await.is_err());

    // A client of another authority, and one without certificate.
    let stranger = Authority::new("other").unwrap();
    let stranger = Party::new(&stranger, &[CLIENT]).credentials().await;
    assert!(
        ask(&ClientTls::new(stranger, ServerCheck::None), port)
            .await
            .is_err()
    );
    let nobody = Credentials::load(CertificateFiles::default()).await.unwrap();
    assert!(
        ask(&ClientTls::new(nobody.clone(), ServerCheck::None), port)
            .await
            .is_err()
    );
    let nobody = ClientTls::new(nobody, ServerCheck::Name);
    assert!(
        ask(&nobody, port).await.is_err(),
        "a client without authorities trusts nobody"
    );
}

#[tokio::test]
async fn g8_6_new_certificates_are_taken_and_broken_ones_change_nothing() {
    let authority = Authority::new("first").unwrap();
    let server = Party::new(&authority, &[SERVER]);
    let credentials = server.credentials().await;
    let tls = ServerTls::new(credentials.clone(), ClientAuth::None, &[HTTP_1, H2]);
    let (port, _task) = serve(tls).await;
    let reports = Reports::default();
    let _follow = reports.follow(&credentials);
    let client = |party: &Party| {
        let files = CertificateFiles {
            identity: None,
            ..party.files()
        };
        async {
            let names = ServerCheck::AnyOf(vec![SERVER.to_owned()]);
            ClientTls::new(Credentials::load(files).await.unwrap(), names)
        }
    };
    let first = client(&Party::new(&authority, &[CLIENT])).await;
    assert_eq!(ask(&first, port).await.unwrap(), "");

    // A key that does not belong to the certificate, garbage, nothing at all, and a certificate of somebody else.
    let before = credentials.current().unwrap();
    let key = server.path().join("key.pem");
    let other = authority.issue(&[SERVER]).unwrap();
    let foreign = Authority::new("foreign").unwrap().issue(&[SERVER]).unwrap();
    // At once: a file that was emptied and is not yet written would be one more reason, and each is told only once.
    let replace_key = |text: &str| {
        let new = server.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &key).unwrap();
    };
    let damage: [&dyn Fn(); 4] = [
        &|| replace_key(&other.key),
        &|| replace_key("garbage"),
        &|| fs::remove_file(&key).unwrap(),
        &|| server.write(&foreign, &authority),
    ];
    for damage in damage {
        let errors = reports.errors();
        damage();
        eventually(PATIENCE, async || {
            (reports.errors() > errors).then_some(()).ok_or("no error yet")
        })
        .await
        .unwrap();
        assert_eq!(ask(&first, port).await.unwrap(), "");
    }
    assert!(Arc::ptr_eq(&before, &credentials.current().unwrap()));
    assert_eq!(reports.updates(), 0);

    // Another authority signs: clients of the first are lost, those of the new one are served.
    let authority = Authority::new("second").unwrap();
    let second = client(&Party::new(&authority, &[CLIENT])).await;
    server.write(&authority.issue(&[SERVER]).unwrap(), &authority);
    eventually(PATIENCE, async || ask(&second, port).await)
        .await
        .unwrap();
    assert!(ask(&first, port).await.is_err());
    let told = async || {
        (reports.updates() == 1)
            .then_some(())
            .ok_or_else(|| reports.updates())
    };
    eventually(PATIENCE, told).await.unwrap();
    assert_eq!(
        credentials.current().unwrap().authorities_pem().trim(),
        authority.certificate().trim()
    );
}

#[tokio::test]
async fn p5_4_certificates_may_come_later_than_who_uses_them() {
    let authority = Authority::new("mesh").unwrap();
    let party = Party {
        folder: tempfile::tempdir().unwrap(),
    };
    let credentials = Credentials::new(party.files());
    let (port, _task) = serve(ServerTls::new(credentials.clone(), ClientAuth::None, &[H2])).await;
    let reports = Reports::default();
    let _follow = reports.follow(&credentials);
    let client = ClientTls::new(
        Credentials::load(CertificateFiles::default()).await.unwrap(),
        ServerCheck::None,
    );
    ask(&client, port).await.unwrap_err();
    party.write(
        &authority.issue(&["galley.istio-system.svc"]).unwrap(),
        &authority,
    );
    tokio::time::timeout(PATIENCE, credentials.ready()).await.unwrap();
    ask(&client, port).await.unwrap();
    let certificates = credentials.current().unwrap();
    assert!(certificates.is_for("galley.istio-system.svc") && !certificates.is_for("galley.other.svc"));
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let authority = Authority::new("mesh").unwrap();
    let party = Party::new(&authority, &[CLIENT]);
    let error = async |files: CertificateFiles| {
        let error = Credentials::load(files).await.unwrap_err();
        crate::error_chain(&error)
    };
    fs::write(party.path().join("root-cert.pem"), "nothing").unwrap();
    let text = error(party.files()).await;
    assert!(text.ends_with("root-cert.pem: holds no certificate"), "{text}");
    fs::write(party.path().join("key.pem"), authority.issue(&["a"]).unwrap().key).unwrap();
    let text = error(party.files()).await;
    assert!(
        text.contains("cert-chain.pem: does not go together with"),
        "{text}"
    );
    fs::remove_file(party.path().join("cert-chain.pem")).unwrap();
    let text = error(party.files()).await;
    assert!(
        text.starts_with("cannot read ") && text.contains("No such file"),
        "{text}"
    );
}
