//! Where configuration comes from: MCP servers, files, or the API server (P5.1, P5.4).

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::ArgAction;
use clap::builder::BoolishValueParser;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::istio::networking::v1alpha3::TlsSettings;
use mesh_api::istio::networking::v1alpha3::tls_settings::TlSmode;
use mesh_config::Kind;
use mesh_kube::{Client, WatchOptions};
use mesh_mcp::metrics::McpMetrics;
use mesh_mcp::sink::{Sink, SinkHandle, SinkOptions};
use mesh_runtime::Runtime;
use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::{ClientOptions, connect, connect_tls};
use mesh_runtime::tls::{CertificateFiles, ClientTls, Credentials, IdentityFiles, ServerCheck};
use pilot_registry::{ApiServerHandle, ApiServerSource, Controller, SourceInput};
use serde_json::{Value, json};

use crate::files::{self, FilesHandle};

/// What the flags say of sources.
#[derive(Clone, Debug, clap::Args)]
pub struct SourceArgs {
    /// Addresses of MCP servers, `mcp://host:port`, with mutual TLS `mcps://host:port`. Overrides `configSources` of the mesh
    /// configuration.
    #[arg(long = "mcpServerAddrs", value_delimiter = ',')]
    pub mcp_server_addrs: Vec<String>,

    /// Largest message in bytes that is accepted from an MCP server.
    #[arg(long = "mcpMaxMsgSize", default_value_t = 4 * 1024 * 1024)]
    pub mcp_max_msg_size: usize,

    /// Speak the protocol of the generation before 1.1 with MCP servers.
    #[arg(
        long = "useMcpLegacy",
        env = "USE_MCP_LEGACY",
        value_parser = BoolishValueParser::new(),
        default_value = "false",
        action = ArgAction::Set
    )]
    pub use_mcp_legacy: bool,

    /// Folder of files with configuration, where no MCP server is named.
    #[arg(long = "configDir", default_value = "", hide_default_value = true)]
    pub config_dir: String,

    /// Certificate towards MCP servers with mutual TLS.
    #[arg(long = "certFile", default_value = "/etc/certs/cert-chain.pem")]
    pub cert_file: PathBuf,

    /// Key of that certificate.
    #[arg(long = "keyFile", default_value = "/etc/certs/key.pem")]
    pub key_file: PathBuf,

    /// Authorities that MCP servers with mutual TLS are checked with.
    #[arg(long = "caCertFile", default_value = "/etc/certs/root-cert.pem")]
    pub ca_cert_file: PathBuf,
}

/// A place that configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An MCP server.
    Mcp { address: HostPort, tls: Option<Tls> },
    /// A folder of files.
    Files(PathBuf),
    /// The API server.
    ApiServer,
}

/// How an MCP server is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    files: CertificateFiles,
    check: ServerCheck,
    /// Name that the server is asked for; empty for the host of its address.
    sni: String,
}

/// Shows how a source fares.
#[derive(Clone, Debug)]
pub(crate) enum SourceHandle {
    Mcp(SinkHandle),
    Files(FilesHandle),
    ApiServer(ApiServerHandle),
}

// === impl SourceArgs ===

impl SourceArgs {
    /// The sources. The first kind of them that is configured counts: MCP servers, then files, then the API server (P5.1).
    pub(crate) fn choose(&self, mesh: &MeshConfig, has_api_server: bool) -> anyhow::Result<Vec<Source>> {
        if !self.mcp_server_addrs.is_empty() {
            return self
                .mcp_server_addrs
                .iter()
                .map(|flag| self.of_flag(flag))
                .collect();
        }
        if !mesh.config_sources.is_empty() {
            let sources = mesh.config_sources.iter();
            return sources
                .map(|source| {
                    let tls = source.tls_settings.as_ref();
                    self.of_mesh(&source.address, tls).with_context(|| {
                        format!("configSources of the mesh configuration: {:?}", source.address)
                    })
                })
                .collect();
        }
        if !self.config_dir.is_empty() {
            return Ok(vec![Source::Files(self.config_dir.clone().into())]);
        }
        if has_api_server {
            return Ok(vec![Source::ApiServer]);
        }
        bail!(
            "no source of configuration: give --mcpServerAddrs, configSources in the mesh configuration, --configDir, or \
             --kubeconfig"
        )
    }

    fn of_flag(&self, flag: &str) -> anyhow::Result<Source> {
        let (address, tls) = match flag.split_once("://") {
            Some(("mcps", address)) => (address, Some(self.mesh_certificates(&TlsSettings::default()))),
            Some(("mcp", address)) => (address, None),
            Some((scheme, _)) => bail!("{flag:?} is not the address of an MCP server: scheme {scheme:?}"),
            None => (flag, None),
        };
        let address = address
            .parse()
            .with_context(|| format!("{flag:?} is not the address of an MCP server"))?;
        Ok(Source::Mcp { address, tls })
    }

