//! How connections to an adapter are secured (`spec 02` §10.5).

use std::path::{Path, PathBuf};

use mesh_api::istio::policy::v1beta1::authentication::AuthType;
use mesh_api::istio::policy::v1beta1::tls::{AuthHeader, TokenSource, TokenType};
use mesh_api::istio::policy::v1beta1::{Authentication, Mutual, Tls};
use mesh_runtime::error_chain;
use mesh_runtime::tls::{CertificateFiles, ClientTls, Credentials, IdentityFiles, ServerCheck};
use mixer_adapter::Env;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

use super::oauth::TokenClient;

/// The authorities of the operating system.
pub(super) const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Set to `true`, servers of mutual TLS need not have our own SPIFFE id.
const BYPASS: &str = "BYPASS_OOP_MTLS_SAN_VERIFICATION";

/// The files of a workload's own identity.
const WORKLOAD: &str = "/etc/certs";

const AUTHORIZATION: &str = "authorization";

/// How a connection is secured.
#[derive(Debug, Default)]
pub(super) struct Security {
    /// `None`: plain text.
    pub(super) tls: Option<ClientTls>,
    token: Token,
}

/// What proves to a server who is calling.
#[derive(Debug, Default)]
enum Token {
    /// Nothing, or the certificate of the connection.
    #[default]
    None,
    /// Always the same.
    Fixed(MetadataMap),
    /// One that is fetched, and again when it expires.
    Fetched(TokenClient),
}

// === impl Security ===

impl Security {
    /// What `authentication` of a connection to `host` asks for. Certificates are followed for as long as `env` lives.
    pub(super) async fn new(
        authentication: Option<&Authentication>,
        host: &str,
        env: &Env,
    ) -> Result<Self, String> {
        match authentication.map(|authentication| &authentication.auth_type) {
            None => Ok(Self::default()),
            Some(None) => Err("connection.authentication: tls or mutual is needed".to_owned()),
            Some(Some(AuthType::Tls(tls))) => Self::tls(tls, host, env).await,
            Some(Some(AuthType::Mutual(mutual))) => Self::mutual(mutual, host, env).await,
        }
    }

    async fn tls(tls: &Tls, host: &str, env: &Env) -> Result<Self, String> {
        let files = CertificateFiles {
            identity: None,
            authorities: named(&tls.ca_certificates),
        };
        let credentials = follow(files, env).await?;
        let token = match &tls.token_source {
            None => Token::None,
            Some(TokenSource::TokenPath(path)) => Token::Fixed(fixed(path, tls.token_type.as_ref()).await?),
            Some(TokenSource::Oauth(oauth)) => {
                Token::Fetched(TokenClient::new(oauth, credentials.clone()).await?)
            }
        };
        let client = ClientTls::new(credentials, ServerCheck::Name);
        Ok(Self {
            tls: Some(client.with_sni(name(&tls.server_name, host))),
            token,
        })
    }

    async fn mutual(mutual: &Mutual, host: &str, env: &Env) -> Result<Self, String> {
        let workload = |name: &str| Path::new(WORKLOAD).join(name);
        let or_workload = |path: &str, own: &str| named(path).unwrap_or_else(|| workload(own));
        let files = CertificateFiles {
            identity: Some(IdentityFiles {
                certificate: or_workload(&mutual.client_certificate, "cert-chain.pem"),
                key: or_workload(&mutual.private_key, "key.pem"),
            }),
            authorities: Some(or_workload(&mutual.ca_certificates, "root-cert.pem")),
        };
        let credentials = follow(files, env).await?;
        let check = if std::env::var(BYPASS).is_ok_and(|value| value == "true") {
            ServerCheck::Authority
        } else {
            let own = credentials.current().map(|own| own.uris()).unwrap_or_default();
            if own.is_empty() {
                return Err(
                    "the own certificate has no SPIFFE id, by which the server could be recognized"
                        .to_owned(),
                );
            }
            ServerCheck::AnyOf(own)
        };
        let client = ClientTls::new(credentials, check);
        Ok(Self {
            tls: Some(client.with_sni(name(&mutual.server_name, host))),
            token: Token::None,
        })
    }

    /// What is sent with a call.
    pub(super) async fn credentials(&self) -> Result<MetadataMap, String> {
        match &self.token {
            Token::None => Ok(MetadataMap::new()),
            Token::Fixed(metadata) => Ok(metadata.clone()),
            Token::Fetched(client) => {
                let token = client.token().await?;
                header(AUTHORIZATION, &token)
            }
        }
    }
}

async fn follow(files: CertificateFiles, env: &Env) -> Result<Credentials, String> {
    let credentials = Credentials::load_with_bundle(files, SYSTEM_BUNDLE.into())
        .await
        .map_err(|error| error_chain(&error))?;
    let followed = credentials.clone();
    env.spawn(async move {
        if let Err(error) = followed.follow(|_| {}).await {
            tracing::warn!(error = error_chain(&error), "certificates are not followed");
        }
    });
    Ok(credentials)
}

async fn fixed(path: &str, token_type: Option<&TokenType>) -> Result<MetadataMap, String> {
    let token = secret(path).await?;
    match token_type {
        Some(TokenType::CustomHeader(name)) => header(&name.to_ascii_lowercase(), &token),
        Some(TokenType::AuthHeader(kind)) if *kind == AuthHeader::Bearer as i32 => {
            header(AUTHORIZATION, &format!("Bearer {token}"))
        }
        Some(TokenType::AuthHeader(_)) | None => header(AUTHORIZATION, &token),
    }
}

/// The content of a file, without the end of its line.
pub(super) async fn secret(path: &str) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| format!("cannot read {path}: {error}"))?;
    Ok(text.trim().to_owned())
}

fn header(name: &str, value: &str) -> Result<MetadataMap, String> {
    let key: MetadataKey<Ascii> = name
        .parse()
        .map_err(|_| format!("{name:?} is not the name of a header"))?;
    // The value is secret, and must not stand in a message.
    let mut value: MetadataValue<Ascii> = value
        .parse()
        .map_err(|_| format!("the token for the header {name} holds what no header can"))?;
    value.set_sensitive(true);
    let mut metadata = MetadataMap::new();
    metadata.insert(key, value);
    Ok(metadata)
}

fn named(path: &str) -> Option<PathBuf> {
    (!path.is_empty()).then(|| path.into())
}

fn name(server_name: &str, host: &str) -> String {
    let name = if server_name.is_empty() { host } else { server_name };
    name.to_owned()
}
