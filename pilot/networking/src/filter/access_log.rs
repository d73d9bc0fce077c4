//! Access logs (TEL-31, TEL-32).

use std::collections::BTreeMap;

use mesh_api::Any;
use mesh_api::envoy::config::accesslog::v3::{AccessLog, access_log};
use mesh_api::envoy::config::core::v3::{SubstitutionFormatString, substitution_format_string};
use mesh_api::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use mesh_api::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::istio::mesh::v1alpha1::mesh_config::AccessLogEncoding;
use prost_types::Struct;

use super::log_format;
use crate::envoy;

/// The format of a line (TEL-31), and at its end where in the proxy a response comes from.
pub(super) const TEXT_FORMAT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% \"%DYNAMIC_METADATA(istio.mixer:status)%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% ",
    "%RESPONSE_CODE_DETAILS%\n",
);

/// The fields of a JSON line (TEL-32).
pub(super) const JSON_FORMAT: [(&str, &str); 22] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("istio_policy_status", "%DYNAMIC_METADATA(istio.mixer:status)%"),
];

/// What the log says of connections that are dropped because nobody declared where they go. The line says before which
/// address and server name that is.
const BLOCKED: &str =
    "blocked by outboundTrafficPolicy REGISTRY_ONLY: no Service or ServiceEntry has this destination";

/// The access logs of a connection or of its requests; none unless the mesh names a file.
pub(super) fn access_log(mesh: &MeshConfig) -> Vec<AccessLog> {
    with_reason(mesh, None)
}

/// The access logs of connections to destinations that nobody declared. A text format of the user's stays as it is.
pub(super) fn of_blocked(mesh: &MeshConfig) -> Vec<AccessLog> {
    with_reason(mesh, Some(BLOCKED))
}

fn with_reason(mesh: &MeshConfig, reason: Option<&str>) -> Vec<AccessLog> {
    if mesh.access_log_file.is_empty() {
        return Vec::new();
    }
    let custom = mesh.access_log_format.as_str();
    let format = if is_json(mesh) {
        let mut fields = json_fields(custom).unwrap_or_else(|| json_object(JSON_FORMAT));
        fields
            .fields
            .extend(reason.map(|reason| ("reason".to_owned(), envoy::text(reason))));
        SubstitutionFormatString {
            format: Some(substitution_format_string::Format::JsonFormat(fields)),
            ..SubstitutionFormatString::default()
        }
    } else {
        let is_default = custom.is_empty() || !log_format::is_understood(custom);
        super::text_format(match reason {
            _ if !is_default => custom.to_owned(),
            Some(reason) => format!(
                "{} \"{reason}\"
",
                TEXT_FORMAT.trim_end()
            ),
            None => TEXT_FORMAT.to_owned(),
        })
    };
    let (name, config) = logger(&mesh.access_log_file, format);
    vec![AccessLog {
        name: name.to_owned(),
        config_type: Some(access_log::ConfigType::TypedConfig(config)),
        ..AccessLog::default()
    }]
}

/// Whether the mesh asks for a format that is not used, because a proxy would reject it with everything else.
pub fn replaces_access_log_format(mesh: &MeshConfig) -> bool {
    let custom = mesh.access_log_format.as_str();
    if custom.is_empty() {
        false
    } else if is_json(mesh) {
        json_fields(custom).is_none()
    } else {
        !log_format::is_understood(custom)
    }
}

fn is_json(mesh: &MeshConfig) -> bool {
    mesh.access_log_encoding == i32::from(AccessLogEncoding::Json)
}

/// The logger for a file.
///
/// The standard streams are not opened by their path: whoever started the proxy may have opened them as another user,
/// and Envoy refuses a listener whose log it cannot open.
fn logger(path: &str, format: SubstitutionFormatString) -> (&'static str, Any) {
    match path {
        "/dev/stdout" => {
            let format = stdout_access_log::AccessLogFormat::LogFormat(format);
            let log = StdoutAccessLog {
                access_log_format: Some(format),
            };
            ("envoy.access_loggers.stdout", Any::pack(&log))
        }
        "/dev/stderr" => {
            let format = stderr_access_log::AccessLogFormat::LogFormat(format);
            let log = StderrAccessLog {
                access_log_format: Some(format),
            };
            ("envoy.access_loggers.stderr", Any::pack(&log))
        }
        path => {
            let format = file_access_log::AccessLogFormat::LogFormat(format);
            let log = FileAccessLog {
                path: path.to_owned(),
                access_log_format: Some(format),
            };
            ("envoy.access_loggers.file", Any::pack(&log))
        }
    }
}

/// A custom JSON format: an object of formats. Anything else falls back to the default.
fn json_fields(custom: &str) -> Option<Struct> {
    let fields: BTreeMap<String, String> = serde_json::from_str(custom).ok()?;
    let is_understood = fields.values().all(|format| log_format::is_understood(format));
    (is_understood && !fields.is_empty()).then(|| json_object(fields))
}

fn json_object<K: Into<String>, V: Into<String>>(fields: impl IntoIterator<Item = (K, V)>) -> Struct {
    let fields = fields
        .into_iter()
        .map(|(key, value)| (key.into(), envoy::text(value)))
        .collect();
    Struct { fields }
}
