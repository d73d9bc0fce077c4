//! Mesh-wide configuration: defaults and reading (P7).

use std::time::Duration;

use mesh_api::istio::mesh::v1alpha1::mesh_config::outbound_traffic_policy::Mode;
use mesh_api::istio::mesh::v1alpha1::mesh_config::{
    AccessLogEncoding, IngressControllerMode, OutboundTrafficPolicy,
};
use mesh_api::istio::mesh::v1alpha1::{MeshConfig, MeshNetworks, ProxyConfig};
use prost::Name;
use serde_json::Value;

use crate::decode::wire::{Fault, Reader};
use crate::path::{self, Path};
use crate::yaml::{self, Document};
use crate::{ConfigError, validation};

/// The mesh configuration that holds where nobody says otherwise: Pilot 1.1's (P7.1).
pub fn default_mesh() -> MeshConfig {
    MeshConfig {
        disable_policy_checks: true,
        proxy_listen_port: 15001,
        connect_timeout: Some(seconds(1)),
        ingress_service: "istio-ingressgateway".to_owned(),
        enable_tracing: true,
        access_log_file: "/dev/stdout".to_owned(),
        default_config: Some(default_proxy()),
        outbound_traffic_policy: Some(OutboundTrafficPolicy {
            mode: Mode::AllowAny.into(),
        }),
        default_service_export_to: vec!["*".to_owned()],
        default_virtual_service_export_to: vec!["*".to_owned()],
        default_destination_rule_export_to: vec!["*".to_owned()],
        root_namespace: "istio-system".to_owned(),
        dns_refresh_rate: Some(seconds(5)),
        ..MeshConfig::default()
    }
}

/// The mesh configuration that Galley takes where nobody says otherwise; it differs from Pilot's (G6.3).
pub fn default_galley_mesh() -> MeshConfig {
    MeshConfig {
        disable_policy_checks: false,
        ingress_class: "istio".to_owned(),
        ingress_controller_mode: IngressControllerMode::Strict.into(),
        default_service_export_to: Vec::new(),
        default_virtual_service_export_to: Vec::new(),
        default_destination_rule_export_to: Vec::new(),
        root_namespace: String::new(),
        ..default_mesh()
    }
}

/// How a proxy starts where nobody says otherwise (P7.2).
pub fn default_proxy() -> ProxyConfig {
    ProxyConfig {
        config_path: "/etc/istio/proxy".to_owned(),
        binary_path: "/usr/local/bin/envoy".to_owned(),
        service_cluster: "istio-proxy".to_owned(),
        drain_duration: Some(seconds(45)),
        parent_shutdown_duration: Some(seconds(60)),
        discovery_address: "istio-pilot:15010".to_owned(),
        connect_timeout: Some(seconds(1)),
        proxy_admin_port: 15000,
        stat_name_length: 189,
        ..ProxyConfig::default()
    }
}

/// Reads a mesh configuration over Pilot's defaults (P7), see [`parse_over`].
///
/// # Errors
///
/// As [`parse_over`].
pub fn parse(text: &str) -> Result<MeshConfig, ConfigError> {
    parse_over(default_mesh(), text)
}

/// Reads a mesh configuration over defaults.
///
/// Fields that are not there keep their default, inside `defaultConfig` too; unknown fields are skipped, because the
/// file of a newer or older installation is better than none. Empty text is the defaults.
///
/// # Errors
///
/// Text that is no YAML, a wrong type, or a value that V9 forbids: the first fault, with its line in the file `mesh`.
pub fn parse_over(defaults: MeshConfig, text: &str) -> Result<MeshConfig, ConfigError> {
    let document = document("mesh", text)?;
    let mut mesh = defaults;
    if let Some(document) = &document {
        // What somebody lists replaces the default list, while protobuf would append.
        for (name, other, list) in [
            (
                "defaultServiceExportTo",
                "default_service_export_to",
                &mut mesh.default_service_export_to,
            ),
            (
                "defaultVirtualServiceExportTo",
                "default_virtual_service_export_to",
                &mut mesh.default_virtual_service_export_to,
            ),
            (
                "defaultDestinationRuleExportTo",
                "default_destination_rule_export_to",
                &mut mesh.default_destination_rule_export_to,
            ),
        ] {
            if [name, other]
                .iter()
                .any(|name| document.value.get(name).is_some_and(|value| !value.is_null()))
            {
                list.clear();
            }
        }
        merge(&mut mesh, document)?;
    }
    checked::<MeshConfig>(document.as_ref(), validation::mesh::config(&mesh))?;
    Ok(mesh)
}

