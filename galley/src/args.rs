//! The command line: flags of Istio 1.1 (G9.2).

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Parser, Subcommand};
use galley_processing::kube::EXCLUDED_BY_DEFAULT;
use galley_webhook::{RemoveArgs, ValidationArgs};
use mesh_kube::KubeArgs;
use mesh_runtime::Readiness;
use mesh_runtime::admin::AdminArgs;
use mesh_runtime::args::{GoDuration, ListenAddr};
use mesh_runtime::grpc::KeepaliveArgs;
use mesh_runtime::log::LogArgs;
use mesh_runtime::probe::{ProbeCheckArgs, ProbeFile};
use mesh_runtime::tls::{CertificateFiles, IdentityFiles};

/// Galley reads configuration, checks it and serves it over the Mesh Configuration Protocol.
#[derive(Debug, Parser)]
#[command(name = "galley", args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    server: Box<ServerArgs>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve configuration; also when no command is given.
    Server(Box<ServerArgs>),
    /// Serve the validation webhook only, whatever the flags say about the MCP server.
    Validator(Box<ServerArgs>),
    /// Remove the configuration of the validation webhook, where nobody answers it any more.
    RemoveWebhook(RemoveArgs),
    /// Tell by the exit code whether a probe file is fresh.
    Probe(ProbeCheckArgs),
    /// Print the version.
    Version,
}

/// Flags of `galley server`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) mcp: McpArgs,
    #[command(flatten)]
    pub(crate) certificates: CertificateArgs,
    #[command(flatten)]
    pub(crate) validation: ValidationArgs,
    #[command(flatten)]
    pub(crate) probes: ProbeArgs,
    #[command(flatten)]
    pub(crate) profiling: ProfilingArgs,
    #[command(flatten)]
    pub(crate) keepalive: KeepaliveArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Where logs go; used before the server starts.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Where configuration comes from.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct SourceArgs {
    /// File, or directory with YAML and JSON files, that holds the configuration. Without it the API server of
    /// Kubernetes does.
    #[arg(long = "configPath", value_name = "PATH", default_value = "", value_parser = maybe_path())]
    pub(crate) config_path: PathBuf,

    #[command(flatten)]
    pub(crate) kube: KubeArgs,

    /// Accepted for scripts of 1.1, which had what it knew already told to itself again at this interval; that changed
    /// nothing then and would change nothing now.
    #[arg(long = "resyncPeriod", value_name = "DURATION", default_value = "0s")]
    pub(crate) resync_period: GoDuration,

    /// Do not wait at the start until the API server says that it is ready.
    #[arg(long = "disableResourceReadyCheck", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", action = ArgAction::Set)]
    pub(crate) disable_resource_ready_check: bool,

    /// Kinds that are not read from the API server.
    #[arg(long = "excludedResourceKinds", value_name = "KINDS", value_delimiter = ',',
          default_values_t = EXCLUDED_BY_DEFAULT.map(|kind| kind.to_string()))]
    pub(crate) excluded_resource_kinds: Vec<String>,

    /// Namespace that Galley runs in; several of them agree there on who writes the status of objects.
    #[arg(
        long = "deployment-namespace",
        value_name = "NAMESPACE",
        default_value = "istio-system"
    )]
    pub(crate) deployment_namespace: String,

    /// File with the mesh configuration, which is followed. It decides which Ingresses are served.
    #[arg(
        long = "meshConfigFile",
        value_name = "PATH",
        default_value = "/etc/mesh-config/mesh"
    )]
    pub(crate) mesh_config_file: PathBuf,

    /// DNS suffix of the cluster.
    #[arg(long = "domain", value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) domain: String,

    /// Publish changes when there were none for this long.
    #[arg(long = "quiesceDuration", value_name = "DURATION", default_value = "20ms")]
    pub(crate) quiesce_duration: GoDuration,

    /// Publish changes after this long even if there are more.
    #[arg(long = "maxWaitDuration", value_name = "DURATION", default_value = "1s")]
    pub(crate) max_wait_duration: GoDuration,

    /// Serve the validation webhook. By default it is served where the API server is the source of configuration.
    #[arg(long = "enable-validation", value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) enable_validation: Option<bool>,
}

