//! Both webhooks behind HTTPS, registered with the API server that the tests share.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use galley_validation::Webhook;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mesh_testing::certificates::Authority;
use mesh_testing::eventually;
use mesh_testing::kube::ApiServer;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const SOON: Duration = Duration::from_secs(60);

/// Serves both webhooks on loopback, beside the runtimes of the tests, for as long as the process lives; the port.
fn serve(authority: &Authority) -> u16 {
    let pair = authority.issue(&["127.0.0.1"]).expect("a certificate");
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>().expect("a chain"), key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (port, bound) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let _ = port.send(listener.local_addr().expect("an address").port());
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                open.spawn(async move {
                    // A handshake that fails is for the API server to report.
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection
                        .serve_connection(TokioIo::new(stream), service_fn(answer))
                        .await;
                });
            }
        });
    });
    bound.recv().expect("a port")
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let webhook = [Webhook::Pilot, Webhook::Mixer]
        .into_iter()
        .find(|webhook| webhook.path() == request.uri().path());
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    let content_type = content_type.as_ref().and_then(|value| value.to_str().ok());
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let mut response = Response::default();
    if let Some(webhook) = webhook {
        let answer = webhook.answer(content_type, &body);
        *response.status_mut() = answer.status.try_into().expect("a status");
        *response.body_mut() = answer.body.into();
    }
    Ok(response)
}

/// What registers both webhooks (G8.1).
fn registration(authority: &Authority, port: u16) -> Value {
    let webhook = |name: &str, path: &str, rules: &[(&str, &str, &[&str])]| {
        let rules: Vec<_> = rules
            .iter()
            .map(|(group, version, resources)| {
                json!({
                    "operations": ["CREATE", "UPDATE", "DELETE"],
                    "apiGroups": [group],
                    "apiVersions": [version],
                    "resources": resources,
                })
            })
            .collect();
        json!({
            "name": name,
            "clientConfig": {
                "url": format!("https://127.0.0.1:{port}{path}"),
                "caBundle": BASE64.encode(authority.certificate()),
            },
            "rules": rules,
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 30,
        })
    };
    let pilots = [
        ("networking.istio.io", "*", &["*"][..]),
        ("authentication.istio.io", "*", &["*"]),
        ("rbac.istio.io", "*", &["*"]),
        (
            "config.istio.io",
            "v1alpha2",
            &[
                "httpapispecs",
                "httpapispecbindings",
                "quotaspecs",
                "quotaspecbindings",
            ],
        ),
    ];
    let mixers = [(
        "config.istio.io",
        "v1alpha2",
        &["rules", "handlers", "instances", "attributemanifests", "deniers"][..],
    )];
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "istio-galley"},
        "webhooks": [
            webhook("pilot.validation.istio.io", Webhook::Pilot.path(), &pilots),
            webhook("mixer.validation.istio.io", Webhook::Mixer.path(), &mixers),
        ],
    })
}

/// Runs kubectl with arguments that are separated by blanks; what it prints, or says when it fails.
pub(crate) async fn kubectl(server: &ApiServer, args: &str, input: &str) -> Result<String, String> {
    let output = server.admin().run(args, input).await;
    output.map_err(|error| error.to_string())
}

/// Runs kubectl where it must not fail.
pub(crate) async fn done(server: &ApiServer, args: &str, input: &str) -> String {
    kubectl(server, args, input)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Runs kubectl where it must fail; what it says.
pub(crate) async fn refused(server: &ApiServer, args: &str, input: &str) -> String {
    match kubectl(server, args, input).await {
        Ok(said) => panic!("not refused: {said}{input}"),
        Err(error) => error,
    }
}

/// An object as users write it.
pub(crate) fn virtual_service(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": spec,
    })
    .to_string()
}

/// A server with our kinds, an object that nobody checked, and then the webhooks.
pub(crate) async fn registered() -> &'static ApiServer {
    static REGISTERED: OnceCell<&ApiServer> = OnceCell::const_new();
    REGISTERED.get_or_init(register).await
}

async fn register() -> &'static ApiServer {
    let server = ApiServer::shared_with_kinds()
        .await
        .unwrap_or_else(|error| panic!("{error:?}"));
    let unchecked = virtual_service("unchecked", &json!({"hosts": [], "http": [{"tiemout": "1s"}]}));
    done(server, "create -f -", &unchecked).await;
    let authority = Authority::new("galley").expect("an authority");
    let registration = registration(&authority, serve(&authority)).to_string();
    done(server, "apply -f -", &registration).await;
    let probe = virtual_service("probe", &json!({"nonsense": 1}));
    let probed = eventually(SOON, async || {
        match kubectl(server, "create --dry-run=server -f -", &probe).await {
            Ok(_) => Err("the webhook is not asked yet".to_owned()),
            Err(error) if error.contains("denied the request") => Ok(()),
            Err(error) => Err(error),
        }
    });
    probed.await.unwrap_or_else(|error| panic!("{error}"));
    server
}
