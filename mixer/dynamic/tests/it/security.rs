//! Connections that are secured (`spec 02` §10.5).

use std::fs;
use std::path::Path;

use mesh_api::istio::mixer::adapter::model::v1beta1::CheckResult;
use mesh_api::istio::policy::v1beta1::authentication::AuthType;
use mesh_api::istio::policy::v1beta1::tls::{AuthHeader, TokenSource, TokenType};
use mesh_api::istio::policy::v1beta1::{Authentication, Mutual, OAuth, Tls};
use mesh_runtime::tls::{CertificateFiles, ClientAuth, Credentials, H2, IdentityFiles, ServerTls};
use mesh_testing::certificates::Authority;
use mixer_attribute::Untracked;
use mixer_dynamic::testing::FakeAdapter;
use mixer_dynamic::{Backend, BackendOptions};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{Attributes, env, known, ok, options, until};

const OURS: &str = "spiffe://cluster.local/ns/istio-system/sa/istio-mixer-service-account";

/// Certificate, key and authorities in a folder.
pub(crate) fn identity(folder: &Path, authority: &Authority, names: &[&str]) -> CertificateFiles {
    let files = authority.issue_into(folder, names).unwrap();
    CertificateFiles {
        identity: Some(IdentityFiles {
            certificate: files.certificate,
            key: files.key,
        }),
        authorities: Some(files.authorities),
    }
}

pub(crate) async fn server(files: CertificateFiles, client: ClientAuth) -> FakeAdapter {
    let credentials = Credentials::load(files).await.unwrap();
    let tls = ServerTls::new(credentials, client, &[H2]);
    FakeAdapter::listen(0, Some(tls), |_| ok(&CheckResult::default())).await
}

pub(crate) fn secured(address: &(impl ToString + ?Sized), auth_type: AuthType) -> BackendOptions {
    let mut options = options(address);
    options.connection.authentication = Some(Authentication {
        auth_type: Some(auth_type),
    });
    options
}

async fn call(options: BackendOptions) -> Result<(), String> {
    let env = env();
    let backend = Backend::build(options, &env)
        .await
        .map_err(|error| error.to_string())?;
    let attributes = Attributes::new();
    let template = known("checknothing");
    let encoder = attributes.compile(&template, &Json::Null).unwrap();
    let instance = encoder.encode(&attributes.bag, &mut Untracked).unwrap();
    let answer = backend.check(&template, instance, until()).wait().await;
    answer.map(|_| ()).map_err(|error| error.to_string())
}

pub(crate) fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[tokio::test]
async fn spec_02_10_5_tls_checks_the_server_and_shows_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("adapters").unwrap();
    let files = identity(&folder.path().join("server"), &authority, &["adapter.test"]);
    let adapter = server(files, ClientAuth::None).await;
    let token = path(folder.path(), "token");
    fs::write(&token, "secret\n").unwrap();
    let tls = Tls {
        ca_certificates: path(folder.path(), "server/ca.pem"),
        server_name: "adapter.test".to_owned(),
        token_source: Some(TokenSource::TokenPath(token)),
        token_type: None,
    };
    let header = AuthHeader::Bearer.into();
    for (token_type, name, value) in [
        (None, "authorization", "secret"),
        (Some(TokenType::AuthHeader(0)), "authorization", "secret"),
        (
            Some(TokenType::AuthHeader(header)),
            "authorization",
            "Bearer secret",
        ),
        (
            Some(TokenType::CustomHeader("X-Api-Key".to_owned())),
            "x-api-key",
            "secret",
        ),
    ] {
        let tls = Tls {
            token_type,
            ..tls.clone()
        };
        call(secured(&adapter.address(), AuthType::Tls(tls)))
            .await
            .unwrap();
        let calls = adapter.calls();
        let metadata = &calls.last().unwrap().metadata;
        assert_eq!(metadata.get(name).unwrap(), value);
    }
    let before = adapter.calls().len();
    let other_name = Tls {
        server_name: "other.test".to_owned(),
        ..tls.clone()
    };
    let other_authority = Tls {
        ca_certificates: String::new(),
        ..tls.clone()
    };
    for wrong in [other_name, other_authority] {
        call(secured(&adapter.address(), AuthType::Tls(wrong)))
            .await
            .unwrap_err();
    }
    // In plain text.
    call(options(&adapter.address())).await.unwrap_err();
    assert_eq!(adapter.calls().len(), before);
    let no_token = Tls {
        token_source: Some(TokenSource::TokenPath(path(folder.path(), "missing"))),
        ..tls
    };
    let error = call(secured(&adapter.address(), AuthType::Tls(no_token)))
        .await
        .unwrap_err();
    assert!(error.contains("cannot read "), "{error}");
}