/// How configuration is served.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "MCP server")]
pub(crate) struct McpArgs {
    /// Serve configuration.
    #[arg(long = "enable-server", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "true", action = ArgAction::Set)]
    pub(crate) enable_server: bool,

    /// Address of the MCP server.
    #[arg(
        long = "server-address",
        value_name = "ADDRESS",
        default_value = "tcp://0.0.0.0:9901"
    )]
    pub(crate) server_address: ListenAddr,

    /// Serve without TLS, to everybody.
    #[arg(long = "insecure", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", action = ArgAction::Set)]
    pub(crate) insecure: bool,

    /// File with the SPIFFE ids of the sinks that are served; followed. Without it all that have a certificate of the mesh
    /// are.
    #[arg(
        long = "accessListFile",
        value_name = "PATH",
        default_value = "/etc/config/accesslist.yaml"
    )]
    pub(crate) access_list_file: PathBuf,

    #[command(flatten)]
    pub(crate) sink: SinkArgs,

    /// Largest request of a sink in bytes.
    #[arg(long = "server-maxReceivedMessageSize", value_name = "BYTES", default_value_t = 1024 * 1024)]
    pub(crate) max_received_message_size: usize,

    /// Streams that one connection may have open at once.
    #[arg(
        long = "server-maxConcurrentStreams",
        value_name = "NUMBER",
        default_value_t = 1024
    )]
    pub(crate) max_concurrent_streams: u32,

    /// Streams that may be opened at once.
    #[arg(
        long = "newConnectionBurstSize",
        value_name = "NUMBER",
        env = "NEW_CONNECTION_BURST_SIZE",
        default_value_t = 10
    )]
    pub(crate) new_connection_burst: u32,

    /// Time after which one more stream may be opened.
    #[arg(
        long = "newConnectionFreq",
        value_name = "DURATION",
        env = "NEW_CONNECTION_FREQ",
        default_value = "10ms"
    )]
    pub(crate) new_connection_freq: GoDuration,

    /// Sinks turned away that are logged at once.
    #[arg(
        long = "authzFailureLogBurstSize",
        value_name = "NUMBER",
        env = "AUTHZ_FAILURE_LOG_BURST_SIZE",
        default_value_t = 1
    )]
    pub(crate) denial_log_burst: u32,

    /// Time after which one more is logged.
    #[arg(
        long = "authzFailureLogFreq",
        value_name = "DURATION",
        env = "AUTHZ_FAILURE_LOG_FREQ",
        default_value = "1m"
    )]
    pub(crate) denial_log_freq: GoDuration,
}

/// A sink that waits to be called, instead of calling.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SinkArgs {
    /// Address of a sink that is called and served like those that call; empty for none.
    #[arg(
        long = "sinkAddress",
        value_name = "HOST:PORT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) address: String,

    /// How the sink is called: NONE, without TLS.
    #[arg(
        long = "sinkAuthMode",
        value_name = "MODE",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) auth_mode: String,

    /// Metadata that goes with the call.
    #[arg(long = "sinkMeta", value_name = "KEY=VALUE", value_delimiter = ',')]
    pub(crate) metadata: Vec<String>,
}

/// Where the certificates of this process are.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct CertificateArgs {
    /// File with the certificate, PEM.
    #[arg(
        long = "tlsCertFile",
        value_name = "PATH",
        default_value = "/etc/certs/cert-chain.pem"
    )]
    pub(crate) certificate: PathBuf,

    /// File with the private key of the certificate, PEM.
    #[arg(
        long = "tlsKeyFile",
        value_name = "PATH",
        default_value = "/etc/certs/key.pem"
    )]
    pub(crate) key: PathBuf,

    /// File with the authorities of the mesh, PEM.
    #[arg(
        long = "caCertFile",
        value_name = "PATH",
        default_value = "/etc/certs/root-cert.pem"
    )]
    pub(crate) authorities: PathBuf,
}

