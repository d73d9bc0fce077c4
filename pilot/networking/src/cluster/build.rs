//! Clusters from their keys.

use mesh_api::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use mesh_api::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy,
};
use mesh_api::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use mesh_api::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::Protocol;
use pilot_model::{DestinationRule, EndpointAddress, Resolution, Service, Versioned};
use prost_types::Duration;

use super::{ClusterKey, Target, policy};
use crate::destination::{self, SubsetIndex};
use crate::{Built, endpoint, envoy};

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
        Target::Service {
            service,
            port,
            subset,
            rules,
        } => outbound(
            cluster,
            &key.mesh,
            service,
            *port,
            *subset,
            rules.as_deref().unwrap_or_default(),
        ),
        Target::Workload {
            address,
            service_port,
            protocol,
            rules,
        } => {
            let rules = rules.as_deref().unwrap_or_default();
            let pool = destination::policy(rules, None, *service_port).connection_pool;
            let mut cluster = with_type(cluster, DiscoveryType::Static);
            cluster.load_assignment = Some(single_endpoint(&cluster.name, address));
            policy::apply_connection_pool(&mut cluster, &key.mesh, pool, *protocol);
            cluster.into()
        }
    }
}

fn outbound(
    cluster: Cluster,
    mesh: &MeshConfig,
    service: &Versioned<Service>,
    port: u16,
    subset: Option<SubsetIndex>,
    rules: &[Versioned<DestinationRule>],
) -> Built<Cluster> {
    let subset = subset.and_then(|index| index.get(rules));
    let policy = destination::policy(rules, subset, port);
    let port = service.port(port);
    let protocol = port.map_or(Protocol::Tcp, |port| port.protocol);

    let mut cluster = match service.resolution {
        Resolution::Passthrough => original_destination(cluster),
        // The caller asked for an address, and its policy says to go there.
        Resolution::ClientSide if policy::is_passthrough(policy.load_balancer) => {
            original_destination(cluster)
        }
        Resolution::ClientSide => Cluster {
            eds_cluster_config: Some(EdsClusterConfig {
                eds_config: Some(envoy::ads()),
                service_name: cluster.name.clone(),
            }),
            ..with_type(cluster, DiscoveryType::Eds)
        },
        Resolution::Dns => {
            let endpoints = service.endpoints.iter().filter(|endpoint| {
                port.is_some_and(|port| endpoint.service_port == port.name)
                    && subset.is_none_or(|subset| endpoint::belongs(endpoint, subset))
            });
            strict_dns(cluster, mesh, endpoints)
        }
    };
    policy::apply_load_balancer(&mut cluster, policy.load_balancer);
    policy::apply_connection_pool(&mut cluster, mesh, policy.connection_pool, protocol);
    policy::apply_default_retries(&mut cluster);
    policy::apply_outlier_detection(&mut cluster, policy.outlier_detection);
    if let Some(rule) = rules.first() {
        cluster.metadata = Some(envoy::istio_metadata([("config", rule.key.api_path())]));
    }
    let warnings = policy::unsupported_tls(service, rules, policy.tls)
        .into_iter()
        .collect();
    Built {
        message: cluster,
        warnings,
    }
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
fn strict_dns<'a>(
    cluster: Cluster,
    mesh: &MeshConfig,
    endpoints: impl Iterator<Item = &'a pilot_model::Endpoint>,
) -> Cluster {
    Cluster {
        load_assignment: Some(endpoint::load_assignment(
            &cluster.name,
            endpoints,
            endpoint::Names::Resolved,
        )),
        dns_lookup_family: DnsLookupFamily::V4Only.into(),
        // Envoy warns of the field, hence it is left out where it would say what holds anyway.
        dns_refresh_rate: envoy::positive(mesh.dns_refresh_rate.as_ref())
            .filter(|rate| *rate != DNS_REFRESH_RATE),
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
