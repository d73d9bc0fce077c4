//! Header changes on the way to the backend and back (§5.7).

use std::collections::BTreeMap;

use mesh_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use mesh_api::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use mesh_api::istio::networking::v1alpha3::headers::HeaderOperations;
use mesh_api::istio::networking::v1alpha3::{Headers, HttpRoute, HttpRouteDestination};

use super::Findings;
use crate::route::value;

/// Changes of requests and responses.
#[derive(Debug, Default)]
pub(super) struct HeaderChanges {
    pub(super) request: Changes,
    pub(super) response: Changes,
}

/// Changes in one direction.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) add: Vec<HeaderValueOption>,
    pub(super) remove: Vec<String>,
}

/// Where changes come from, for findings.
struct Source<'a, 'b> {
    /// Path of the object that holds the fields, relative to the rule, with a trailing dot.
    prefix: String,
    findings: &'a mut Findings<'b>,
}

// === impl HeaderChanges ===

impl HeaderChanges {
    /// Changes for all destinations of a rule.
    #[expect(deprecated, reason = "1.1 still accepts the old fields")]
    pub(super) fn of_route(route: &HttpRoute, findings: &mut Findings<'_>) -> Self {
        let mut source = Source {
            prefix: String::new(),
            findings,
        };
        let mut changes = Self::of(route.headers.as_ref(), &mut source);
        changes
            .request
            .append("appendHeaders", &route.append_headers, &mut source);
        changes
            .request
            .append("appendRequestHeaders", &route.append_request_headers, &mut source);
        changes
            .request
            .remove("removeRequestHeaders", &route.remove_request_headers, &mut source);
        changes.response.append(
            "appendResponseHeaders",
            &route.append_response_headers,
            &mut source,
        );
        changes.response.remove(
            "removeResponseHeaders",
            &route.remove_response_headers,
            &mut source,
        );
        changes
    }

    /// Changes for one destination.
    #[expect(deprecated, reason = "1.1 still accepts the old fields")]
    pub(super) fn of_destination(
        destination: &HttpRouteDestination,
        position: usize,
        findings: &mut Findings<'_>,
    ) -> Self {
        let mut source = Source {
            prefix: format!("route[{position}]."),
            findings,
        };
        let mut changes = Self::of(destination.headers.as_ref(), &mut source);
        changes.request.append(
            "appendRequestHeaders",
            &destination.append_request_headers,
            &mut source,
        );
        changes.request.remove(
            "removeRequestHeaders",
            &destination.remove_request_headers,
            &mut source,
        );
        changes.response.append(
            "appendResponseHeaders",
            &destination.append_response_headers,
            &mut source,
        );
        changes.response.remove(
            "removeResponseHeaders",
            &destination.remove_response_headers,
            &mut source,
        );
        changes
    }

    fn of(headers: Option<&Headers>, source: &mut Source<'_, '_>) -> Self {
        let mut changes = Self::default();
        if let Some(headers) = headers {
            changes
                .request
                .apply("headers.request", headers.request.as_ref(), source);
            changes
                .response
                .apply("headers.response", headers.response.as_ref(), source);
        }
        changes
    }

    /// Puts other changes after these.
    pub(super) fn append(&mut self, other: Self) {
        self.request.add.extend(other.request.add);
        self.request.remove.extend(other.request.remove);
        self.response.add.extend(other.response.add);
        self.response.remove.extend(other.response.remove);
    }
}

// === impl Changes ===

impl Changes {
    fn apply(&mut self, field: &str, operations: Option<&HeaderOperations>, source: &mut Source<'_, '_>) {
        let Some(HeaderOperations { set, add, remove }) = operations else {
            return;
        };
        self.put(
            &format!("{field}.set"),
            set,
            HeaderAppendAction::OverwriteIfExistsOrAdd,
            source,
        );
        self.append(&format!("{field}.add"), add, source);
        self.remove(&format!("{field}.remove"), remove, source);
    }

    fn append(&mut self, field: &str, headers: &BTreeMap<String, String>, source: &mut Source<'_, '_>) {
        self.put(field, headers, HeaderAppendAction::AppendIfExistsOrAdd, source);
    }

    fn put(
        &mut self,
        field: &str,
        headers: &BTreeMap<String, String>,
        action: HeaderAppendAction,
        source: &mut Source<'_, '_>,
    ) {
        for (name, value) in headers {
            if !source.is_modifiable(field, name) {
                continue;
            }
            if !value::is_header_value(value) {
                source.left_out(field, &format!("the value of {name:?} is not fit for a header"));
                continue;
            }
            self.add.push(HeaderValueOption {
                header: Some(HeaderValue {
                    key: name.clone(),
                    value: literal(value),
                    ..HeaderValue::default()
                }),
                append_action: action.into(),
                // Envoy would leave a header without value out.
                keep_empty_value: value.is_empty(),
                ..HeaderValueOption::default()
            });
        }
    }

    fn remove(&mut self, field: &str, names: &[String], source: &mut Source<'_, '_>) {
        for name in names {
            if source.is_modifiable(field, name) {
                self.remove.push(name.clone());
            }
        }
    }
}

// === impl Source ===

impl Source<'_, '_> {
    /// Whether Envoy lets a route change a header. It rejects routes that change the host or pseudo-headers.
    fn is_modifiable(&mut self, field: &str, name: &str) -> bool {
        let modifiable =
            value::is_header_name(name) && !name.starts_with(':') && !name.eq_ignore_ascii_case("host");
        if !modifiable {
            self.left_out(field, &format!("header {name:?} cannot be changed"));
        }
        modifiable
    }

    fn left_out(&mut self, field: &str, reason: &str) {
        let field = format!("{}{field}", self.prefix);
        self.findings
            .left_out(&field, format!("{reason}, this change is left out"));
    }
}

/// A value as Envoy reads it: `%` introduces a variable there, and an unknown one would make it reject the route.
///
/// A value made of known variables is kept; in any other `%` stands for itself.
fn literal(value: &str) -> String {
    if !value.contains('%') || has_only_known_variables(value) {
        value.to_owned()
    } else {
        value.replace('%', "%%")
    }
}

fn has_only_known_variables(value: &str) -> bool {
    // Texts and variables take turns.
    let parts: Vec<&str> = value.split('%').collect();
    parts.len() % 2 == 1
        && parts
            .iter()
            .skip(1)
            .step_by(2)
            .all(|variable| variable.is_empty() || KNOWN_VARIABLES.contains(variable))
}

/// Variables without arguments that both supported releases of Envoy know.
const KNOWN_VARIABLES: &[&str] = &[
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_VERSION",
    "HOSTNAME",
    "PROTOCOL",
    "REQUESTED_SERVER_NAME",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_FLAGS",
    "START_TIME",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_that_are_no_known_variable_stand_for_themselves() {
        for (value, expected) in [
            ("plain", "plain"),
            ("100%", "100%%"),
            ("50%%", "50%%"),
            ("%FOO%", "%%FOO%%"),
            ("%REQ(x)%", "%%REQ(x)%%"),
            (
                "from %DOWNSTREAM_REMOTE_ADDRESS%",
                "from %DOWNSTREAM_REMOTE_ADDRESS%",
            ),
            ("%PROTOCOL% %%", "%PROTOCOL% %%"),
        ] {
            assert_eq!(literal(value), expected);
        }
    }
}