/// Files whose age tells how this process is (G9.1).
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Probes")]
pub(crate) struct ProbeArgs {
    /// File that is rewritten while the process lives; empty for none.
    #[arg(
        long = "livenessProbePath",
        value_name = "PATH",
        default_value = "/healthLiveness",
        value_parser = maybe_path()
    )]
    pub(crate) liveness_path: PathBuf,

    /// Age at which the liveness file is stale; it is rewritten twice as often.
    #[arg(long = "livenessProbeInterval", value_name = "DURATION", default_value = "2s")]
    pub(crate) liveness_interval: GoDuration,

    /// File that is rewritten while the process is ready; empty for none.
    #[arg(
        long = "readinessProbePath",
        value_name = "PATH",
        default_value = "/healthReadiness",
        value_parser = maybe_path()
    )]
    pub(crate) readiness_path: PathBuf,

    /// Age at which the readiness file is stale; it is rewritten twice as often.
    #[arg(
        long = "readinessProbeInterval",
        value_name = "DURATION",
        default_value = "2s"
    )]
    pub(crate) readiness_interval: GoDuration,
}

/// Flags of the profiler of 1.1, which was that of Go's runtime.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Profiling")]
pub(crate) struct ProfilingArgs {
    /// Accepted for scripts of 1.1: this program is profiled from outside, with `perf` or by its `process_*` metrics.
    #[arg(long = "enableProfiling", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", action = ArgAction::Set)]
    pub(crate) enable_profiling: bool,

    /// Accepted for scripts of 1.1; nothing listens there.
    #[arg(long = "pprofPort", value_name = "PORT", default_value_t = 9094)]
    pub(crate) pprof_port: u16,
}

/// A path that may be empty, which clap's own parser refuses.
fn maybe_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

// === impl CertificateArgs ===

impl CertificateArgs {
    /// All of them.
    pub(crate) fn files(&self) -> CertificateFiles {
        CertificateFiles {
            identity: Some(IdentityFiles {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
            }),
            authorities: Some(self.authorities.clone()),
        }
    }
}

// === impl ProbeArgs ===

impl ProbeArgs {
    /// The probe files that the flags ask for.
    pub(crate) fn files(self, readiness: &Readiness) -> impl Iterator<Item = ProbeFile> {
        let liveness = self.liveness_interval.get();
        let live = ProbeFile::new("liveness", self.liveness_path, liveness, None);
        let interval = self.readiness_interval.get();
        let ready = ProbeFile::new(
            "readiness",
            self.readiness_path,
            interval,
            Some(readiness.clone()),
        );
        live.into_iter().chain(ready)
    }
}

// === impl Args ===

impl Args {
    /// What to do: to serve, unless something else is named.
    pub fn command(self) -> Command {
        match self.command.unwrap_or(Command::Server(self.server)) {
            Command::Validator(mut args) => {
                args.mcp.enable_server = false;
                args.source.enable_validation = Some(true);
                Command::Server(args)
            }
            other => other,
        }
    }
}

// === impl SourceArgs ===

