//! The command line of `pilot-discovery` (P6.4, P6.5).

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use mesh_runtime::admin::AdminArgs;
use mesh_runtime::args::{GoDuration, HostPort, ListenAddr};
use mesh_runtime::grpc::{GrpcOptions, KeepaliveArgs};
use mesh_runtime::log::LogArgs;
use pilot_registry::Platform;

use crate::consul::ConsulArgs;
use crate::ingress::IngressArgs;
use crate::kube::KubernetesArgs;
use crate::sources::SourceArgs;

/// Istio Pilot: service discovery and configuration for Envoy.
#[derive(Debug, clap::Parser)]
#[command(name = "pilot-discovery", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `pilot-discovery` can do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Serve configuration to proxies.
    Discovery(Box<DiscoveryArgs>),
    /// Ask a running Pilot on this machine, such as `request GET /debug/syncz`.
    Request(RequestArgs),
    /// Print the version.
    Version,
}

/// Flags of `pilot-discovery request`.
#[derive(Debug, clap::Args)]
pub struct RequestArgs {
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Address of the monitoring server.
    #[arg(long, default_value = "127.0.0.1:15014")]
    pub address: HostPort,
}

/// Flags of `pilot-discovery discovery`.
#[derive(Clone, Debug, clap::Args)]
pub struct DiscoveryArgs {
    /// Service registries: Kubernetes, MCP, Consul. `Kubernetes` reads the API server, where there is one: `--kubeconfig`
    /// is given, or Pilot runs in a cluster. Otherwise, and with `MCP`, services come with the configuration sources.
    /// ServiceEntries are followed in any case.
    #[arg(long, value_delimiter = ',', default_value = "Kubernetes")]
    pub registries: Vec<Platform>,

    /// The API server of the registry `Kubernetes`.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,

    /// The agent of the registry `Consul`.
    #[command(flatten)]
    pub consul: ConsulArgs,

    /// File with the mesh configuration. Without it the defaults apply.
    #[arg(long = "meshConfig", default_value = "/etc/istio/config/mesh")]
    pub mesh_config: PathBuf,

    /// File with the mesh networks; empty for none.
    #[arg(long = "networksConfig", default_value = "/etc/istio/config/meshNetworks")]
    pub networks_config: String,

    /// Where configuration comes from.
    #[command(flatten)]
    pub sources: SourceArgs,

    /// Ingresses.
    #[command(flatten)]
    pub ingress: IngressArgs,

    /// DNS domain suffix of services.
    #[arg(long, default_value = "cluster.local")]
    pub domain: String,

    /// Trust domain of identities; the mesh configuration's, or the domain, when empty.
    #[arg(long = "trust-domain", default_value = "")]
    pub trust_domain: String,

    /// Address of the HTTP server for readiness and debugging; empty switches it off.
    #[arg(long = "httpAddr", default_value = ":8080")]
    pub http_addr: ListenAddr,

    /// Address of the xDS server without TLS; empty switches it off.
    #[arg(long = "grpcAddr", default_value = ":15010")]
    pub grpc_addr: ListenAddr,

    /// Address of the xDS server with mutual TLS. Accepted for compatibility; this version does not serve it.
    #[arg(long = "secureGrpcAddr", default_value = "")]
    pub secure_grpc_addr: ListenAddr,

    /// Quiet time after which changes are published.
    #[arg(long = "debounceAfter", env = "PILOT_DEBOUNCE_AFTER", default_value = "100ms")]
    pub debounce_after: GoDuration,

    /// Longest time for which changes are held back.
    #[arg(long = "debounceMax", env = "PILOT_DEBOUNCE_MAX", default_value = "10s")]
    pub debounce_max: GoDuration,

    /// Pushes of configuration per second, over all proxies. Without it they are not limited.
    #[arg(long = "pushThrottle", env = "PILOT_PUSH_THROTTLE", value_name = "PER_SECOND")]
    pub push_throttle: Option<u32>,

    /// Pushes that may follow one another at once, where they are limited.
    #[arg(long = "pushBurst", env = "PILOT_PUSH_BURST", default_value_t = 100)]
    pub push_burst: u32,

