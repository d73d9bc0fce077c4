//! The command line: flags of Istio 1.1 (`spec 02` §9.2).

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use mesh_runtime::Readiness;
use mesh_runtime::admin::AdminArgs;
use mesh_runtime::args::{GoDuration, HostPort};
use mesh_runtime::log::LogArgs;
use mesh_runtime::probe::{ProbeCheckArgs, ProbeFile};
use mesh_runtime::tls::{CertificateFiles, IdentityFiles};
use mixer_runtime::loadshed::{Limits, Mode};

use crate::spans::{Endpoint, TraceOptions};

/// Mixer decides for proxies whether requests may pass, counts quotas, and tells back ends what happened.
#[derive(Debug, Parser)]
#[command(name = "mixs")]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve proxies.
    Server(Box<ServerArgs>),
    /// Tell by the exit code whether a probe file is fresh.
    Probe(ProbeCheckArgs),
    /// Tell everything that is wrong with files of configuration, without serving.
    Validator(ValidatorArgs),
    /// Print the custom resource definitions that Mixer uses.
    Crd(CrdArgs),
    /// Print the version.
    Version,
}

/// Flags of `mixs server`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) probes: ProbeArgs,
    #[command(flatten)]
    pub(crate) tracing: TracingArgs,
    #[command(flatten)]
    pub(crate) loadshedding: LoadsheddingArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Where logs go; used before the server starts.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Where proxies are served, and how many of them.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Service")]
pub(crate) struct ListenArgs {
    /// TCP port, unless there is an address.
    #[arg(long, short, value_name = "PORT", default_value_t = 9091)]
    pub(crate) port: u16,

    /// Address: `tcp://host:port`, `host:port` or `unix:///path`.
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    pub(crate) address: Address,

    /// Where Prometheus scrapes what the handlers of adapter prometheus show; not in 1.1, which has 42422 always.
    #[arg(long = "prometheusAddr", value_name = "HOST:PORT", default_value = ":42422")]
    pub(crate) prometheus: HostPort,

    /// Largest request in bytes.
    #[arg(long = "maxMessageSize", value_name = "BYTES", default_value_t = 1_048_576,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_message_size: u32,

    /// Calls that a connection may have open at once.
    #[arg(long = "maxConcurrentStreams", value_name = "NUMBER", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_concurrent_streams: u32,

    /// Calls that are worked on at once; others wait, and no more are taken from their connections than those allow.
    #[arg(long = "apiWorkerPoolSize", value_name = "NUMBER", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) api_worker_pool_size: u32,

    /// Accepted for scripts of 1.1, and without effect: what adapters do beside calls waits without holding a worker, so
    /// that there is no pool to be sized.
    #[arg(long = "adapterWorkerPoolSize", value_name = "NUMBER", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) adapter_worker_pool_size: u32,

    /// Work on one call at a time.
    #[arg(long = "singleThreaded", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", action = ArgAction::Set)]
    pub(crate) single_threaded: bool,

    /// Verdicts that are given again while they are valid and the configuration is the same; 0 for none.
    #[arg(long = "numCheckCacheEntries", value_name = "NUMBER", default_value_t = 0)]
    pub(crate) num_check_cache_entries: u32,

    /// Accepted for scripts of 1.1, and without effect: Go's profiles do not exist here. The program is profiled from outside,
    /// with `perf` or by its `process_*` metrics.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "true", action = ArgAction::Set)]
    pub(crate) profile: bool,
}

/// Where configuration comes from.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigArgs {
    /// `fs://PATH`, `k8s://[KUBECONFIG][?ns=A,B]`, `mcp://HOST:PORT` or `mcps://HOST:PORT`; empty is `k8s://`.
    #[arg(
        long = "configStoreURL",
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) store_url: String,

    /// The namespace whose rules count everywhere.
    #[arg(
        long = "configDefaultNamespace",
        value_name = "NAMESPACE",
        default_value = "istio-system"
    )]
    pub(crate) default_namespace: String,

    /// Also read the kinds that are called after an adapter or a template.
    #[arg(long = "useAdapterCRDs", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "true", action = ArgAction::Set)]
    pub(crate) use_adapter_crds: bool,

    /// Certificate towards MCP servers with mutual TLS.
    #[arg(
        long = "certFile",
        value_name = "PATH",
        default_value = "/etc/certs/cert-chain.pem"
    )]
    pub(crate) cert_file: PathBuf,

    /// Key of that certificate.
    #[arg(long = "keyFile", value_name = "PATH", default_value = "/etc/certs/key.pem")]
    pub(crate) key_file: PathBuf,

    /// Authorities that MCP servers with mutual TLS are checked with.
    #[arg(
        long = "caCertFile",
        value_name = "PATH",
        default_value = "/etc/certs/root-cert.pem"
    )]
    pub(crate) ca_cert_file: PathBuf,
}

