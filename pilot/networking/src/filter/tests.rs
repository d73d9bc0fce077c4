use mesh_api::envoy::config::accesslog::v3::{AccessLog, access_log as log};
use mesh_api::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::ForwardClientCertDetails;
use mesh_api::istio::mesh::v1alpha1::mesh_config::AccessLogEncoding;
use mesh_config::Protocol;

use super::*;

fn mesh(encoding: AccessLogEncoding, format: &str) -> MeshConfig {
    MeshConfig {
        access_log_file: "/var/log/access".to_owned(),
        access_log_encoding: encoding.into(),
        access_log_format: format.to_owned(),
        ..MeshConfig::default()
    }
}

/// A text format, or the names of the fields of a JSON one.
fn format_of(logs: &[AccessLog]) -> Result<String, Vec<String>> {
    let [
        AccessLog {
            config_type: Some(log::ConfigType::TypedConfig(any)),
            ..
        },
    ] = logs
    else {
        panic!("not one log: {logs:?}");
    };
    let file: FileAccessLog = any.unpack().expect("a file log");
    assert_eq!(file.path, "/var/log/access");
    let Some(file_access_log::AccessLogFormat::LogFormat(format)) = file.access_log_format else {
        panic!("no format");
    };
    match format.format {
        Some(substitution_format_string::Format::JsonFormat(fields)) => {
            Err(fields.fields.into_keys().collect())
        }
        Some(substitution_format_string::Format::TextFormatSource(source)) => match source.specifier {
            Some(data_source::Specifier::InlineString(text)) => Ok(text),
            other => panic!("not inline: {other:?}"),
        },
        other => panic!("another format: {other:?}"),
    }
}

fn manager(role: Role, protocol: Protocol) -> HttpConnectionManager {
    manager_with(role, protocol, HttpSettings::default())
}

fn manager_with(role: Role, protocol: Protocol, settings: HttpSettings) -> HttpConnectionManager {
    let routes = Routes::Rds("80");
    let filters = http(
        &MeshConfig::default(),
        Http {
            stat_prefix: "x".to_owned(),
            role,
            routes,
            protocol,
            settings,
        },
    );
    match &filters[0].config_type {
        Some(filter::ConfigType::TypedConfig(any)) => any.unpack().expect("a connection manager"),
        other => panic!("no config: {other:?}"),
    }
}

#[test]
fn no_access_log_unless_the_mesh_names_a_file() {
    assert_eq!(access_log::access_log(&MeshConfig::default()), []);
}

#[test]
fn mixer_is_told_where_the_mesh_asks_for_it_and_names_one() {
    let told = |enabled, server: &str| {
        let mesh = MeshConfig {
            enable_envoy_access_log_service: enabled,
            mixer_report_server: server.to_owned(),
            ..MeshConfig::default()
        };
        reports::of_requests(&mesh, Role::Inbound).is_some()
    };
    assert!(told(true, "istio-telemetry.istio-system:9091"));
    assert!(!told(false, "istio-telemetry.istio-system:9091"));
    assert!(!told(true, ""));
}

#[test]
fn the_standard_streams_are_written_to_without_opening_a_file() {
    for (path, expected) in [
        ("/dev/stdout", "envoy.access_loggers.stdout"),
        ("/dev/stderr", "envoy.access_loggers.stderr"),
        ("/var/log/access", "envoy.access_loggers.file"),
    ] {
        let mesh = MeshConfig {
            access_log_file: path.to_owned(),
            ..MeshConfig::default()
        };
        assert_eq!(access_log::access_log(&mesh)[0].name, expected);
    }
}