    /// xDS streams that one connection may carry.
    #[arg(
        long = "grpcMaxStreams",
        env = "ISTIO_GPRC_MAXSTREAMS",
        default_value_t = GrpcOptions::MAX_CONCURRENT_STREAMS
    )]
    pub grpc_max_streams: u32,

    /// Route requests to unknown hosts by the outbound traffic policy instead of answering 404.
    #[arg(
        long = "enableFallthroughRoute",
        env = "PILOT_ENABLE_FALLTHROUGH_ROUTE",
        value_parser = BoolishValueParser::new(),
        default_value = "false",
        action = clap::ArgAction::Set
    )]
    pub enable_fallthrough_route: bool,

    /// Balance the endpoints of services by locality, as `localityLbSetting` of the mesh configuration says.
    #[arg(
        long = "enableLocalityLoadBalancing",
        env = "PILOT_ENABLE_LOCALITY_LOAD_BALANCING",
        value_parser = BoolishValueParser::new(),
        default_value = "false",
        action = clap::ArgAction::Set
    )]
    pub enable_locality_load_balancing: bool,

    /// Let clients speak HTTP/1.0 to every proxy; a proxy lets its own by `HTTP10: "1"` in its metadata.
    #[arg(
        long = "http10",
        env = "PILOT_HTTP10",
        value_parser = BoolishValueParser::new(),
        default_value = "false",
        action = clap::ArgAction::Set
    )]
    pub http_10: bool,

    /// Share of the requests that are traced where nobody before has decided, in percent from 0 to 100.
    #[arg(
        long = "traceSampling",
        env = "PILOT_TRACE_SAMPLING",
        value_name = "PERCENT",
        default_value = "100"
    )]
    pub trace_sampling: String,

    /// Name of this pod.
    #[arg(long = "podName", env = "POD_NAME", default_value = "pilot")]
    pub pod_name: String,

    /// Namespace of this pod.
    #[arg(
        short = 'n',
        long = "namespace",
        env = "POD_NAMESPACE",
        default_value = "istio-system"
    )]
    pub namespace: String,

    /// Monitoring and control servers.
    #[command(flatten)]
    pub admin: AdminArgs,

    /// Upkeep of gRPC connections.
    #[command(flatten)]
    pub keepalive: KeepaliveArgs,

    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_command_line_of_the_baseline_parses() {
        let args = "pilot-discovery discovery --registries=MCP --httpAddr=127.0.0.1:18080 --grpcAddr=127.0.0.1:15010 \
                    --secureGrpcAddr= --monitoringAddr=127.0.0.1:15014 --ctrlz_port=19876 --meshConfig=mesh.yaml \
                    --networksConfig= --mcpMaxMsgSize=104857600 --domain=cluster.local \
                    --log_output_level=default:warn --keepaliveMaxServerConnectionAge=24h \
                    --mcpServerAddrs=mcp://127.0.0.1:19901";
        let args = Args::try_parse_from(args.split_whitespace()).expect("parses");
        let Command::Discovery(args) = args.command else {
            panic!("not discovery");
        };
        assert_eq!(args.sources.mcp_server_addrs, ["mcp://127.0.0.1:19901"]);
        assert!(args.secure_grpc_addr.enabled().is_none());
    }

    #[test]
    fn p6_4_the_flags_of_consul_parse() {
        let parse = |flags: &str| {
            let args = format!("pilot-discovery discovery {flags}");
            match Args::try_parse_from(args.split_whitespace()).map(|args| args.command) {
                Ok(Command::Discovery(args)) => Ok(args),
                Ok(_) => panic!("not discovery"),
                Err(error) => Err(error.to_string()),
            }
        };
        let args =
            parse("--registries=Kubernetes,Consul --consulserverURL=http://consul:8500").expect("parses");
        assert_eq!(args.registries, [Platform::Kubernetes, Platform::Consul]);
        assert_eq!(args.consul.interval.get(), std::time::Duration::from_secs(2));
        assert!(args.consul.url.is_some());
        for (flags, complaint) in [
            ("--registries=Mock", "\"Mock\" is no service registry"),
            (
                "--consulserverURL=https://consul:8501",
                "not the address of a Consul agent",
            ),
            ("--consulserverInterval=soon", "soon"),
        ] {
            let error = parse(flags).expect_err(flags);
            assert!(error.contains(complaint), "{error}");
        }
    }
}
