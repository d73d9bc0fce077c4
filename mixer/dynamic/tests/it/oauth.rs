//! Tokens from an endpoint behind TLS (`spec 02` §10.5).

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use mesh_api::istio::policy::v1beta1::authentication::AuthType;
use mesh_api::istio::policy::v1beta1::tls::TokenSource;
use mesh_api::istio::policy::v1beta1::{OAuth, Tls};
use mesh_runtime::http::serve_http;
use mesh_runtime::listen::Listener;
use mesh_runtime::tls::{CertificateFiles, ClientAuth, Credentials, HTTP_1, ServerTls};
use mesh_runtime::{Drain, Spawner};
use mesh_testing::certificates::Authority;
use mixer_attribute::Untracked;
use mixer_dynamic::Backend;
use serde_json::Value as Json;

use crate::security::{identity, path, secured, server};
use crate::world::{Attributes, env, known, until};

const SECRET: &str = "s3cret";

/// An endpoint that answers what a test says.
#[derive(Clone, Default)]
struct Endpoint(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Status and body of the next answers.
    answers: VecDeque<(u16, String)>,
    /// How often it was asked.
    asked: usize,
}

// === impl Endpoint ===

impl Endpoint {
    fn answer(&self, status: u16, body: &str) {
        self.0
            .lock()
            .unwrap()
            .answers
            .push_back((status, body.to_owned()));
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }

    /// Serves HTTPS; the URL.
    async fn serve(&self, files: CertificateFiles) -> String {
        let credentials = Credentials::load(files).await.unwrap();
        let tls = ServerTls::new(credentials, ClientAuth::None, &[HTTP_1]);
        let (socket, address) = mesh_testing::ports::listen().await.unwrap();
        let endpoint = self.clone();
        let answer = async move |headers: HeaderMap, body: String| {
            assert!(headers["authorization"].to_str().unwrap().starts_with("Basic "));
            assert_eq!(body, "grant_type=client_credentials");
            let mut state = endpoint.0.lock().unwrap();
            state.asked += 1;
            let (status, body) = state.answers.pop_front().unwrap();
            (StatusCode::from_u16(status).unwrap(), body)
        };
        let spawner = Spawner::default();
        let router = Router::new().route("/token", post(answer));
        let listener = Listener::tls(socket, tls);
        let server = serve_http("tokens", listener, router, spawner.clone(), Drain::never());
        drop(spawner.spawn("tokens", server));
        format!("https://localhost:{}/token", address.port())
    }
}

/// Asks an adapter whose connections need a token of this URL.
async fn backend(folder: &Path, address: &str, token_url: String) -> Backend {
    let secret = path(folder, "secret");
    fs::write(&secret, SECRET).unwrap();
    let oauth = OAuth {
        client_id: "mixer".to_owned(),
        client_secret: secret,
        token_url,
        ..OAuth::default()
    };
    let tls = Tls {
        ca_certificates: path(folder, "trusted.pem"),
        server_name: "adapter.test".to_owned(),
        token_source: Some(TokenSource::Oauth(oauth)),
        token_type: None,
    };
    let options = secured(address, AuthType::Tls(tls));
    Backend::build(options, &env()).await.unwrap()
}

async fn check(backend: &Backend) -> Result<(), String> {
    let attributes = Attributes::new();
    let template = known("checknothing");
    let encoder = attributes.compile(&template, &Json::Null).unwrap();
    let instance = encoder.encode(&attributes.bag, &mut Untracked).unwrap();
    let answer = backend.check(&template, instance, until()).wait().await;
    answer.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn spec_02_10_5_oauth_over_https_trusts_the_authorities_of_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (adapters, tokens) = (
        Authority::new("adapters").unwrap(),
        Authority::new("tokens").unwrap(),
    );
    let stranger = Authority::new("stranger").unwrap();
    let trusted = [adapters.certificate(), tokens.certificate()].concat();
    fs::write(folder.path().join("trusted.pem"), trusted).unwrap();
    let files = identity(&folder.path().join("adapter"), &adapters, &["adapter.test"]);
    let adapter = server(files, ClientAuth::None).await;
    let address = adapter.address().to_string();

    let endpoint = Endpoint::default();
    let url = endpoint
        .serve(identity(&folder.path().join("tokens"), &tokens, &["localhost"]))
        .await;
    let backend_of = async |url: &str| backend(folder.path(), &address, url.to_owned()).await;
    let trusting = backend_of(&url).await;
    // What goes wrong at the endpoint is told without the secret, and it is asked again.
    endpoint.answer(401, "");
    let error = check(&trusting).await.unwrap_err();
    assert!(error.contains(&url) && error.contains("401"), "{error}");
    endpoint.answer(200, "<html>");
    let error = check(&trusting).await.unwrap_err();
    assert!(error.contains("the answer is no token"), "{error}");
    assert!(!error.contains(SECRET), "{error}");
    assert!(adapter.calls().is_empty());
    endpoint.answer(200, "{\"access_token\": \"fetched\", \"expires_in\": 3600}");
    for _ in 0..2 {
        check(&trusting).await.unwrap();
    }
    assert_eq!(endpoint.asked(), 3);
    for call in adapter.calls() {
        assert_eq!(call.metadata.get("authorization").unwrap(), "Bearer fetched");
    }

    // An endpoint whose authority is not among them is told nothing.
    let before = adapter.calls().len();
    let foreign = Endpoint::default();
    let url = foreign
        .serve(identity(
            &folder.path().join("foreign"),
            &stranger,
            &["localhost"],
        ))
        .await;
    let error = check(&backend_of(&url).await).await.unwrap_err();
    assert!(
        error.contains(&format!("cannot get a token from {url}")),
        "{error}"
    );
    // One with the name of another host neither.
    let other = Endpoint::default();
    let url = other
        .serve(identity(&folder.path().join("other"), &tokens, &["tokens.test"]))
        .await;
    check(&backend_of(&url).await).await.unwrap_err();
    assert_eq!((foreign.asked(), other.asked()), (0, 0));
    assert_eq!(adapter.calls().len(), before);
}
