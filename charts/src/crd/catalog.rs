//! What is said about a kind beside its schema: names, labels, categories and columns of Istio 1.1.

use mesh_api::comment;
use mesh_config::Kind;

use super::File;

/// One kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) file: File,
    pub(super) family: Family,
    pub(super) short_name: Option<&'static str>,
    /// Versions that are served beside the one that is stored; their schema is the same.
    pub(super) other_versions: &'static [&'static str],
    pub(super) columns: &'static [Column],
    /// What the kind is for, where its message does not say so. Of kinds for a single adapter or template the end of a
    /// sentence.
    pub(super) about: Option<&'static str>,
}

/// Kinds that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Networking,
    Authentication,
    ClusterRbac,
    Rbac,
    ApiManagement,
    /// What Mixer does with requests.
    Core,
    /// Adapters of Mixer: the kind that describes one, and those that hold the parameters of a single adapter.
    Adapter,
    /// Data for adapters, of any template or of a single one.
    Instance,
    Template,
    Handler,
}

/// A column of `kubectl get`; every table ends with the age.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) about: &'static str,
}

/// Every kind, in the order of its file.
pub(super) const CATALOG: &[Entry] = &[
    Entry {
        short_name: Some("vs"),
        other_versions: NEWER,
        columns: &[
            Column {
                name: "Gateways",
                path: ".spec.gateways",
                about: "Gateways and sidecars that run the rules.",
            },
            Column {
                name: "Hosts",
                path: ".spec.hosts",
                about: "Hosts that the rules are for.",
            },
        ],
        ..entry(Kind::VirtualService, Family::Networking)
    },
    Entry {
        short_name: Some("dr"),
        other_versions: NEWER,
        columns: &[Column {
            name: "Host",
            path: ".spec.host",
            about: "Service that the rule is for.",
        }],
        ..entry(Kind::DestinationRule, Family::Networking)
    },
    Entry {
        short_name: Some("se"),
        other_versions: NEWER,
        columns: &[
            Column {
                name: "Hosts",
                path: ".spec.hosts",
                about: "Names of the service.",
            },
            Column {
                name: "Location",
                path: ".spec.location",
                about: "Whether the service belongs to the mesh.",
            },
            Column {
                name: "Resolution",
                path: ".spec.resolution",
                about: "How addresses of the service are found.",
            },
        ],
        ..entry(Kind::ServiceEntry, Family::Networking)
    },
    Entry {
        short_name: Some("gw"),
        other_versions: NEWER,
        ..entry(Kind::Gateway, Family::Networking)
    },
    entry(Kind::EnvoyFilter, Family::Networking),
    Entry {
        about: Some("Switches authorization on, for the whole mesh. The object is called default."),
        ..entry(Kind::ClusterRbacConfig, Family::ClusterRbac)
    },
    entry(Kind::Policy, Family::Authentication),
    Entry {
        about: Some(
            "Which proofs of identity every workload of the mesh asks for that no Policy is about. The object is called default.",
        ),
        ..entry(Kind::MeshPolicy, Family::Authentication)
    },
    entry(Kind::HttpApiSpecBinding, Family::ApiManagement),
    entry(Kind::HttpApiSpec, Family::ApiManagement),
    entry(Kind::QuotaSpecBinding, Family::ApiManagement),
    entry(Kind::QuotaSpec, Family::ApiManagement),
    entry(Kind::Rule, Family::Core),
    entry(Kind::AttributeManifest, Family::Core),
    adapter(Kind::Bypass, "lets adapters that are their own process answer"),
    adapter(Kind::Circonus, "sends metrics to Circonus"),
    adapter(Kind::Denier, "refuses requests"),
    adapter(Kind::Fluentd, "sends log entries to fluentd"),
    adapter(Kind::KubernetesEnv, "finds the pods behind addresses"),
    adapter(Kind::ListChecker, "compares values with a list"),
    adapter(Kind::MemQuota, "counts quotas in its own memory"),
    adapter(Kind::Noop, "does nothing"),
    adapter(Kind::Opa, "decides by policies of the Open Policy Agent"),
    adapter(Kind::Prometheus, "offers metrics to Prometheus"),
    adapter(Kind::Rbac, "decides by ServiceRoles"),
    adapter(Kind::RedisQuota, "counts quotas in Redis"),
    adapter(Kind::SignalFx, "sends metrics and spans to SignalFx"),
    adapter(Kind::SolarWinds, "sends metrics and log entries to SolarWinds"),
    adapter(
        Kind::Stackdriver,
        "sends metrics, log entries and spans to Stackdriver",
    ),
    adapter(Kind::StatsD, "sends metrics to statsd"),
    adapter(Kind::Stdio, "writes log entries and metrics to its output"),
    template(Kind::ApiKey, "the key of an API and what it is used for"),
    template(Kind::Authorization, "who wants to do what"),
    template(Kind::CheckNothing, "no data, for adapters that decide without"),
    template(Kind::Kubernetes, "addresses whose pods are looked for"),
    template(Kind::ListEntry, "a value that is looked for in a list"),
    Entry {
        columns: &[
            Column {
                name: "Severity",
                path: ".spec.severity",
                about: "How important the entry is.",
            },
            Column {
                name: "Timestamp",
                path: ".spec.timestamp",
                about: "The time of the entry.",
            },
            Column {
                name: "Res Type",
                path: ".spec.monitored_resource_type",
                about: "Expression for the type of the resource that the entry is about.",
            },
        ],
        ..template(Kind::LogEntry, "an entry of a log")
    },
    template(Kind::Edge, "who called whom"),
    template(Kind::Metric, "a value of a metric"),
    template(Kind::Quota, "dimensions by which a quota is counted"),
    template(Kind::ReportNothing, "no data, for adapters that report without"),
    template(Kind::TraceSpan, "a span of a trace"),
    Entry {
        about: Some("Switches authorization on, for the whole mesh. Superseded by ClusterRbacConfig."),
        ..entry(Kind::RbacConfig, Family::Rbac)
    },
    entry(Kind::ServiceRole, Family::Rbac),
    Entry {
        columns: &[Column {
            name: "Reference",
            path: ".spec.roleRef.name",
            about: "The role that is given.",
        }],
        ..entry(Kind::ServiceRoleBinding, Family::Rbac)
    },
    entry(Kind::Adapter, Family::Adapter),
    entry(Kind::Instance, Family::Instance),
    entry(Kind::Template, Family::Template),
    entry(Kind::Handler, Family::Handler),
    since_1_1(adapter(Kind::CloudWatch, "sends metrics to CloudWatch")),
    since_1_1(adapter(Kind::DogStatsD, "sends metrics to Datadog")),
    since_1_1(Entry {
        other_versions: NEWER,
        ..entry(Kind::Sidecar, Family::Networking)
    }),
    since_1_1(adapter(Kind::Zipkin, "sends spans to Zipkin")),
];