/// Files that tell how the process is.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Probes")]
pub(crate) struct ProbeArgs {
    /// File that is rewritten while the process lives; empty for none.
    #[arg(long = "livenessProbePath", value_name = "PATH", default_value = "", hide_default_value = true,
          value_parser = maybe_path())]
    pub(crate) liveness_path: PathBuf,

    /// Age at which the liveness file is stale; it is rewritten twice as often.
    #[arg(long = "livenessProbeInterval", value_name = "DURATION", default_value = "0s")]
    pub(crate) liveness_interval: GoDuration,

    /// File that is rewritten while the process is ready; empty for none.
    #[arg(long = "readinessProbePath", value_name = "PATH", default_value = "", hide_default_value = true,
          value_parser = maybe_path())]
    pub(crate) readiness_path: PathBuf,

    /// Age at which the readiness file is stale; it is rewritten twice as often.
    #[arg(
        long = "readinessProbeInterval",
        value_name = "DURATION",
        default_value = "0s"
    )]
    pub(crate) readiness_interval: GoDuration,
}

/// Traces of Mixer itself. A call is traced if the headers `b3` of its caller say so.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Tracing")]
pub(crate) struct TracingArgs {
    /// URL of a Zipkin collector; spans are sent in the JSON of its version 2, one for each call that is traced.
    #[arg(long = "trace_zipkin_url", value_name = "URL", default_value = "", hide_default_value = true,
          value_parser = collector)]
    pub(crate) zipkin_url: MaybeEndpoint,

    /// URL of a Jaeger collector, where it takes Zipkin's JSON: usually at port 9411. Thrift is not spoken.
    #[arg(long = "trace_jaeger_url", value_name = "URL", default_value = "", hide_default_value = true,
          value_parser = collector, conflicts_with = "zipkin_url")]
    pub(crate) jaeger_url: MaybeEndpoint,

    /// Write spans to the log.
    #[arg(long = "trace_log_spans", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", action = ArgAction::Set)]
    pub(crate) log_spans: bool,

    /// Part of the traces, from 0 to 1, that are followed where the caller has one and leaves the decision to us.
    #[arg(long = "trace_sampling_rate", value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub(crate) sampling_rate: f64,
}

/// A collector, or none.
#[derive(Clone, Debug)]
pub(crate) struct MaybeEndpoint(pub(crate) Option<Endpoint>);

/// What happens when there is too much to do.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Load shedding")]
pub(crate) struct LoadsheddingArgs {
    /// What happens to requests that are too much.
    #[arg(
        long = "loadsheddingMode",
        value_name = "MODE",
        default_value = "disabled",
        ignore_case = true
    )]
    pub(crate) mode: SheddingMode,

    /// Mean time that a request may take; 0 for any.
    #[arg(
        long = "averageLatencyThreshold",
        value_name = "DURATION",
        default_value = "0s"
    )]
    pub(crate) average_latency: GoDuration,

    /// Latencies that are taken into account each second.
    #[arg(long = "latencySamplesPerSecond", value_name = "NUMBER", default_value = "+Inf", value_parser = number)]
    pub(crate) samples_per_second: f64,

    /// After this long a latency counts half.
    #[arg(long = "latencySampleHalflife", value_name = "DURATION", default_value = "1s")]
    pub(crate) half_life: GoDuration,

    /// Requests for each second, of a report its sets; 0 for any number.
    #[arg(long = "maxRequestsPerSecond", value_name = "NUMBER", default_value = "0", value_parser = number)]
    pub(crate) requests_per_second: f64,

    /// Requests that may come at once; where there is a rate, 0 refuses everything.
    #[arg(long = "burstSize", value_name = "NUMBER", default_value_t = 0)]
    pub(crate) burst: u32,
}

/// What happens to requests that are too much.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SheddingMode {
    /// Nobody looks.
    Disabled,
    /// They are served, and the log says so.
    Logonly,
    /// They are refused.
    Enforce,
}

/// Flags of `mixs validator`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ValidatorArgs {
    /// Files, or directories with files, of YAML or JSON.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

/// Flags of `mixs crd`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CrdArgs {
    /// Which of them.
    #[arg(default_value = "all")]
    pub(crate) which: CrdSet,
}

/// Sets of definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CrdSet {
    /// Everything that Mixer reads.
    All,
    /// Kinds that are called after an adapter.
    Adapter,
    /// Kinds that are called after a template.
    Instance,
}

/// Where proxies are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// At `--port`.
    Port,
    /// At an address.
    Tcp(HostPort),
    /// At a socket in the file system.
    Unix(PathBuf),
}

/// A path that may be empty, which clap's own parser refuses.
fn maybe_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 => Ok(number),
        Ok(_) => Err("it is negative, or no number".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn collector(text: &str) -> Result<MaybeEndpoint, String> {
    match text {
        "" => Ok(MaybeEndpoint(None)),
        url => url.parse().map(|endpoint| MaybeEndpoint(Some(endpoint))),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match number(text)? {
        rate if rate <= 1.0 => Ok(rate),
        _ => Err("it is more than 1".to_owned()),
    }
}

// === impl Address ===

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::Port);
        }
        match text.strip_prefix("unix://") {
            Some("") => Err("no path follows unix://".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|error: mesh_runtime::args::AddressError| error.to_string()),
        }
    }
}

