//! Clusters from their keys.

use mesh_api::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use mesh_api::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy,
};
use mesh_api::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use mesh_api::envoy::config::core::v3::Metadata;
use mesh_api::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{ConfigKey, Protocol};
use pilot_model::{DestinationRule, EndpointAddress, Resolution, Versioned};
use prost_types::Duration;

use super::{ClusterKey, ServiceTarget, Target, affinity, policy};
use crate::tls::upstream::{self, Upstream};
use crate::tls::workload::WorkloadCertificates;
use crate::{Built, destination, endpoint, envoy, name, origin};

/// Limits that are never reached: traffic that belongs to no service is none of ours to limit (`A-11`).
const UNLIMITED: Thresholds = Thresholds {
    priority: 0,
    max_connections: Some(u32::MAX),
    max_pending_requests: Some(u32::MAX),
    max_requests: Some(u32::MAX),
    max_retries: Some(u32::MAX),
    retry_budget: None,
    track_remaining: false,
    max_connection_pools: None,
};

/// How often Envoy resolves names again unless told otherwise; the default of the mesh is the same.
const DNS_REFRESH_RATE: Duration = Duration { seconds: 5, nanos: 0 };

pub(super) fn cluster(key: &ClusterKey) -> Built<Cluster> {
    let cluster = Cluster {
        name: key.name.to_string(),
        connect_timeout: Some(connect_timeout(&key.mesh)),
        ..Cluster::default()
    };
    match &key.target {
        Target::BlackHole => black_hole(cluster).into(),
        Target::OriginalDestination => Cluster {
            circuit_breakers: Some(CircuitBreakers {
                thresholds: vec![UNLIMITED],
                ..CircuitBreakers::default()
            }),
            ..original_destination(cluster)
        }
        .into(),
        Target::Service(target) => outbound(cluster, &key.mesh, target),
        Target::Workload {
            address,
            service_port,
            protocol,
            service,
            rules,
        } => {
            let rules = rules.as_deref().unwrap_or_default();
            let pool = destination::policy(rules, None, *service_port).connection_pool;
            let mut cluster = with_type(cluster, DiscoveryType::Static);
            cluster.metadata = metadata(service.as_ref(), rules);
            cluster.load_assignment = Some(single_endpoint(&cluster.name, address));
            policy::apply_connection_pool(&mut cluster, &key.mesh, pool, *protocol);
            cluster.into()
        }
        Target::DefaultEndpoint {
            address,
            protocol,
            gateway,
        } => {
            let mut cluster = with_type(cluster, DiscoveryType::Static);
            cluster.metadata = origin::metadata(None, [gateway]);
            cluster.load_assignment = Some(single_endpoint(&cluster.name, address));
            policy::apply_connection_pool(&mut cluster, &key.mesh, None, *protocol);
            cluster.into()
        }
    }
}