/// Versions that came later and hold the same fields.
const NEWER: &[&str] = &["v1beta1", "v1"];

const fn entry(kind: Kind, family: Family) -> Entry {
    Entry {
        kind,
        file: File::Crd10,
        family,
        short_name: None,
        other_versions: &[],
        columns: &[],
        about: None,
    }
}

const fn adapter(kind: Kind, does: &'static str) -> Entry {
    Entry {
        about: Some(does),
        ..entry(kind, Family::Adapter)
    }
}

const fn template(kind: Kind, holds: &'static str) -> Entry {
    Entry {
        about: Some(holds),
        ..entry(kind, Family::Instance)
    }
}

const fn since_1_1(entry: Entry) -> Entry {
    Entry {
        file: File::Crd11,
        ..entry
    }
}

// === impl Entry ===

impl Entry {
    /// Full name of the message whose fields are those of `spec`.
    pub(super) fn message(&self) -> &'static str {
        match self.kind {
            // Their collections carry them undecoded; what is in them is known all the same.
            Kind::Adapter => "istio.mixer.adapter.model.v1beta1.Info",
            Kind::Template => "istio.mixer.adapter.model.v1beta1.Template",
            kind => kind.schema().message,
        }
    }

    /// What the kind is for.
    pub(super) fn about(&self) -> String {
        let kind = self.kind.schema().kind;
        match (self.family, self.about) {
            (_, None) => comment(self.message()).unwrap_or_default().to_owned(),
            (Family::Adapter, Some(does)) => {
                format!("Parameters of Mixer's adapter {kind}, which {does}.")
            }
            (Family::Instance, Some(holds)) => format!("An instance of Mixer's template {kind}: {holds}."),
            (_, Some(about)) => about.to_owned(),
        }
    }

    /// Labels of the definition, beside those that all have.
    pub(super) fn labels(&self) -> Vec<(&'static str, &'static str)> {
        let package = match self.kind {
            Kind::Kubernetes => "adapter.template.kubernetes",
            kind => kind.schema().kind,
        };
        let mixer = |package, part| vec![("app", "mixer"), ("package", package), ("istio", part)];
        match self.family {
            Family::Networking => vec![("app", "istio-pilot")],
            Family::Authentication => vec![("app", "istio-citadel")],
            Family::ClusterRbac => vec![("app", "istio-pilot"), ("istio", "rbac")],
            Family::ApiManagement => vec![("app", "istio-mixer")],
            Family::Rbac => mixer("istio.io.mixer", "rbac"),
            Family::Core => mixer("istio.io.mixer", "core"),
            Family::Adapter => mixer(package, "mixer-adapter"),
            Family::Instance => mixer(package, "mixer-instance"),
            Family::Template => mixer(package, "mixer-template"),
            Family::Handler => mixer(package, "mixer-handler"),
        }
    }
}

// === impl Family ===

impl Family {
    /// The category by which `kubectl get` finds the kinds of a family.
    pub(super) fn category(self) -> &'static str {
        match self {
            Self::Networking => "networking-istio-io",
            Self::Authentication => "authentication-istio-io",
            Self::ClusterRbac | Self::Rbac => "rbac-istio-io",
            Self::ApiManagement => "apim-istio-io",
            Self::Core | Self::Adapter | Self::Instance | Self::Template | Self::Handler => "policy-istio-io",
        }
    }
}
