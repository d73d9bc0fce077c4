//! Probes of the application that kubelet sends to the agent (`AGT-73`, `AGT-74`): the path tells the
//! container and the kind, a table from the injector tells where the application expects the probe.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Deserialize;

use crate::http::{HttpError, exchange, exchange_tls};

/// How long the application may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Probes by the path under which kubelet asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probers(BTreeMap<String, Prober>);

/// Where the application expects a probe: Kubernetes' `HTTPGetAction`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prober {
    host: String,
    port: u16,
    path: String,
    headers: HeaderMap,
    https: bool,
}

/// A table of probes that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProberError {
    /// Not JSON of the expected form.
    #[error("not a table of HTTP probes: {0}")]
    Json(#[from] serde_json::Error),
    /// A path of another form.
    #[error("path {0:?} is not /app-health/<container>/livez or /app-health/<container>/readyz")]
    Path(String),
    /// A probe that cannot be sent.
    #[error("probe {path:?}: {reason}")]
    Probe {
        /// Its path in the table.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// `HTTPGetAction` as Kubernetes writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGetAction {
    #[serde(default)]
    host: String,
    port: u16,
    #[serde(default)]
    path: String,
    #[serde(default)]
    scheme: String,
    #[serde(default)]
    http_headers: Vec<HttpHeader>,
}

#[derive(Deserialize)]
struct HttpHeader {
    name: String,
    #[serde(default)]
    value: String,
}

// === impl Probers ===

impl Probers {
    /// Reads the table that the injector writes into `ISTIO_KUBE_APP_PROBERS`.
    ///
    /// # Errors
    /// [`ProberError`] names the first probe that cannot be used.
    pub fn parse(text: &str) -> Result<Probers, ProberError> {
        let actions: BTreeMap<String, HttpGetAction> = serde_json::from_str(text)?;
        let probers = actions.into_iter().map(|(path, action)| {
            if !is_prober_path(&path) {
                return Err(ProberError::Path(path));
            }
            let prober = Prober::new(action).map_err(|reason| ProberError::Probe {
                path: path.clone(),
                reason,
            })?;
            Ok((path, prober))
        });
        probers.collect::<Result<_, _>>().map(Probers)
    }

    /// The probe that belongs to the path of a request.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Prober> {
        self.0.get(path)
    }
}

fn is_prober_path(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["", "app-health", container, "livez" | "readyz"] if !container.is_empty())
}

// === impl Prober ===

impl Prober {
    fn new(action: HttpGetAction) -> Result<Prober, &'static str> {
        let HttpGetAction {
            host,
            port,
            path,
            scheme,
            http_headers,
        } = action;
        if port == 0 {
            return Err("0 is not a port");
        }
        let https = match scheme.as_str() {
            "" | "HTTP" => false,
            "HTTPS" => true,
            _ => return Err("the scheme is neither HTTP nor HTTPS"),
        };
        let path = if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        };
        if path.parse::<http::Uri>().is_err() {
            return Err("the path is not one of HTTP");
        }
        let mut headers = HeaderMap::new();
        for HttpHeader { name, value } in http_headers {
            let name = HeaderName::try_from(name).map_err(|_| "a header's name is not one of HTTP")?;
            let value = HeaderValue::try_from(value).map_err(|_| "a header's value is not one of HTTP")?;
            headers.append(name, value);
        }
        Ok(Prober {
            host: if host.is_empty() {
                "127.0.0.1".to_owned()
            } else {
                host
            },
            port,
            path,
            headers,
            https,
        })
    }

    /// Asks the application and returns its status. `user_agent` is kubelet's, by which metrics leave
    /// probes out.
    ///
    /// # Errors
    /// When the application does not answer.
    pub async fn probe(&self, user_agent: Option<&HeaderValue>) -> Result<StatusCode, HttpError> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = self.path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Some(user_agent) = user_agent {
            headers.insert(header::USER_AGENT, user_agent.clone());
        }
        let authority = if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        };
        if let Ok(authority) = HeaderValue::try_from(authority) {
            headers.insert(header::HOST, authority);
        }
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        // Last, so that the probe's own headers win.
        for name in self.headers.keys() {
            headers.remove(name);
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        let address = (self.host.as_str(), self.port);
        let answer = match self.https {
            true => exchange_tls(address, request, TIMEOUT).await,
            false => exchange(address, request, TIMEOUT).await,
        };
        answer.map(|(status, _)| status)
    }
}

#[cfg(test)]
mod tests {
    use super::Probers;

    #[test]
    fn agt_73_a_table_of_the_injector_is_understood() {
        let probers = Probers::parse(
            r#"{"/app-health/web/readyz":{"path":"/ready?x=1","port":8080,"scheme":"HTTP",
                "httpHeaders":[{"name":"Host","value":"web.local"}]},
                "/app-health/web/livez":{"port":8081}}"#,
        )
        .unwrap();
        let ready = probers.get("/app-health/web/readyz").unwrap();
        assert_eq!(
            (ready.host.as_str(), ready.port, ready.path.as_str()),
            ("127.0.0.1", 8080, "/ready?x=1")
        );
        assert_eq!(ready.headers["host"], "web.local");
        assert_eq!(probers.get("/app-health/web/livez").unwrap().path, "/");
        assert!(probers.get("/app-health/other/livez").is_none());
    }

    #[test]
    fn agt_73_a_wrong_table_is_refused() {
        for (text, want) in [
            ("[]", "not a table of HTTP probes"),
            (r#"{"/health":{"port":1}}"#, "path \"/health\" is not"),
            (
                r#"{"/app-health//livez":{"port":1}}"#,
                "path \"/app-health//livez\" is not",
            ),
            (
                r#"{"/app-health/a/startz":{"port":1}}"#,
                "path \"/app-health/a/startz\" is not",
            ),
            (
                r#"{"/app-health/a/livez":{"port":"http"}}"#,
                "not a table of HTTP probes",
            ),
            (r#"{"/app-health/a/livez":{"port":0}}"#, "0 is not a port"),
            (
                r#"{"/app-health/a/livez":{"port":1,"path":"/ /"}}"#,
                "the path is not one of HTTP",
            ),
            (
                r#"{"/app-health/a/livez":{"port":1,"httpHeaders":[{"name":" "}]}}"#,
                "a header's name",
            ),
        ] {
            let error = Probers::parse(text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