// === impl ListenArgs ===

impl ListenArgs {
    /// What is said of the adapters that are built in.
    pub(crate) fn adapters(&self) -> mixer_adapters::Options {
        mixer_adapters::Options {
            prometheus: self.prometheus.clone(),
        }
    }
}

// === impl ConfigArgs ===

impl ConfigArgs {
    /// What this process shows to MCP servers, and what it checks them with.
    pub(crate) fn certificates(&self) -> CertificateFiles {
        CertificateFiles {
            identity: Some(IdentityFiles {
                certificate: self.cert_file.clone(),
                key: self.key_file.clone(),
            }),
            authorities: Some(self.ca_cert_file.clone()),
        }
    }
}

// === impl ProbeArgs ===

impl ProbeArgs {
    /// The probe files that the flags ask for.
    pub(crate) fn files(self, readiness: &Readiness) -> impl Iterator<Item = ProbeFile> {
        let interval = self.liveness_interval.get();
        let live = ProbeFile::new("liveness", self.liveness_path, interval, None);
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

// === impl TracingArgs ===

impl TracingArgs {
    /// How calls are traced.
    pub(crate) fn options(self) -> TraceOptions {
        TraceOptions {
            collector: self.zipkin_url.0.or(self.jaeger_url.0),
            log: self.log_spans,
            rate: self.sampling_rate,
        }
    }
}

// === impl LoadsheddingArgs ===

impl LoadsheddingArgs {
    /// What happens to requests that are too much.
    pub(crate) fn mode(&self) -> Mode {
        match self.mode {
            SheddingMode::Disabled => Mode::Disabled,
            SheddingMode::Logonly => Mode::LogOnly,
            SheddingMode::Enforce => Mode::Enforce,
        }
    }

    /// What is too much.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            average_latency: self.average_latency.get(),
            samples_per_second: self.samples_per_second,
            half_life: self.half_life.get(),
            requests_per_second: self.requests_per_second,
            burst: self.burst,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(args: &[&str]) -> ServerArgs {
        match Args::try_parse_from([&["mixs", "server"], args].concat())
            .unwrap()
            .command
        {
            Command::Server(args) => *args,
            other => panic!("not a server: {other:?}"),
        }
    }

    #[test]
    fn m111_the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
        for command in [
            "probe --probe-path /x --interval 1s",
            "crd",
            "crd adapter",
            "version",
            "validator x",
        ] {
            let words = std::iter::once("mixs").chain(command.split(' '));
            Args::try_parse_from(words).unwrap();
        }
    }

    #[test]
    fn m111_defaults_are_those_of_istio() {
        let args = server(&[]);
        assert_eq!((args.listen.port, &args.listen.address), (9091, &Address::Port));
        assert_eq!(
            (args.listen.max_message_size, args.listen.max_concurrent_streams),
            (1_048_576, 1024)
        );
        assert_eq!(args.listen.prometheus.to_string(), ":42422");
        assert_eq!(args.listen.num_check_cache_entries, 0, "off unless asked for, D4");
        assert_eq!(args.config.default_namespace, "istio-system");
        assert!(args.config.use_adapter_crds && args.config.store_url.is_empty());
        assert_eq!(args.loadshedding.mode(), Mode::Disabled);
        assert_eq!(args.loadshedding.limits(), Limits::default());
        assert_eq!(args.admin.monitoring().1.to_string(), ":15014");
    }

    #[test]
    fn m111_addresses_and_numbers_that_make_no_sense_are_refused() {
        let parse = |flag: &str| Args::try_parse_from(["mixs", "server", flag]);
        for flag in [
            "--address=unix://",
            "--address=http://x:1",
            "--maxMessageSize=0",
            "--maxConcurrentStreams=0",
            "--trace_sampling_rate=1.5",
            "--trace_zipkin_url=https://zipkin:9411",
            "--trace_jaeger_url=http://jaeger:14268/api/traces",
            "--loadsheddingMode=maybe",
            "--maxRequestsPerSecond=-1",
        ] {
            assert!(parse(flag).is_err(), "{flag}");
        }
        let unix = server(&["--address=unix:///sock/mixer.socket"]).listen.address;
        assert_eq!(unix, Address::Unix("/sock/mixer.socket".into()));
        let tcp = server(&["--address=127.0.0.1:1"]).listen.address;
        assert_eq!(tcp, Address::Tcp("127.0.0.1:1".parse().unwrap()));
        assert_eq!(
            server(&["--loadsheddingMode=enforce"]).loadshedding.mode(),
            Mode::Enforce
        );
    }
}
