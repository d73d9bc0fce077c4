//! The kinds of configuration objects and the MCP collections that carry them (spec 04 G4).

use std::fmt;

/// What is known about one kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Schema {
    /// The `kind` of an object as users write it, such as `VirtualService` or `handler`.
    pub kind: &'static str,
    /// API group, empty for the core group.
    pub group: &'static str,
    /// The version that is stored and served; other versions of the group are accepted when read.
    pub version: &'static str,
    /// Plural resource name in the API.
    pub plural: &'static str,
    /// MCP collection.
    pub collection: &'static str,
    /// Full name of the protobuf message that carries the content.
    pub message: &'static str,
    /// Which part of an object the message is.
    pub body: Body,
    /// Whether objects live in a namespace.
    pub scope: Scope,
}

/// Which part of an object becomes the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The `spec` field.
    Spec,
    /// The whole object with its metadata (Pod, Endpoints).
    Whole,
}

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespace,
    /// In the cluster.
    Cluster,
}

macro_rules! kinds {
    ($($variant:ident: $kind:literal, $group:literal, $version:literal, $plural:literal, $collection:literal,
       $message:literal, $body:ident, $scope:ident;)*) => {
        /// Every kind of configuration object: the 58 of Istio 1.1, and Kubernetes' Namespace, which we add.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the table below says what each is")]
        pub enum Kind { $($variant,)* }

        impl Kind {
            /// All kinds, in the order of their definition.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// What is known about this kind.
            pub fn schema(self) -> &'static Schema {
                match self {
                    $(Kind::$variant => const { &Schema {
                        kind: $kind, group: $group, version: $version, plural: $plural, collection: $collection,
                        message: $message, body: Body::$body, scope: Scope::$scope,
                    } },)*
                }
            }
        }
    };
}

