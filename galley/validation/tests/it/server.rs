//! The webhooks behind a real API server, and what kubectl shows of them.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
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
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const SOON: Duration = Duration::from_secs(60);

/// Serves both webhooks on loopback until it is dropped.
struct Server {
    port: u16,
    _connections: JoinSet<()>,
}

impl Server {
    async fn start(authority: &Authority) -> Self {
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut connections = JoinSet::new();
        connections.spawn(async move {
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
        Self {
            port,
            _connections: connections,
        }
    }
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
        ("config.istio.io", "v1alpha2", &["httpapispecs", "quotaspecs"]),
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
async fn kubectl(server: &ApiServer, args: &str, input: &str) -> Result<String, String> {
    let args: Vec<&str> = args.split_whitespace().collect();
    let output = server.admin().kubectl(&args, input).await;
    output.map_err(|error| error.to_string())
}

async fn done(server: &ApiServer, args: &str, input: &str) -> String {
    kubectl(server, args, input)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

async fn refused(server: &ApiServer, args: &str, input: &str) -> String {
    match kubectl(server, args, input).await {
        Ok(said) => panic!("not refused: {said}{input}"),
        Err(error) => error,
    }
}

fn virtual_service(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": spec,
    })
    .to_string()
}

/// A server with our kinds, an object that nobody checked, and then the webhooks.
async fn registered(webhooks: &Server, authority: &Authority) -> &'static ApiServer {
    let server = ApiServer::shared()
        .await
        .unwrap_or_else(|error| panic!("{error:?}"));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = workspace.join("charts/istio-init/files");
    done(server, &format!("apply -f {}", files.display()), "").await;
    done(
        server,
        "wait --for=condition=Established crd --all --timeout=120s",
        "",
    )
    .await;
    let unchecked = virtual_service("unchecked", &json!({"hosts": [], "http": [{"tiemout": "1s"}]}));
    done(server, "create -f -", &unchecked).await;
    let registration = registration(authority, webhooks.port).to_string();
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

#[tokio::test]
async fn g8_kubectl_shows_what_is_wrong_with_an_object() {
    let authority = Authority::new("galley").expect("an authority");
    let webhooks = Server::start(&authority).await;
    let server = registered(&webhooks, &authority).await;

    // Every sample is admitted.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let samples = workspace.join("e2e/samples");
    done(server, "create namespace istio-system", "").await;
    done(
        server,
        &format!("apply -f {}", samples.join("weather/namespace.yaml").display()),
        "",
    )
    .await;
    done(server, &format!("apply -R -f {}", samples.display()), "").await;

    // All that is wrong is shown, with its fields; in a trial too.
    let wrong = virtual_service(
        "forecast",
        &json!({"hosts": ["forecast"], "htp": [], "http": [{"retires": {"attempts": 3}}]}),
    );
    for trial in ["none", "server"] {
        let text = refused(
            server,
            &format!("apply --dry-run={trial} -n weather -f -"),
            &wrong,
        )
        .await;
        for words in [
            "admission webhook \"pilot.validation.istio.io\" denied the request: configuration is invalid: \
             VirtualService weather/forecast: 2 errors occurred:",
            "* htp: unknown field `htp`, did you mean `http`?",
            "* http[0].retires: unknown field `retires`, did you mean `retries`?",
        ] {
            assert!(text.contains(words), "{words:?} is not in {text}");
        }
    }
    // Other versions are the same to the webhook, and rules that are broken have fields too.
    let wrong = wrong.replace("v1alpha3", "v1").replace("htp", "tls");
    let wrong = wrong.replace("retires", "retries").replace(":3", ":-3");
    let text = refused(server, "create -n weather -f -", &wrong).await;
    assert!(text.contains("http[0].retries.attempts: "), "{text}");

    // Mixer's kinds have their own.
    let mixers = |kind: &str, spec: Value| {
        json!({"apiVersion": "config.istio.io/v1alpha2", "kind": kind, "metadata": {"name": "a"}, "spec": spec})
            .to_string()
    };
    let denier = mixers("denier", json!({"status": {"code": 7}}));
    done(server, "create -f -", &denier).await;
    done(server, "delete -f -", &denier).await;
    let text = refused(
        server,
        "create -f -",
        &mixers("instance", json!({"compiledTemplat": "metric"})),
    )
    .await;
    let words = "\"mixer.validation.istio.io\" denied the request: configuration is invalid: instance default/a: \
                 compiledTemplat: unknown field `compiledTemplat`, did you mean `compiledTemplate`?";
    assert!(text.contains(words), "{text}");

    // What was stored before anybody checked it can be labelled, with a warning, and removed, but not made worse.
    let label = "label --warnings-as-errors virtualservices.networking.istio.io unchecked team=weather";
    let text = refused(server, label, "").await;
    let words = "Warning: VirtualService default/unchecked: http[0].tiemout: unknown field `tiemout`";
    assert!(text.contains(words), "{text}");
    let labelled = "get virtualservices.networking.istio.io -l team=weather -o name";
    assert!(done(server, labelled, "").await.contains("unchecked"));
    let patch = "patch virtualservices.networking.istio.io unchecked --type=merge -p";
    let text = refused(server, &format!("{patch} {{\"spec\":{{\"tpc\":[]}}}}"), "").await;
    assert!(text.contains("tpc: unknown field"), "{text}");
    done(server, "delete virtualservices.networking.istio.io unchecked", "").await;

    // As large as an object may be, and wrong in its last field.
    let route = |index: usize| {
        json!({
            "match": [{"uri": {"prefix": format!("/a/rather/long/path/of/the/application/{index}")}}],
            "route": [{"destination": {"host": "forecast.weather.svc.cluster.local", "port": {"number": 3002}}}],
        })
    };
    let mut routes: Vec<Value> = (0..5_600).map(route).collect();
    let large = virtual_service("large", &json!({"hosts": ["forecast"], "http": &routes}));
    assert!(large.len() > 900_000);
    done(server, "create -n weather -f -", &large).await;
    if let Some(last) = routes.last_mut() {
        last["route"][0]["weigth"] = 100.into();
    }
    let large = virtual_service("larger", &json!({"hosts": ["forecast"], "http": &routes}));
    let text = refused(server, "create -n weather -f -", &large).await;
    assert!(
        text.contains("http[5599].route[0].weigth: unknown field `weigth`"),
        "{text}"
    );
}
