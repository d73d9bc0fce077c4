//! Servers that proxies call: they say in their answer who called, and how.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mesh_testing::certificates::{Authority, Pair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A server of HTTP/1.1. It ends when it is dropped, with the connections that it has open.
pub(crate) struct Server {
    pub(crate) port: u16,
    requests: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Server {
    /// In plain text.
    pub(crate) async fn plain(name: &'static str) -> Self {
        Self::start(name, None).await
    }

    /// With a certificate. Clients need one of the authority when there is one.
    pub(crate) async fn tls(name: &'static str, pair: &Pair, clients: Option<&Authority>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let certificate = CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap();
                roots.add(certificate).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let mut config = builder
            .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
            .unwrap();
        config.alpn_protocols = vec![b"istio".to_vec(), b"http/1.1".to_vec()];
        Self::start(name, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(name: &'static str, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                connections.spawn(connection(
                    name,
                    stream,
                    peer,
                    acceptor.clone(),
                    Arc::clone(&counter),
                ));
            }
        });
        Self {
            port,
            requests,
            _task: task,
        }
    }

    /// How many requests it has answered.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn connection(
    name: &'static str,
    stream: TcpStream,
    _peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    requests: Arc<AtomicUsize>,
) {
    let Some(acceptor) = acceptor else {
        answer(stream, &json!({ "server": name, "tls": false }), &requests).await;
        return;
    };
    // A handshake that fails is the end of the connection, and for the client to report.
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let session = stream.get_ref().1;
    let about = json!({
        "server": name,
        "tls": true,
        "sni": session.server_name(),
        "alpn": session.alpn_protocol().map(String::from_utf8_lossy),
        "client": session.peer_certificates().is_some_and(|chain| !chain.is_empty()),
    });
    answer(stream, &about, &requests).await;
}

/// Answers every request of a connection.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, about: &Value, requests: &AtomicUsize) {
    let body = about.to_string();
    let mut received = Vec::new();
    loop {
        while let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            received.drain(..end + 4);
            requests.fetch_add(1, Ordering::SeqCst);
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
        }
    }
}