impl SourceArgs {
    /// Whether the webhook is served.
    pub(crate) fn validates(&self) -> bool {
        self.enable_validation
            .unwrap_or(self.config_path.as_os_str().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(args: &[&str]) -> ServerArgs {
        match Args::try_parse_from([&["galley"], args].concat())
            .unwrap()
            .command()
        {
            Command::Server(args) => *args,
            other => panic!("not a server: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn g9_2_defaults_are_those_of_istio() {
        let args = server(&["server"]);
        assert_eq!(
            args.mcp
                .server_address
                .enabled()
                .map(ToString::to_string)
                .as_deref(),
            Some("0.0.0.0:9901")
        );
        assert_eq!(
            (
                args.mcp.max_received_message_size,
                args.mcp.max_concurrent_streams
            ),
            (1_048_576, 1024)
        );
        assert!(args.mcp.enable_server && !args.mcp.insecure);
        assert_eq!(
            args.mcp.access_list_file,
            PathBuf::from("/etc/config/accesslist.yaml")
        );
        assert_eq!(
            (
                args.mcp.denial_log_burst,
                args.mcp.denial_log_freq.to_string().as_str()
            ),
            (1, "1m0s")
        );
        assert_eq!(args.certificates.key, PathBuf::from("/etc/certs/key.pem"));
        assert_eq!(args.mcp.sink.address, "");
        let source = &args.source;
        assert_eq!(
            source.excluded_resource_kinds,
            ["Service", "Node", "Pod", "Endpoints"]
        );
        assert!(source.kube.kubeconfig.is_empty() && !source.disable_resource_ready_check);
        assert_eq!(source.resync_period.to_string(), "0s");
        assert_eq!(source.mesh_config_file, PathBuf::from("/etc/mesh-config/mesh"));
        assert_eq!(source.domain, "cluster.local");
        assert_eq!(args.probes.liveness_path, PathBuf::from("/healthLiveness"));
        assert!(!args.profiling.enable_profiling && args.profiling.pprof_port == 9094);
        assert_eq!(args.probes.readiness_interval.to_string(), "2s");
        assert!(args.source.validates());
        let validation = &args.validation;
        assert_eq!(validation.port, 443);
        assert!(validation.config_file.as_os_str().is_empty() && !validation.delete_on_shutdown);
        assert_eq!(
            [
                &validation.deployment,
                &validation.service,
                &validation.names.webhook_name
            ],
            ["istio-galley"; 3]
        );
        assert_eq!(args.certificates.key, PathBuf::from("/etc/certs/key.pem"));
        assert_eq!(
            (
                args.admin.ctrlz_port,
                args.admin.monitoring_addr.to_string().as_str()
            ),
            (9876, ":15014")
        );
    }

    #[test]
    fn short_commands_do_not_need_the_flags_of_the_server() {
        let command = |args: &[&str]| Args::try_parse_from(args).unwrap().command();
        assert!(matches!(command(&["galley", "version"]), Command::Version));
        let Command::Probe(probe) = command(&["galley", "probe", "--probe-path=/ready", "--interval=10s"])
        else {
            panic!("not a probe");
        };
        assert_eq!(
            (probe.path, probe.interval.to_string().as_str()),
            (PathBuf::from("/ready"), "10s")
        );
    }

    #[test]
    fn g8_a_validator_serves_nothing_else() {
        let args = server(&["validator", "--enable-validation=false"]);
        assert!(args.source.validates() && !args.mcp.enable_server);
        assert!(!server(&["--configPath=/etc/config"]).source.validates());
        assert!(
            server(&["--configPath=/etc/config", "--enable-validation"])
                .source
                .validates()
        );
    }

    #[test]
    fn serving_is_what_happens_without_a_command() {
        let flags = [
            "--configPath=/etc/config",
            "--insecure",
            "--enable-validation=false",
            "--excludedResourceKinds=Pod,Ingress",
            "--livenessProbePath",
            "",
        ];
        for args in [server(&flags), server(&[&["server"][..], &flags].concat())] {
            assert_eq!(args.source.config_path, PathBuf::from("/etc/config"));
            assert!(args.mcp.insecure && !args.source.validates());
            assert_eq!(args.source.excluded_resource_kinds, ["Pod", "Ingress"]);
            assert_eq!(args.probes.liveness_path, PathBuf::new());
        }
    }
}
