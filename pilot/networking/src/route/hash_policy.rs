//! Session affinity: what of a request is hashed (§6.3).

use mesh_api::envoy::config::route::v3::route_action;
use mesh_api::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier,
};
use mesh_api::istio::networking::v1alpha3::load_balancer_settings::consistent_hash_lb::HashKey;
use mesh_api::istio::networking::v1alpha3::load_balancer_settings::{ConsistentHashLb, LbPolicy};
use mesh_config::{ConfigKey, Str};
use pilot_model::RuleChain;

use super::value;
use crate::destination;

/// What of a request is hashed to choose an endpoint, and the DestinationRule that says so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HashPolicy {
    pub(super) hashed: Hashed,
    pub(super) rule: ConfigKey,
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Hashed {
    Header(Str),
    Cookie {
        name: Str,
        path: Str,
        ttl_seconds: i64,
        ttl_nanos: i32,
    },
    SourceIp,
}

// === impl HashPolicy ===

impl HashPolicy {
    /// The policy that DestinationRules give to requests for one port of a service or of a subset of it.
    ///
    /// The strongest level with a load balancer decides, in the order subset port, subset, service port, service
    /// (`R-DR-5`): a subset that balances at random takes no part in the affinity of its service.
    pub(super) fn of(rules: &RuleChain, subset: &str, port: u16) -> Option<Self> {
        let index = destination::find_subset(rules, subset);
        let subset = index.and_then(|index| index.get(rules));
        let load_balancer = destination::policy(rules, subset, port).load_balancer?;
        let Some(LbPolicy::ConsistentHash(settings)) = &load_balancer.lb_policy else {
            return None;
        };
        let of_service = destination::policy(rules, None, port).load_balancer;
        let rule = if of_service.is_some_and(|own| std::ptr::eq(own, load_balancer)) {
            rules.iter().find(|rule| rule.spec.traffic_policy.is_some())
        } else {
            index.and_then(|index| rules.get(index.rule))
        };
        Some(Self {
            hashed: Hashed::of(settings)?,
            rule: rule?.key.clone(),
        })
    }

    pub(super) fn to_message(&self) -> route_action::HashPolicy {
        self.hashed.to_message()
    }
}

// === impl Hashed ===

impl Hashed {
    fn of(settings: &ConsistentHashLb) -> Option<Self> {
        match settings.hash_key.as_ref()? {
            HashKey::HttpHeaderName(name) => {
                value::is_header_name(name).then(|| Self::Header(name.as_str().into()))
            }
            HashKey::HttpCookie(cookie) if cookie.name.is_empty() => None,
            HashKey::HttpCookie(cookie) => {
                // An absent lifetime is a session cookie: without one Envoy would not make the cookie up.
                let ttl = cookie.ttl.as_ref().and_then(value::duration).unwrap_or_default();
                Some(Self::Cookie {
                    name: cookie.name.as_str().into(),
                    path: cookie.path.as_str().into(),
                    ttl_seconds: ttl.seconds,
                    ttl_nanos: ttl.nanos,
                })
            }
            HashKey::UseSourceIp(used) => used.then_some(Self::SourceIp),
        }
    }

    fn to_message(&self) -> route_action::HashPolicy {
        let policy_specifier = match self {
            Self::Header(name) => PolicySpecifier::Header(Header {
                header_name: name.to_string(),
                ..Header::default()
            }),
            Self::Cookie {
                name,
                path,
                ttl_seconds,
                ttl_nanos,
            } => PolicySpecifier::Cookie(Cookie {
                name: name.to_string(),
                path: path.to_string(),
                ttl: Some(prost_types::Duration {
                    seconds: *ttl_seconds,
                    nanos: *ttl_nanos,
                }),
                ..Cookie::default()
            }),
            Self::SourceIp => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
        };
        route_action::HashPolicy {
            policy_specifier: Some(policy_specifier),
            ..route_action::HashPolicy::default()
        }
    }
}