#[test]
fn tel_31_the_text_format() {
    let text = format_of(&access_log::access_log(&mesh(AccessLogEncoding::Text, ""))).expect("text");
    assert!(
        text.starts_with("[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" ")
    );
    assert!(text.ends_with(" %REQUESTED_SERVER_NAME% %RESPONSE_CODE_DETAILS%\n"));
    let custom = format_of(&access_log::access_log(&mesh(
        AccessLogEncoding::Text,
        "%PROTOCOL%\n",
    )));
    assert_eq!(custom, Ok("%PROTOCOL%\n".to_owned()));
}

#[test]
fn pain_33_the_log_says_why_a_connection_is_blocked() {
    let blocked = |encoding, format: &str| format_of(&access_log::of_blocked(&mesh(encoding, format)));
    let text = blocked(AccessLogEncoding::Text, "").expect("text");
    assert!(
        text.ends_with(
            " %REQUESTED_SERVER_NAME% %RESPONSE_CODE_DETAILS% \"blocked by outboundTrafficPolicy REGISTRY_ONLY: \
             no Service or ServiceEntry has this destination\"\n"
        ),
        "{text}"
    );
    let custom = blocked(AccessLogEncoding::Text, "%PROTOCOL%\n");
    assert_eq!(custom, Ok("%PROTOCOL%\n".to_owned()));
    let fields = blocked(AccessLogEncoding::Json, r#"{"protocol": "%PROTOCOL%"}"#);
    assert_eq!(fields, Err(vec!["protocol".to_owned(), "reason".to_owned()]));
}

#[test]
fn tel_32_the_json_format_and_what_a_custom_one_must_look_like() {
    let fields = |format: &str| format_of(&access_log::access_log(&mesh(AccessLogEncoding::Json, format)));
    let default = fields("").expect_err("json");
    assert!(
        default.len() == 22 && default.contains(&"istio_policy_status".to_owned()),
        "{default:?}"
    );
    assert_eq!(
        fields(r#"{"protocol": "%PROTOCOL%"}"#),
        Err(vec!["protocol".to_owned()])
    );
    for unusable in ["{", "{}", "[]", r#"{"a": 1}"#, "%PROTOCOL%"] {
        assert_eq!(fields(unusable), Err(default.clone()), "{unusable}");
    }
}

#[test]
fn p12_5_what_a_connection_manager_does_depends_on_whose_requests_it_sees() {
    for (role, remote_address, server, certificate) in [
        (Role::Outbound, false, "", ForwardClientCertDetails::Sanitize),
        (
            Role::Inbound,
            false,
            "istio-envoy",
            ForwardClientCertDetails::AppendForward,
        ),
        (
            Role::Gateway,
            true,
            "istio-envoy",
            ForwardClientCertDetails::SanitizeSet,
        ),
    ] {
        let manager = manager(role, Protocol::Http);
        assert_eq!(manager.use_remote_address, Some(remote_address), "{role:?}");
        assert_eq!(manager.server_name, server, "{role:?}");
        assert_eq!(manager.forward_client_cert_details(), certificate, "{role:?}");
        assert_eq!(manager.normalize_path, Some(true));
        assert_eq!(
            manager.stream_idle_timeout,
            Some(prost_types::Duration::default())
        );
        assert_eq!(manager.upgrade_configs[0].upgrade_type, "websocket");
    }
}

#[test]
fn p12_5_streams_are_silent_for_as_long_as_the_proxy_says() {
    let settings = HttpSettings {
        accepts_http_10: true,
        idle_timeout: std::time::Duration::from_millis(1500),
        ..HttpSettings::default()
    };
    let manager = manager_with(Role::Inbound, Protocol::Http, settings);
    let timeout = prost_types::Duration {
        seconds: 1,
        nanos: 500_000_000,
    };
    assert_eq!(manager.stream_idle_timeout, Some(timeout));
    assert!(manager.http_protocol_options.expect("options").accept_http_10);
}

#[test]
fn p12_5_the_order_of_http_filters() {
    let names = |role, protocol| -> Vec<String> {
        manager(role, protocol)
            .http_filters
            .into_iter()
            .map(|filter| filter.name)
            .collect()
    };
    let usual = [
        "envoy.filters.http.cors",
        "envoy.filters.http.fault",
        "envoy.filters.http.router",
    ];
    assert_eq!(names(Role::Outbound, Protocol::GrpcWeb), usual);
    assert_eq!(names(Role::Inbound, Protocol::Grpc), usual);
    let inbound = names(Role::Inbound, Protocol::GrpcWeb);
    assert_eq!((&*inbound[0], inbound.len()), ("envoy.filters.http.grpc_web", 4));
}

#[test]
fn the_loopback_address_is_written_in_the_form_of_its_family() {
    for (loopback, expected) in [("127.0.0.1", "127.0.0.1:%"), ("::1", "[::1]:%")] {
        let filters = local_passthrough(&MeshConfig::default(), "x", loopback.parse().expect("an address"));
        let Some(filter::ConfigType::TypedConfig(any)) = &filters[0].config_type else {
            panic!("no config")
        };
        let state: SetFilterState = any.unpack().expect("filter state");
        let text = format!("{state:?}");
        assert!(text.contains(expected), "{text}");
    }
}
