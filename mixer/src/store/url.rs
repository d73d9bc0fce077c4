//! `--configStoreURL` (`spec 02` §9.2).

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use mesh_runtime::args::HostPort;

/// A place that configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    /// A file, or a directory of files.
    Files(PathBuf),
    /// An API server.
    Kube {
        /// Empty: that of the pod.
        kubeconfig: String,
        /// Empty: all.
        namespaces: Vec<String>,
    },
    /// Galley.
    Mcp {
        /// Where it is.
        address: HostPort,
        /// With mutual TLS.
        tls: bool,
    },
}

impl FromStr for StoreUrl {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = match url {
            "" => ("k8s", ""),
            url => url
                .split_once("://")
                .with_context(|| format!("{url:?} has no scheme such as fs://"))?,
        };
        match scheme {
            "fs" if rest.is_empty() => bail!("no path follows fs://"),
            "fs" => Ok(Self::Files(rest.into())),
            "k8s" | "kube" | "kubernetes" => kube(rest),
            "mcp" | "mcps" => Ok(Self::Mcp {
                address: rest.parse().with_context(|| format!("{url:?}"))?,
                tls: scheme == "mcps",
            }),
            scheme => bail!("there is no store {scheme:?}, only fs, k8s, mcp and mcps"),
        }
    }
}

fn kube(rest: &str) -> anyhow::Result<StoreUrl> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut namespaces = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("ns", names)) => {
                let names = names.split(',').filter(|name| !name.is_empty());
                namespaces.extend(names.map(ToOwned::to_owned));
            }
            // A kind that is not served is waited for anyway.
            Some(("retry-timeout", _)) => {}
            _ => bail!("{pair:?} is not one of ns=NAMESPACES and retry-timeout=DURATION"),
        }
    }
    Ok(StoreUrl::Kube {
        kubeconfig: path.to_owned(),
        namespaces,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m113_urls_of_stores_are_read_as_in_1_1() {
        let kube = |kubeconfig: &str, namespaces: &[&str]| StoreUrl::Kube {
            kubeconfig: kubeconfig.to_owned(),
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
        };
        let mcp = |tls| StoreUrl::Mcp {
            address: "galley:9901".parse().unwrap(),
            tls,
        };
        for (url, expected) in [
            ("", kube("", &[])),
            ("k8s://", kube("", &[])),
            (
                "kubernetes:///etc/config?ns=a,b&retry-timeout=30s",
                kube("/etc/config", &["a", "b"]),
            ),
            ("fs:///etc/mixer", StoreUrl::Files("/etc/mixer".into())),
            ("mcp://galley:9901", mcp(false)),
            ("mcps://galley:9901", mcp(true)),
        ] {
            assert_eq!(url.parse::<StoreUrl>().unwrap(), expected, "{url}");
        }
        for url in ["/etc/mixer", "fs://", "http://x", "mcp://", "k8s://?x=y"] {
            assert!(url.parse::<StoreUrl>().is_err(), "{url}");
        }
    }
}
