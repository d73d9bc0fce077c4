//! DestinationRule (V3).

use mesh_api::istio::networking::v1alpha3::connection_pool_settings::{HttpSettings, TcpSettings};
use mesh_api::istio::networking::v1alpha3::load_balancer_settings::LbPolicy;
use mesh_api::istio::networking::v1alpha3::load_balancer_settings::consistent_hash_lb::HashKey;
use mesh_api::istio::networking::v1alpha3::port_selector;
use mesh_api::istio::networking::v1alpha3::tls_settings::TlSmode;
use mesh_api::istio::networking::v1alpha3::{
    ConnectionPoolSettings, DestinationRule, LoadBalancerSettings, OutlierDetection, TlsSettings,
    TrafficPolicy,
};

use super::primitive;
use super::problems::Problems;

/// The four components of a policy; each may be absent.
struct Policy<'a> {
    load_balancer: Option<&'a LoadBalancerSettings>,
    connection_pool: Option<&'a ConnectionPoolSettings>,
    outlier_detection: Option<&'a OutlierDetection>,
    tls: Option<&'a TlsSettings>,
}

pub(super) fn check(rule: &DestinationRule, problems: &mut Problems) {
    problems.check_field("host", primitive::wildcard_domain(&rule.host));
    check_policy(rule.traffic_policy.as_ref(), problems);
    problems.each("subsets", &rule.subsets, |problems, subset| {
        problems.check_field("name", primitive::label(&subset.name));
        super::virtual_service::check_tags("labels", &subset.labels, problems);
        check_policy(subset.traffic_policy.as_ref(), problems);
    });
    problems.check_field("exportTo", primitive::export_to(&rule.export_to));
}

fn check_policy(policy: Option<&TrafficPolicy>, problems: &mut Problems) {
    let Some(policy) = policy else { return };
    problems.field("trafficPolicy", |problems| {
        let components = Policy {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
        };
        if components.is_empty() && policy.port_level_settings.is_empty() {
            problems.report("a policy needs at least one setting");
        }
        components.check(problems);
        problems.each(
            "portLevelSettings",
            &policy.port_level_settings,
            |problems, settings| {
                match settings.port.as_ref().and_then(|port| port.port.as_ref()) {
                    None => problems.report_field("port", "missing"),
                    Some(port_selector::Port::Number(number)) => {
                        problems.check_field("port.number", primitive::port(*number));
                    }
                    Some(port_selector::Port::Name(name)) => {
                        problems.check_field("port.name", primitive::label(name))
                    }
                }
                let components = Policy {
                    load_balancer: settings.load_balancer.as_ref(),
                    connection_pool: settings.connection_pool.as_ref(),
                    outlier_detection: settings.outlier_detection.as_ref(),
                    tls: settings.tls.as_ref(),
                };
                if components.is_empty() {
                    problems.report("a policy needs at least one setting");
                }
                components.check(problems);
            },
        );
    });
}

// === impl Policy ===

impl Policy<'_> {
    fn is_empty(&self) -> bool {
        self.load_balancer.is_none()
            && self.connection_pool.is_none()
            && self.outlier_detection.is_none()
            && self.tls.is_none()
    }

    fn check(&self, problems: &mut Problems) {
        if let Some(settings) = self.load_balancer {
            problems.field("loadBalancer", |problems| check_load_balancer(settings, problems));
        }
        if let Some(settings) = self.connection_pool {
            problems.field("connectionPool", |problems| {
                check_connection_pool(settings, problems)
            });
        }
        if let Some(settings) = self.outlier_detection {
            problems.field("outlierDetection", |problems| {
                check_outlier_detection(settings, problems)
            });
        }
        if let Some(settings) = self.tls {
            problems.field("tls", |problems| check_tls(settings, problems));
        }
    }
}

fn check_load_balancer(settings: &LoadBalancerSettings, problems: &mut Problems) {
    let Some(LbPolicy::ConsistentHash(hash)) = &settings.lb_policy else {
        return;
    };
    problems.field("consistentHash", |problems| match &hash.hash_key {
        None => problems.report("one of httpHeaderName, httpCookie and useSourceIp is needed"),
        Some(HashKey::HttpCookie(cookie)) => problems.field("httpCookie", |problems| {
            if cookie.name.is_empty() {
                problems.report_field("name", "missing");
            }
            if cookie.ttl.is_none() {
                problems.report_field("ttl", "missing");
            }
        }),
        Some(_) => {}
    });
}

/// Limits (`R-DR-17`): 0 is unset.
fn check_connection_pool(settings: &ConnectionPoolSettings, problems: &mut Problems) {
    if settings.tcp.is_none() && settings.http.is_none() {
        problems.report("one of tcp and http is needed");
    }
    if let Some(tcp) = &settings.tcp {
        let TcpSettings {
            max_connections,
            connect_timeout,
            tcp_keepalive,
        } = tcp;
        problems.field("tcp", |problems| {
            problems.check_field("maxConnections", primitive::not_negative(*max_connections));
            check_duration("connectTimeout", connect_timeout.as_ref(), problems);
            if let Some(keepalive) = tcp_keepalive {
                problems.field("tcpKeepalive", |problems| {
                    check_duration("time", keepalive.time.as_ref(), problems);
                    check_duration("interval", keepalive.interval.as_ref(), problems);
                });
            }
        });
    }
    if let Some(http) = &settings.http {
        let HttpSettings {
            http1_max_pending_requests,
            http2_max_requests,
            max_requests_per_connection,
            max_retries,
            idle_timeout,
        } = http;
        problems.field("http", |problems| {
            for (name, limit) in [
                ("http1MaxPendingRequests", http1_max_pending_requests),
                ("http2MaxRequests", http2_max_requests),
                ("maxRequestsPerConnection", max_requests_per_connection),
                ("maxRetries", max_retries),
            ] {
                problems.check_field(name, primitive::not_negative(*limit));
            }
            check_duration("idleTimeout", idle_timeout.as_ref(), problems);
        });
    }
}

/// `R-DR-28`.
fn check_outlier_detection(settings: &OutlierDetection, problems: &mut Problems) {
    problems.check_field(
        "consecutiveErrors",
        primitive::not_negative(settings.consecutive_errors),
    );
    check_duration("interval", settings.interval.as_ref(), problems);
    check_duration("baseEjectionTime", settings.base_ejection_time.as_ref(), problems);
    problems.check_field(
        "maxEjectionPercent",
        primitive::percent(settings.max_ejection_percent),
    );
    problems.check_field(
        "minHealthPercent",
        primitive::percent(settings.min_health_percent),
    );
}

fn check_tls(settings: &TlsSettings, problems: &mut Problems) {
    let files = [
        ("clientCertificate", &settings.client_certificate),
        ("privateKey", &settings.private_key),
    ];
    for (name, file) in files {
        match settings.mode() {
            TlSmode::Mutual if file.is_empty() => problems.report_field(name, "mode MUTUAL needs it"),
            TlSmode::IstioMutual if !file.is_empty() => {
                problems.report_field(name, "mode ISTIO_MUTUAL takes none: the mesh provides it");
            }
            _ => {}
        }
    }
}

fn check_duration(name: &str, duration: Option<&prost_types::Duration>, problems: &mut Problems) {
    if let Some(duration) = duration {
        problems.check_field(name, primitive::duration(duration));
    }
}