fn outbound(cluster: Cluster, mesh: &MeshConfig, target: &ServiceTarget) -> Built<Cluster> {
    let ServiceTarget {
        service,
        port: number,
        ..
    } = target;
    let rules = target.rules.as_deref().unwrap_or_default();
    let subset = target.subset.and_then(|index| index.get(rules));
    let policy = destination::policy(rules, subset, *number);
    let port = service.port(*number);
    let protocol = port.map_or(Protocol::Tcp, |port| port.protocol);

    let own_endpoint = affinity::endpoint(mesh, &cluster.name, service, *number);
    let mut cluster = match service.resolution {
        Resolution::Passthrough if !target.is_balanced => original_destination(cluster),
        // The caller asked for an address, and its policy says to go there.
        _ if policy::is_passthrough(policy.load_balancer) => original_destination(cluster),
        Resolution::ClientSide if own_endpoint.is_some() => {
            let assignment = endpoint::resolved(&cluster.name, own_endpoint.iter(), None);
            strict_dns(cluster, mesh, assignment)
        }
        Resolution::ClientSide | Resolution::Passthrough => Cluster {
            eds_cluster_config: Some(EdsClusterConfig {
                eds_config: Some(envoy::ads()),
                service_name: cluster.name.clone(),
            }),
            ..with_type(cluster, DiscoveryType::Eds)
        },
        Resolution::Dns => {
            let view = target.network_view.as_ref();
            let endpoints = service.endpoints.iter().filter(|endpoint| {
                view.is_none_or(|view| view.contains(&endpoint.network))
                    && port.is_some_and(|port| endpoint.service_port == port.name)
                    && subset.is_none_or(|subset| endpoint::belongs(endpoint, subset))
            });
            let balance = mesh.locality_lb_setting.as_ref().zip(target.locality.as_ref());
            let balance =
                balance.map(|(setting, place)| (setting, place, policy.outlier_detection.is_some()));
            let assignment = endpoint::resolved(&cluster.name, endpoints, balance);
            strict_dns(cluster, mesh, assignment)
        }
    };
    policy::apply_load_balancer(&mut cluster, policy.load_balancer);
    policy::apply_connection_pool(&mut cluster, mesh, policy.connection_pool, protocol);
    policy::apply_default_retries(&mut cluster);
    policy::apply_outlier_detection(&mut cluster, policy.outlier_detection);
    policy::apply_locality_weights(&mut cluster, target.distributes);
    cluster.metadata = metadata(service.definition().as_ref(), rules);
    let warnings = if target.sni_dnat {
        // What comes in is TLS already, and not ours to look into.
        cluster.typed_extension_protocol_options.clear();
        Vec::new()
    } else {
        let subset = subset.map_or("", |subset| subset.name.as_str());
        let upstream = Upstream {
            service,
            mesh_server_name: &name::server_name(*number, subset, &service.id.host),
            protocol,
            rules,
            identities: target.identities.as_deref(),
            certificates: WorkloadCertificates::new(mesh, target.certificate_files.clone()),
        };
        upstream::apply(&mut cluster, &upstream, policy.tls)
    };
    Built {
        message: cluster,
        warnings,
    }
}

/// The rule that decides, the service and the rules that add subsets.
fn metadata(service: Option<&ConfigKey>, rules: &[Versioned<DestinationRule>]) -> Option<Metadata> {
    let mut rules = rules.iter().map(|rule| &rule.key);
    let first = rules.next();
    origin::metadata(first, service.into_iter().chain(rules))
}

/// Has no endpoints and never gets any.
fn black_hole(cluster: Cluster) -> Cluster {
    with_type(cluster, DiscoveryType::Static)
}

fn original_destination(cluster: Cluster) -> Cluster {
    Cluster {
        lb_policy: LbPolicy::ClusterProvided.into(),
        ..with_type(cluster, DiscoveryType::OriginalDst)
    }
}

#[allow(
    deprecated,
    reason = "the successor is a cluster extension that tools do not show as STRICT_DNS"
)]
fn strict_dns(cluster: Cluster, mesh: &MeshConfig, assignment: ClusterLoadAssignment) -> Cluster {
    Cluster {
        load_assignment: Some(assignment),
        dns_lookup_family: DnsLookupFamily::V4Only.into(),
        // Envoy warns of the field, hence it is left out where it would say what holds anyway.
        dns_refresh_rate: envoy::positive(mesh.dns_refresh_rate.as_ref())
            .filter(|rate| *rate != DNS_REFRESH_RATE)
            .map(|rate| match rate {
                // Envoy wants more than the millisecond that is admitted.
                Duration { seconds: 0, nanos } => Duration {
                    seconds: 0,
                    nanos: nanos.max(1_000_001),
                },
                rate => rate,
            }),
        ..with_type(cluster, DiscoveryType::StrictDns)
    }
}

fn with_type(cluster: Cluster, kind: DiscoveryType) -> Cluster {
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        ..cluster
    }
}

fn single_endpoint(cluster: &str, address: &EndpointAddress) -> ClusterLoadAssignment {
    let endpoint = Endpoint {
        address: Some(endpoint::address(address)),
        ..Endpoint::default()
    };
    let endpoint = LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    };
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}

fn connect_timeout(mesh: &MeshConfig) -> Duration {
    envoy::positive(mesh.connect_timeout.as_ref()).unwrap_or_else(|| envoy::seconds(1))
}