    fn of_mesh(&self, address: &str, tls: Option<&TlsSettings>) -> anyhow::Result<Source> {
        if let Some(path) = address.strip_prefix("fs://") {
            anyhow::ensure!(path.starts_with('/'), "no absolute path follows fs://");
            return Ok(Source::Files(path.into()));
        }
        let bare = address.strip_prefix("mcp://").unwrap_or(address);
        let address = bare.parse().context("not the address of an MCP server")?;
        let tls = match tls {
            Some(tls) => self.tls(tls)?,
            None => None,
        };
        Ok(Source::Mcp { address, tls })
    }

    /// How a server is spoken to. Without authorities it is not checked, as in 1.1.
    fn tls(&self, settings: &TlsSettings) -> anyhow::Result<Option<Tls>> {
        let identity = || IdentityFiles {
            certificate: settings.client_certificate.clone().into(),
            key: settings.private_key.clone().into(),
        };
        let identity = match settings.mode() {
            TlSmode::Disable => return Ok(None),
            TlSmode::IstioMutual => return Ok(Some(self.mesh_certificates(settings))),
            TlSmode::Simple => None,
            TlSmode::Mutual => {
                for (name, file) in [
                    ("clientCertificate", &settings.client_certificate),
                    ("privateKey", &settings.private_key),
                ] {
                    anyhow::ensure!(!file.is_empty(), "tlsSettings: mode MUTUAL needs {name}");
                }
                Some(identity())
            }
        };
        let authorities = &settings.ca_certificates;
        Ok(Some(Tls {
            check: match authorities.as_str() {
                "" => ServerCheck::None,
                _ => check(&settings.subject_alt_names),
            },
            files: CertificateFiles {
                identity,
                authorities: (!authorities.is_empty()).then(|| authorities.into()),
            },
            sni: settings.sni.clone(),
        }))
    }

    /// The certificates that the mesh gave to this process. They may come later than the process.
    fn mesh_certificates(&self, settings: &TlsSettings) -> Tls {
        Tls {
            files: CertificateFiles {
                identity: Some(IdentityFiles {
                    certificate: self.cert_file.clone(),
                    key: self.key_file.clone(),
                }),
                authorities: Some(self.ca_cert_file.clone()),
            },
            check: check(&settings.subject_alt_names),
            sni: settings.sni.clone(),
        }
    }
}

fn check(subject_alt_names: &[String]) -> ServerCheck {
    match subject_alt_names {
        [] => ServerCheck::Name,
        names => ServerCheck::AnyOf(names.to_vec()),
    }
}

/// What following sources takes.
pub(crate) struct Following<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) controller: &'a Controller,
    /// The kinds that are wanted of each source.
    pub(crate) kinds: &'a [Kind],
    /// The name of this process towards MCP servers.
    pub(crate) node: &'a str,
    pub(crate) max_message_bytes: usize,
    /// Speak the generation of MCP before that of 1.1.
    pub(crate) legacy: bool,
    /// The API server, its namespace, and how it is watched.
    pub(crate) api_server: Option<(&'a Client, Option<&'a str>, &'a WatchOptions)>,
}

// === impl Following ===

impl Following<'_> {
    /// Follows all sources. One that is away is asked again for ever; what it said last stays in force.
    pub(crate) fn follow(&self, sources: Vec<Source>) -> anyhow::Result<Vec<SourceHandle>> {
        let metrics = McpMetrics::register(self.runtime.metrics(), "pilot/mcp/sink")?;
        let mut handles = Vec::with_capacity(sources.len());
        for (index, source) in sources.into_iter().enumerate() {
            let input = self.controller.source(index);
            handles.push(match source {
                Source::Mcp { address, tls } => {
                    SourceHandle::Mcp(self.mcp(&address, tls, metrics.clone(), input)?)
                }
                Source::Files(path) => {
                    SourceHandle::Files(files::follow(self.runtime, path, self.kinds, input))
                }
                Source::ApiServer => SourceHandle::ApiServer(self.api_server(input)?),
            });
        }
        Ok(handles)
    }

    fn mcp(
        &self,
        address: &HostPort,
        tls: Option<Tls>,
        metrics: McpMetrics,
        input: SourceInput,
    ) -> anyhow::Result<SinkHandle> {
        let options = SinkOptions {
            max_message_bytes: self.max_message_bytes,
            legacy: self.legacy,
            // The cost of a change follows the change.
            incremental: true,
            ..SinkOptions::new(self.node, self.kinds.iter().copied())
        };
        let channel = match tls {
            None => connect(address, &ClientOptions::default())?,
            Some(tls) => connect_tls(address, &ClientOptions::default(), self.client_tls(tls))?,
        };
        let (sink, handle) = Sink::new(channel, address.to_string(), options, metrics);
        self.runtime.spawner().spawn_vital("mcp sink", sink.run(input));
        Ok(handle)
    }

    fn client_tls(&self, tls: Tls) -> ClientTls {
        let Tls { files, check, sni } = tls;
        let credentials = Credentials::new(files);
        let follow = credentials.clone().follow(|_| {});
        self.runtime.spawner().spawn("mcp certificates", async move {
            if let Err(error) = follow.await {
                tracing::error!(%error, "changes of certificates are not noticed");
            }
        });
        let client = ClientTls::new(credentials, check);
        match sni.as_str() {
            "" => client,
            name => client.with_sni(name),
        }
    }

    fn api_server(&self, input: SourceInput) -> anyhow::Result<ApiServerHandle> {
        let (client, namespace, options) = self.api_server.context("no API server")?;
        let name = "configuration of the Kubernetes API server";
        let (source, handle) = ApiServerSource::new(name, client, self.kinds, namespace, options);
        let ready = self.runtime.readiness().task(name);
        self.runtime
            .spawner()
            .spawn_vital("kubernetes configuration", source.run(input, ready));
        Ok(handle)
    }
}