#[tokio::test]
async fn spec_02_10_5_mutual_tls_wants_our_own_identity_on_the_other_side() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("mesh").unwrap();
    identity(&folder.path().join("client"), &authority, &[OURS]);
    let mutual = Mutual {
        private_key: path(folder.path(), "client/key.pem"),
        client_certificate: path(folder.path(), "client/cert.pem"),
        ca_certificates: path(folder.path(), "client/ca.pem"),
        server_name: String::new(),
    };
    let same = identity(&folder.path().join("same"), &authority, &[OURS]);
    let adapter = server(same, ClientAuth::Required).await;
    call(secured(&adapter.address(), AuthType::Mutual(mutual.clone())))
        .await
        .unwrap();
    assert_eq!(adapter.calls()[0].peer, [OURS]);

    let other = "spiffe://cluster.local/ns/default/sa/somebody";
    let other = identity(&folder.path().join("other"), &authority, &[other, "127.0.0.1"]);
    let adapter = server(other, ClientAuth::Required).await;
    let error = call(secured(&adapter.address(), AuthType::Mutual(mutual.clone())))
        .await
        .unwrap_err();
    assert!(!error.is_empty());
    assert!(adapter.calls().is_empty(), "a stranger of the same authority");

    let missing = Mutual {
        private_key: path(folder.path(), "nothing.pem"),
        ..mutual
    };
    let error = call(secured(&adapter.address(), AuthType::Mutual(missing)))
        .await
        .unwrap_err();
    assert!(error.contains("nothing.pem"), "{error}");
    let mut neither = options(&adapter.address());
    neither.connection.authentication = Some(Authentication { auth_type: None });
    let error = call(neither).await.unwrap_err();
    assert!(error.contains("tls or mutual is needed"), "{error}");
}

#[tokio::test]
async fn spec_02_10_5_oauth_gets_a_token_once() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("adapters").unwrap();
    let files = identity(&folder.path().join("server"), &authority, &["adapter.test"]);
    let adapter = server(files, ClientAuth::None).await;
    let (listener, address) = mesh_testing::ports::listen().await.unwrap();
    let asked = mesh_runtime::Spawner::default().spawn("token endpoint", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 65_536];
        let mut length = 0;
        while !String::from_utf8_lossy(&request[..length]).contains("audience=mesh") {
            length += stream.read(&mut request[length..]).await.unwrap();
        }
        let request = String::from_utf8_lossy(&request[..length]).to_ascii_lowercase();
        // Base64 of `mixer:s+1`, as a form writes `s 1`; in lower case as all of it.
        assert!(request.contains("authorization: basic bwl4zxi6cysx"), "{request}");
        assert!(
            request.contains("grant_type=client_credentials&scope=a+b&audience=mesh"),
            "{request}"
        );
        let body = "{\"access_token\": \"fetched\", \"token_type\": \"bearer\", \"expires_in\": 3600}";
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let secret = path(folder.path(), "secret");
    fs::write(&secret, "s 1\n").unwrap();
    let oauth = OAuth {
        client_id: "mixer".to_owned(),
        client_secret: secret,
        token_url: format!("http://{address}/token"),
        scopes: vec!["a".to_owned(), "b".to_owned()],
        endpoint_params: [("audience".to_owned(), "mesh".to_owned())].into(),
    };
    let tls = Tls {
        ca_certificates: path(folder.path(), "server/ca.pem"),
        server_name: "adapter.test".to_owned(),
        token_source: Some(TokenSource::Oauth(oauth.clone())),
        token_type: None,
    };
    let env = env();
    let options = secured(&adapter.address(), AuthType::Tls(tls.clone()));
    let backend = Backend::build(options, &env).await.unwrap();
    let attributes = Attributes::new();
    let template = known("checknothing");
    let encoder = attributes.compile(&template, &Json::Null).unwrap();
    for _ in 0..2 {
        let instance = encoder.encode(&attributes.bag, &mut Untracked).unwrap();
        backend.check(&template, instance, until()).wait().await.unwrap();
    }
    asked.join().await.unwrap();
    for call in adapter.calls() {
        assert_eq!(call.metadata.get("authorization").unwrap(), "Bearer fetched");
    }
    let wrong = OAuth {
        token_url: "ftp://nowhere".to_owned(),
        ..oauth
    };
    let tls = Tls {
        token_source: Some(TokenSource::Oauth(wrong)),
        ..tls
    };
    let error = call(secured(&adapter.address(), AuthType::Tls(tls)))
        .await
        .unwrap_err();
    assert!(error.contains("no URL of http or https"), "{error}");
}