// The columns: variant: kind, group, version, plural, collection, message, body, scope.
kinds! {
    DestinationRule: "DestinationRule", "networking.istio.io", "v1alpha3", "destinationrules", "istio/networking/v1alpha3/destinationrules",
        "istio.networking.v1alpha3.DestinationRule", Spec, Namespace;
    EnvoyFilter: "EnvoyFilter", "networking.istio.io", "v1alpha3", "envoyfilters", "istio/networking/v1alpha3/envoyfilters",
        "istio.networking.v1alpha3.EnvoyFilter", Spec, Namespace;
    Gateway: "Gateway", "networking.istio.io", "v1alpha3", "gateways", "istio/networking/v1alpha3/gateways",
        "istio.networking.v1alpha3.Gateway", Spec, Namespace;
    ServiceEntry: "ServiceEntry", "networking.istio.io", "v1alpha3", "serviceentries", "istio/networking/v1alpha3/serviceentries",
        "istio.networking.v1alpha3.ServiceEntry", Spec, Namespace;
    Sidecar: "Sidecar", "networking.istio.io", "v1alpha3", "sidecars", "istio/networking/v1alpha3/sidecars",
        "istio.networking.v1alpha3.Sidecar", Spec, Namespace;
    VirtualService: "VirtualService", "networking.istio.io", "v1alpha3", "virtualservices", "istio/networking/v1alpha3/virtualservices",
        "istio.networking.v1alpha3.VirtualService", Spec, Namespace;
    MeshPolicy: "MeshPolicy", "authentication.istio.io", "v1alpha1", "meshpolicies", "istio/authentication/v1alpha1/meshpolicies",
        "istio.authentication.v1alpha1.Policy", Spec, Cluster;
    Policy: "Policy", "authentication.istio.io", "v1alpha1", "policies", "istio/authentication/v1alpha1/policies",
        "istio.authentication.v1alpha1.Policy", Spec, Namespace;
    ClusterRbacConfig: "ClusterRbacConfig", "rbac.istio.io", "v1alpha1", "clusterrbacconfigs", "istio/rbac/v1alpha1/clusterrbacconfigs",
        "istio.rbac.v1alpha1.RbacConfig", Spec, Cluster;
    RbacConfig: "RbacConfig", "rbac.istio.io", "v1alpha1", "rbacconfigs", "istio/rbac/v1alpha1/rbacconfigs",
        "istio.rbac.v1alpha1.RbacConfig", Spec, Namespace;
    ServiceRole: "ServiceRole", "rbac.istio.io", "v1alpha1", "serviceroles", "istio/rbac/v1alpha1/serviceroles",
        "istio.rbac.v1alpha1.ServiceRole", Spec, Namespace;
    ServiceRoleBinding: "ServiceRoleBinding", "rbac.istio.io", "v1alpha1", "servicerolebindings", "istio/rbac/v1alpha1/servicerolebindings",
        "istio.rbac.v1alpha1.ServiceRoleBinding", Spec, Namespace;
    HttpApiSpec: "HTTPAPISpec", "config.istio.io", "v1alpha2", "httpapispecs", "istio/config/v1alpha2/httpapispecs",
        "istio.mixer.v1.config.client.HTTPAPISpec", Spec, Namespace;
    HttpApiSpecBinding: "HTTPAPISpecBinding", "config.istio.io", "v1alpha2", "httpapispecbindings", "istio/config/v1alpha2/httpapispecbindings",
        "istio.mixer.v1.config.client.HTTPAPISpecBinding", Spec, Namespace;
    QuotaSpec: "QuotaSpec", "config.istio.io", "v1alpha2", "quotaspecs", "istio/mixer/v1/config/client/quotaspecs",
        "istio.mixer.v1.config.client.QuotaSpec", Spec, Namespace;
    QuotaSpecBinding: "QuotaSpecBinding", "config.istio.io", "v1alpha2", "quotaspecbindings", "istio/mixer/v1/config/client/quotaspecbindings",
        "istio.mixer.v1.config.client.QuotaSpecBinding", Spec, Namespace;
    AttributeManifest: "attributemanifest", "config.istio.io", "v1alpha2", "attributemanifests", "istio/policy/v1beta1/attributemanifests",
        "istio.policy.v1beta1.AttributeManifest", Spec, Namespace;
    Handler: "handler", "config.istio.io", "v1alpha2", "handlers", "istio/policy/v1beta1/handlers",
        "istio.policy.v1beta1.Handler", Spec, Namespace;
    Instance: "instance", "config.istio.io", "v1alpha2", "instances", "istio/policy/v1beta1/instances",
        "istio.policy.v1beta1.Instance", Spec, Namespace;
    Rule: "rule", "config.istio.io", "v1alpha2", "rules", "istio/policy/v1beta1/rules",
        "istio.policy.v1beta1.Rule", Spec, Namespace;
    Adapter: "adapter", "config.istio.io", "v1alpha2", "adapters", "istio/config/v1alpha2/adapters",
        "google.protobuf.Struct", Spec, Namespace;
    Template: "template", "config.istio.io", "v1alpha2", "templates", "istio/config/v1alpha2/templates",
        "google.protobuf.Struct", Spec, Namespace;
    ApiKey: "apikey", "config.istio.io", "v1alpha2", "apikeys", "istio/config/v1alpha2/legacy/apikeys",
        "google.protobuf.Struct", Spec, Namespace;
    Authorization: "authorization", "config.istio.io", "v1alpha2", "authorizations", "istio/config/v1alpha2/legacy/authorizations",
        "google.protobuf.Struct", Spec, Namespace;
    Bypass: "bypass", "config.istio.io", "v1alpha2", "bypasses", "istio/config/v1alpha2/legacy/bypasses",
        "google.protobuf.Struct", Spec, Namespace;
    CheckNothing: "checknothing", "config.istio.io", "v1alpha2", "checknothings", "istio/config/v1alpha2/legacy/checknothings",
        "google.protobuf.Struct", Spec, Namespace;
    Circonus: "circonus", "config.istio.io", "v1alpha2", "circonuses", "istio/config/v1alpha2/legacy/circonuses",
        "google.protobuf.Struct", Spec, Namespace;
    CloudWatch: "cloudwatch", "config.istio.io", "v1alpha2", "cloudwatches", "istio/config/v1alpha2/legacy/cloudwatches",
        "google.protobuf.Struct", Spec, Namespace;
    Denier: "denier", "config.istio.io", "v1alpha2", "deniers", "istio/config/v1alpha2/legacy/deniers",
        "google.protobuf.Struct", Spec, Namespace;
    DogStatsD: "dogstatsd", "config.istio.io", "v1alpha2", "dogstatsds", "istio/config/v1alpha2/legacy/dogstatsds",
        "google.protobuf.Struct", Spec, Namespace;
    Edge: "edge", "config.istio.io", "v1alpha2", "edges", "istio/config/v1alpha2/legacy/edges",
        "google.protobuf.Struct", Spec, Namespace;
    Fluentd: "fluentd", "config.istio.io", "v1alpha2", "fluentds", "istio/config/v1alpha2/legacy/fluentds",
        "google.protobuf.Struct", Spec, Namespace;
    KubernetesEnv: "kubernetesenv", "config.istio.io", "v1alpha2", "kubernetesenvs", "istio/config/v1alpha2/legacy/kubernetesenvs",
        "google.protobuf.Struct", Spec, Namespace;
    Kubernetes: "kubernetes", "config.istio.io", "v1alpha2", "kuberneteses", "istio/config/v1alpha2/legacy/kuberneteses",
        "google.protobuf.Struct", Spec, Namespace;
    ListChecker: "listchecker", "config.istio.io", "v1alpha2", "listcheckers", "istio/config/v1alpha2/legacy/listcheckers",
        "google.protobuf.Struct", Spec, Namespace;
    ListEntry: "listentry", "config.istio.io", "v1alpha2", "listentries", "istio/config/v1alpha2/legacy/listentries",
        "google.protobuf.Struct", Spec, Namespace;
    LogEntry: "logentry", "config.istio.io", "v1alpha2", "logentries", "istio/config/v1alpha2/legacy/logentries",
        "google.protobuf.Struct", Spec, Namespace;
    MemQuota: "memquota", "config.istio.io", "v1alpha2", "memquotas", "istio/config/v1alpha2/legacy/memquotas",
        "google.protobuf.Struct", Spec, Namespace;
    Metric: "metric", "config.istio.io", "v1alpha2", "metrics", "istio/config/v1alpha2/legacy/metrics",
        "google.protobuf.Struct", Spec, Namespace;
    Noop: "noop", "config.istio.io", "v1alpha2", "noops", "istio/config/v1alpha2/legacy/noops",
        "google.protobuf.Struct", Spec, Namespace;
    Opa: "opa", "config.istio.io", "v1alpha2", "opas", "istio/config/v1alpha2/legacy/opas",
        "google.protobuf.Struct", Spec, Namespace;
    Prometheus: "prometheus", "config.istio.io", "v1alpha2", "prometheuses", "istio/config/v1alpha2/legacy/prometheuses",
        "google.protobuf.Struct", Spec, Namespace;
    Quota: "quota", "config.istio.io", "v1alpha2", "quotas", "istio/config/v1alpha2/legacy/quotas",
        "google.protobuf.Struct", Spec, Namespace;
    Rbac: "rbac", "config.istio.io", "v1alpha2", "rbacs", "istio/config/v1alpha2/legacy/rbacs",
        "google.protobuf.Struct", Spec, Namespace;
    RedisQuota: "redisquota", "config.istio.io", "v1alpha2", "redisquotas", "istio/config/v1alpha2/legacy/redisquotas",
        "google.protobuf.Struct", Spec, Namespace;
    ReportNothing: "reportnothing", "config.istio.io", "v1alpha2", "reportnothings", "istio/config/v1alpha2/legacy/reportnothings",
        "google.protobuf.Struct", Spec, Namespace;
    SignalFx: "signalfx", "config.istio.io", "v1alpha2", "signalfxs", "istio/config/v1alpha2/legacy/signalfxs",
        "google.protobuf.Struct", Spec, Namespace;
    SolarWinds: "solarwinds", "config.istio.io", "v1alpha2", "solarwindses", "istio/config/v1alpha2/legacy/solarwindses",
        "google.protobuf.Struct", Spec, Namespace;
    Stackdriver: "stackdriver", "config.istio.io", "v1alpha2", "stackdrivers", "istio/config/v1alpha2/legacy/stackdrivers",
        "google.protobuf.Struct", Spec, Namespace;
    StatsD: "statsd", "config.istio.io", "v1alpha2", "statsds", "istio/config/v1alpha2/legacy/statsds",
        "google.protobuf.Struct", Spec, Namespace;
    Stdio: "stdio", "config.istio.io", "v1alpha2", "stdios", "istio/config/v1alpha2/legacy/stdios",
        "google.protobuf.Struct", Spec, Namespace;
    TraceSpan: "tracespan", "config.istio.io", "v1alpha2", "tracespans", "istio/config/v1alpha2/legacy/tracespans",
        "google.protobuf.Struct", Spec, Namespace;
    Zipkin: "zipkin", "config.istio.io", "v1alpha2", "zipkins", "istio/config/v1alpha2/legacy/zipkins",
        "google.protobuf.Struct", Spec, Namespace;
    Service: "Service", "", "v1", "services", "k8s/core/v1/services",
        "k8s.io.api.core.v1.ServiceSpec", Spec, Namespace;
    Endpoints: "Endpoints", "", "v1", "endpoints", "k8s/core/v1/endpoints",
        "k8s.io.api.core.v1.Endpoints", Whole, Namespace;
    Pod: "Pod", "", "v1", "pods", "k8s/core/v1/pods",
        "k8s.io.api.core.v1.Pod", Whole, Namespace;
    Node: "Node", "", "v1", "nodes", "k8s/core/v1/nodes",
        "k8s.io.api.core.v1.NodeSpec", Spec, Cluster;
    Ingress: "Ingress", "networking.k8s.io", "v1", "ingresses", "k8s/extensions/v1beta1/ingresses",
        "k8s.io.api.networking.v1.IngressSpec", Spec, Namespace;
    Namespace: "Namespace", "", "v1", "namespaces", "k8s/core/v1/namespaces",
        "k8s.io.api.core.v1.NamespaceSpec", Spec, Cluster;
}