// === impl SourceHandle ===

impl SourceHandle {
    /// How it stands now.
    pub(crate) fn status(&self) -> Value {
        match self {
            Self::Mcp(handle) => json!(handle.status()),
            Self::Files(handle) => handle.status(),
            Self::ApiServer(handle) => json!(handle.status()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        sources: SourceArgs,
    }

    fn choose(flags: &str, mesh: &str, has_api_server: bool) -> Result<Vec<Source>, String> {
        let words = ["pilot"].into_iter().chain(flags.split_whitespace());
        let mesh = mesh_config::mesh::parse(mesh).unwrap();
        let sources = Program::parse_from(words).sources;
        sources
            .choose(&mesh, has_api_server)
            .map_err(|error| format!("{error:#}"))
    }

    fn plain(address: &str) -> Source {
        Source::Mcp {
            address: address.parse().unwrap(),
            tls: None,
        }
    }

    #[test]
    fn p5_1_the_first_kind_of_source_that_is_configured_counts() {
        let mesh = "configSources: [{address: 'galley:9901'}, {address: 'fs:///etc/mesh'}]";
        let dir = "--configDir=/etc/config";
        let files = |path: &str| Source::Files(path.into());
        let both = vec![plain("galley:9901"), files("/etc/mesh")];
        for (flags, mesh, has_api_server, expected) in [
            (
                "--mcpServerAddrs=mcp://a:1,b:2 --configDir=/x",
                mesh,
                true,
                vec![plain("a:1"), plain("b:2")],
            ),
            (dir, mesh, true, both.clone()),
            ("", mesh, false, both),
            (dir, "", true, vec![files("/etc/config")]),
            ("", "", true, vec![Source::ApiServer]),
        ] {
            assert_eq!(
                choose(flags, mesh, has_api_server),
                Ok(expected),
                "{flags} {mesh}"
            );
        }
        assert!(
            choose("", "", false)
                .unwrap_err()
                .contains("no source of configuration")
        );
    }

    #[test]
    fn p5_4_sources_say_how_they_are_spoken_to() {
        let tls = |settings: &str| {
            let mesh = format!("configSources: [{{address: 'galley:9901', tlsSettings: {settings}}}]");
            choose("", &mesh, false).map(|mut sources| match sources.remove(0) {
                Source::Mcp { tls, .. } => tls,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(tls("{mode: DISABLE}"), Ok(None));
        let simple = tls("{mode: SIMPLE}").unwrap().unwrap();
        assert_eq!(
            (simple.check, simple.files),
            (ServerCheck::None, CertificateFiles::default())
        );
        let simple = tls("{mode: SIMPLE, caCertificates: /ca, sni: galley.local}")
            .unwrap()
            .unwrap();
        assert_eq!(
            (simple.check, simple.sni.as_str()),
            (ServerCheck::Name, "galley.local")
        );
        let mutual = tls(
            "{mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, subjectAltNames: ['spiffe://a']}",
        )
        .unwrap()
        .unwrap();
        assert_eq!(mutual.check, ServerCheck::AnyOf(vec!["spiffe://a".to_owned()]));
        let identity = mutual.files.identity.unwrap();
        assert_eq!((identity.certificate, identity.key), ("/c".into(), "/k".into()));
        let istio = tls("{mode: ISTIO_MUTUAL}").unwrap().unwrap();
        assert_eq!(istio.files.authorities, Some("/etc/certs/root-cert.pem".into()));
        let flag = choose("--mcpServerAddrs=mcps://galley:9901", "", false).unwrap();
        assert!(
            matches!(&flag[0], Source::Mcp { tls: Some(tls), .. } if *tls == istio),
            "{flag:?}"
        );

        for (flags, mesh, complaint) in [
            ("--mcpServerAddrs=http://a:1", "", "scheme \"http\""),
            (
                "--mcpServerAddrs=nowhere",
                "",
                "\"nowhere\" is not the address of an MCP server",
            ),
            (
                "",
                "configSources: [{address: 'fs://relative'}]",
                "no absolute path",
            ),
            (
                "",
                "configSources: [{address: 'galley:9901', tlsSettings: {mode: MUTUAL, privateKey: /k}}]",
                "needs clientCertificate",
            ),
        ] {
            let error = choose(flags, mesh, true).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
