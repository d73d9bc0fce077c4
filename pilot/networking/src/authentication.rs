//! What authentication policies mean for the ports of a workload (spec 03, §7.3, §7.4).

use mesh_api::envoy::config::core::v3::{DataSource, data_source};
use mesh_api::envoy::config::route::v3::DirectResponseAction;
use mesh_api::istio::authentication::v1alpha1::PrincipalBinding;
use mesh_config::Protocol;
use pilot_model::{
    AuthenticationPolicy, PeerMode, Proxy, ScopedView, ServiceInstance, Versioned, Warning, WarningKind,
    Workload,
};

use crate::tls::inbound::InboundTls;

/// What callers of a port of a workload must show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Authentication {
    /// On connections; `None`: nothing.
    pub(crate) tls: Option<InboundTls>,
    /// Why requests are refused, whatever they show; `None`: they are not.
    pub(crate) refusal: Option<Refusal>,
}

/// Why no request can be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// The calling workload must show a token.
    Peer,
    /// The end user must show a token.
    Origin,
}

/// The policy for the service port behind which a port of a workload stands.
pub(crate) fn policy<'a>(
    view: &'a ScopedView,
    instance: &ServiceInstance,
) -> Option<&'a Versioned<AuthenticationPolicy>> {
    view.authentication_policy(&instance.namespace, &instance.host, &instance.service_port)
}

/// What a policy asks of the callers of a port, and what of it cannot be followed.
pub(crate) fn of_port(
    view: &ScopedView,
    proxy: &Proxy,
    instance: &ServiceInstance,
    protocol: Protocol,
    warnings: &mut Vec<Warning>,
) -> Authentication {
    let Some(policy) = policy(view, instance) else {
        return Authentication::default();
    };
    let mut warn = |reason: &str| warnings.push(warning(policy, instance, reason));
    let refusal = refusal(policy);
    match refusal {
        Some(refusal) if protocol.is_http() => warn(refusal.reason()),
        Some(_) => {
            warn("tokens are part of requests; connections to a port that is not HTTP are taken without")
        }
        None => {}
    }
    if policy.spec.peer_is_optional && policy.peer_mode() == PeerMode::Strict {
        warn(
            "peerIsOptional: with mode STRICT callers without certificate are refused; PERMISSIVE takes them",
        );
    }
    Authentication {
        tls: InboundTls::new(view, proxy, policy),
        refusal: refusal.filter(|_| protocol.is_http()),
    }
}

/// Why the requests of strangers to a port of a gateway are refused: the policy for the service of the gateway wants to see
/// what nobody checks. Certificates of the mesh are not asked for at its edge.
pub(crate) fn refusal_of_gateway(
    view: &ScopedView,
    workload: &Workload,
    port: u16,
    warnings: &mut Vec<Warning>,
) -> Option<Refusal> {
    let mut instances = workload.instances.iter();
    let of_port = instances.find(|instance| instance.service_port.number == port);
    let instance = of_port.or(workload.instances.first())?;
    let policy = policy(view, instance)?;
    let refusal = refusal(policy)?;
    warnings.push(warning(policy, instance, refusal.reason()));
    Some(refusal)
}

/// Says of a port that the proxy does not serve that nobody is asked for anything there.
pub(crate) fn warn_of_uncaptured(view: &ScopedView, instance: &ServiceInstance, warnings: &mut Vec<Warning>) {
    if let Some(policy) = policy(view, instance)
        && (policy.peer_mode() == PeerMode::Strict || refusal(policy).is_some())
    {
        let reason = "the proxy captures nothing: whoever reaches the application is served";
        warnings.push(warning(policy, instance, reason));
    }
}

fn warning(policy: &AuthenticationPolicy, instance: &ServiceInstance, reason: &str) -> Warning {
    Warning {
        object: policy.key.clone(),
        kind: WarningKind::Unsupported,
        reason: format!("{}:{}: {reason}", instance.host, instance.service_port.number),
    }
}

/// Why requests to HTTP ports under a policy cannot be let in: what it wants to see cannot be checked.
fn refusal(policy: &AuthenticationPolicy) -> Option<Refusal> {
    let spec = &policy.spec;
    let wants_peer = !spec.peers.is_empty() && policy.peer_mode() == PeerMode::PlainText;
    let wants_origin = !spec.origins.is_empty() || spec.principal_binding() == PrincipalBinding::UseOrigin;
    if wants_peer && !spec.peer_is_optional {
        Some(Refusal::Peer)
    } else if wants_origin && !spec.origin_is_optional {
        Some(Refusal::Origin)
    } else {
        None
    }
}

// === impl Refusal ===

impl Refusal {
    /// What a refused request is answered.
    pub(crate) fn response(self) -> DirectResponseAction {
        let body = match self {
            Self::Peer => "Peer authentication failed.",
            Self::Origin => "Origin authentication failed.",
        };
        DirectResponseAction {
            status: 401,
            body: Some(DataSource {
                specifier: Some(data_source::Specifier::InlineString(body.to_owned())),
                ..DataSource::default()
            }),
            ..DirectResponseAction::default()
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Peer => "peers: tokens are not checked; requests are refused",
            Self::Origin => "origins: tokens are not checked yet; requests are refused",
        }
    }
}