impl Kind {
    /// The configuration that Pilot acts on (P5.1), as opposed to what runs in a cluster and to what Mixer reads.
    pub const PILOT: [Self; 16] = [
        Self::VirtualService,
        Self::Gateway,
        Self::ServiceEntry,
        Self::DestinationRule,
        Self::EnvoyFilter,
        Self::Sidecar,
        Self::HttpApiSpec,
        Self::HttpApiSpecBinding,
        Self::QuotaSpec,
        Self::QuotaSpecBinding,
        Self::Policy,
        Self::MeshPolicy,
        Self::ServiceRole,
        Self::ServiceRoleBinding,
        Self::RbacConfig,
        Self::ClusterRbacConfig,
    ];

    /// The kind that users write as `kind` in a version of `group`.
    pub fn by_name(group: &str, kind: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|candidate| {
            let schema = candidate.schema();
            schema.kind == kind && schema.group == group
        })
    }

    /// The kind that an MCP collection carries.
    pub fn by_collection(collection: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.schema().collection == collection)
    }

    /// The MCP collection of this kind.
    pub fn collection(self) -> &'static str {
        self.schema().collection
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.schema().kind)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn g4_the_58_collections_of_istio_1_1_and_namespaces() {
        let collections: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.collection()).collect();
        assert_eq!(collections.len(), 58 + 1);
        assert_eq!(Kind::ALL.len(), collections.len());
    }

    /// V9: the rules of 1.1 for what is known about kinds.
    #[test]
    fn v9_kinds_are_described_without_contradiction() {
        let (mut names, mut messages) = (BTreeSet::new(), BTreeSet::new());
        for kind in Kind::ALL {
            let schema = kind.schema();
            for label in [schema.kind, schema.plural] {
                let is_label = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
                assert!(is_label && !label.is_empty() && label.len() <= 63, "{label}");
            }
            assert!(names.insert((schema.group, schema.kind)), "{}", schema.kind);
            // What Mixer's adapters and templates hold is their own business.
            let is_new = messages.insert((schema.message, schema.scope == Scope::Cluster));
            assert!(is_new || schema.group == "config.istio.io", "{}", schema.message);
        }
    }

    /// `R-N-1`.
    #[test]
    fn every_kind_names_a_known_message_and_finds_itself() {
        for &kind in Kind::ALL {
            let schema = kind.schema();
            assert!(
                mesh_api::descriptors()
                    .get_message_by_name(schema.message)
                    .is_some(),
                "{}",
                schema.message
            );
            assert_eq!(Kind::by_name(schema.group, schema.kind), Some(kind));
            assert_eq!(Kind::by_collection(schema.collection), Some(kind));
        }
    }
}