/// Reads the networks of a mesh (P7.3). Empty text is no networks.
///
/// # Errors
///
/// As [`parse`], with lines in the file `meshNetworks`.
pub fn parse_networks(text: &str) -> Result<MeshNetworks, ConfigError> {
    let mut networks = MeshNetworks::default();
    let document = document("meshNetworks", text)?;
    if let Some(document) = &document {
        merge(&mut networks, document)?;
    }
    checked::<MeshNetworks>(document.as_ref(), validation::mesh::networks(&networks))?;
    Ok(networks)
}

/// A duration that is set, well formed and not negative.
///
/// For messages that came from outside: the conversion that comes with the message type panics on extreme values.
pub fn duration(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    let duration = duration?;
    let (seconds, nanos) = (
        u64::try_from(duration.seconds).ok()?,
        u32::try_from(duration.nanos).ok()?,
    );
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

/// The TCP connect timeout of generated clusters.
pub fn connect_timeout(mesh: &MeshConfig) -> Duration {
    duration(mesh.connect_timeout.as_ref()).unwrap_or(Duration::from_secs(1))
}

/// How often proxies resolve DNS names again.
pub fn dns_refresh_rate(mesh: &MeshConfig) -> Duration {
    duration(mesh.dns_refresh_rate.as_ref()).unwrap_or(Duration::from_secs(5))
}

/// Whether traffic for unknown destinations is forwarded as it is, rather than dropped.
pub fn allows_any_outbound(mesh: &MeshConfig) -> bool {
    mesh.outbound_traffic_policy
        .as_ref()
        .is_none_or(|policy| policy.mode() == Mode::AllowAny)
}

/// Whether access logs are JSON.
pub fn access_log_is_json(mesh: &MeshConfig) -> bool {
    mesh.access_log_encoding() == AccessLogEncoding::Json
}

/// Whether an Ingress is ours, by the `kubernetes.io/ingress.class` annotation or the field `ingressClassName` (P5.5).
pub fn serves_ingress(mesh: &MeshConfig, class: Option<&str>) -> bool {
    match mesh.ingress_controller_mode() {
        IngressControllerMode::Off => false,
        IngressControllerMode::Strict => class == Some(mesh.ingress_class.as_str()),
        IngressControllerMode::Default => class.is_none_or(|class| class == mesh.ingress_class),
    }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn document(file: &str, text: &str) -> Result<Option<Document>, ConfigError> {
    let mut documents = yaml::documents(file, text).into_iter();
    let first = documents.next().transpose()?;
    if let Some(second) = documents.next() {
        return Err(ConfigError {
            location: second.map_or_else(|error| error.location, |document| Some(document.location)),
            object: String::new(),
            field: String::new(),
            reason: "the file must hold one document".to_owned(),
        });
    }
    Ok(first)
}

/// Reads the document into the message, over what is there.
fn merge<M: Name + Default>(message: &mut M, document: &Document) -> Result<(), ConfigError> {
    let fault = |path: &[path::Segment], reason: String| ConfigError {
        location: Some(document.locate_path(path)),
        object: M::NAME.to_owned(),
        field: path::display(path),
        reason,
    };
    let name = M::full_name();
    let descriptor = mesh_api::descriptors()
        .get_message_by_name(&name)
        .ok_or_else(|| fault(&[], format!("message {name} is unknown")))?;
    let reader = Reader {
        ignore_unknown: true,
        keep_defaults: true,
    };
    let encoded = match &document.value {
        Value::Null => Vec::new(),
        value => reader
            .message(&descriptor, value, &Path::Root)
            .map_err(|Fault { path, reason }| fault(&path, reason))?,
    };
    message
        .merge(encoded.as_slice())
        .map_err(|error| fault(&[], error.to_string()))
}

fn checked<M: Name>(
    document: Option<&Document>,
    problems: Vec<validation::Problem>,
) -> Result<(), ConfigError> {
    match problems.into_iter().next() {
        None => Ok(()),
        Some(problem) => Err(ConfigError {
            location: document.map(|document| document.locate(&problem.field)),
            object: M::NAME.to_owned(),
            field: problem.field,
            reason: problem.reason,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_1_the_defaults_are_valid_and_are_what_no_text_means() {
        assert_eq!(validation::mesh::config(&default_mesh()), []);
        for nothing in ["", "# nothing\n", "{}", "---\n"] {
            assert_eq!(parse(nothing).unwrap(), default_mesh(), "{nothing:?}");
        }
        assert_eq!(connect_timeout(&default_mesh()), Duration::from_secs(1));
        assert_eq!(dns_refresh_rate(&default_mesh()), Duration::from_secs(5));
        assert!(allows_any_outbound(&default_mesh()));
        assert!(!access_log_is_json(&default_mesh()));
        assert!(!serves_ingress(&default_mesh(), None));
    }

    #[test]
    fn p7_text_is_read_over_the_defaults() {
        let mesh = parse(
            "
connectTimeout: 500ms
enableTracing: false
accessLogFile: \"\"
accessLogEncoding: JSON
defaultServiceExportTo: [.]
somethingNewer: {a: 1}
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
ingressControllerMode: DEFAULT
ingressClass: istio
defaultConfig:
  discoveryAddress: pilot.weather:15010
  tracing: {zipkin: {address: zipkin.weather:9411}}
",
        )
        .unwrap();
        assert_eq!(connect_timeout(&mesh), Duration::from_millis(500));
        assert!(!mesh.enable_tracing);
        assert_eq!(mesh.access_log_file, "");
        assert!(access_log_is_json(&mesh));
        assert_eq!(mesh.default_service_export_to, ["."]);
        assert_eq!(mesh.default_virtual_service_export_to, ["*"]);
        assert!(!allows_any_outbound(&mesh));
        assert!(
            serves_ingress(&mesh, None)
                && serves_ingress(&mesh, Some("istio"))
                && !serves_ingress(&mesh, Some("x"))
        );
        let proxy = mesh.default_config.unwrap();
        assert_eq!(proxy.discovery_address, "pilot.weather:15010");
        assert_eq!(proxy.config_path, "/etc/istio/proxy");
        assert_eq!(proxy.drain_duration, Some(seconds(45)));
    }

    #[test]
    fn p7_3_networks_are_read() {
        let networks = parse_networks(
            "networks: {n1: {endpoints: [{fromRegistry: Kubernetes}], gateways: [{address: 1.1.1.1, port: 443}]}}",
        )
        .unwrap();
        assert_eq!(networks.networks["n1"].gateways[0].port, 443);
        assert_eq!(parse_networks("").unwrap(), MeshNetworks::default());
    }

    #[test]
    fn a_fault_is_named_with_its_line() {
        for (text, expected) in [
            ("- a", "mesh:1: MeshConfig: expected an object, found a list"),
            ("a: [", "mesh:1: unclosed bracket '['"),
            ("a: 1\n---\nb: 2\n", "mesh:3: the file must hold one document"),
            (
                "enableTracing: 1\n",
                "mesh:1: MeshConfig: enableTracing: expected true or false, found the number 1",
            ),
            (
                "x: 1\ndefaultConfig:\n  proxyAdminPort: 70000\n",
                "mesh:3: MeshConfig: defaultConfig.proxyAdminPort: 70000 is not a port (1 to 65535)",
            ),
            (
                "connectTimeout: 1m\n",
                "mesh:1: MeshConfig: connectTimeout: 60s is not between 1ms and 30s",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }
}
