//! Workloads of Kubernetes are their service accounts.

use std::fmt;
use std::str::FromStr;

use crate::{InvalidId, SCHEME, SpiffeId};

/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAccount {
    /// The trust domain, such as `cluster.local`.
    pub trust_domain: String,
    /// The namespace of the account.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

// === impl ServiceAccount ===

impl TryFrom<&SpiffeId> for ServiceAccount {
    type Error = InvalidId;

    fn try_from(id: &SpiffeId) -> Result<Self, InvalidId> {
        let segments: Vec<_> = id.path().split('/').skip(1).collect();
        let ["ns", namespace, "sa", name] = segments[..] else {
            return Err(InvalidId {
                id: id.to_string(),
                reason: "the path is not /ns/<namespace>/sa/<service account>",
            });
        };
        Ok(Self {
            trust_domain: id.trust_domain().to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl FromStr for ServiceAccount {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::try_from(&text.parse::<SpiffeId>()?)
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trust_domain,
            namespace,
            name,
        } = self;
        write!(f, "{SCHEME}{trust_domain}/ns/{namespace}/sa/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_10_reads_what_it_writes() {
        let text = "spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account";
        let account: ServiceAccount = text.parse().unwrap();
        assert_eq!(
            (account.namespace.as_str(), account.name.as_str()),
            ("istio-system", "istio-pilot-service-account")
        );
        assert_eq!(account.to_string(), text);
    }

    #[test]
    fn r_13_ids_of_other_platforms_are_no_service_accounts() {
        for text in [
            "spiffe://cluster.local",
            "spiffe://cluster.local/ns/a/sa",
            "spiffe://cluster.local/ns/a/sa/b/c",
            "spiffe://cluster.local/sa/a/ns/b",
            "nonsense",
        ] {
            text.parse::<ServiceAccount>().unwrap_err();
        }
    }
}
