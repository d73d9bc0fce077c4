//! The annotations by which a pod shapes its sidecar, parsed and validated (§1.8).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Pod, Volume, VolumeMount};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An annotation that does not hold what it must hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("annotation {name}: {reason}")]
pub struct AnnotationError {
    /// Full name of the annotation.
    pub name: String,
    /// What is wrong with its value.
    pub reason: String,
}

/// How traffic reaches the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterceptionMode {
    /// `REDIRECT` in the nat table.
    #[default]
    Redirect,
    /// `TPROXY` in the mangle table: the source address survives.
    Tproxy,
    /// No capture at all.
    None,
}

/// Everything a pod says about its sidecar. `None` = not said, the installation's value counts.
///
/// A present but empty list is kept apart from an absent one: an explicit empty include list captures nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodAnnotations {
    /// `sidecar.istio.io/proxyImage`
    pub proxy_image: Option<String>,
    /// `sidecar.istio.io/interceptionMode`
    pub interception_mode: Option<InterceptionMode>,
    /// `sidecar.istio.io/discoveryAddress`
    pub discovery_address: Option<String>,
    /// `sidecar.istio.io/controlPlaneAuthPolicy`
    pub control_plane_auth_policy: Option<String>,
    /// `sidecar.istio.io/proxyCPU`
    pub proxy_cpu: Option<String>,
    /// `sidecar.istio.io/proxyMemory`
    pub proxy_memory: Option<String>,
    /// `sidecar.istio.io/bootstrapOverride`: name of a ConfigMap
    pub bootstrap_override: Option<String>,
    /// `sidecar.istio.io/userVolume`
    pub user_volumes: Vec<Volume>,
    /// `sidecar.istio.io/userVolumeMount`
    pub user_volume_mounts: Vec<VolumeMount>,
    /// `sidecar.istio.io/nativeSidecar`
    pub native_sidecar: Option<bool>,
    /// `status.sidecar.istio.io/port`
    pub status_port: Option<u16>,
    /// `readiness.status.sidecar.istio.io/initialDelaySeconds`
    pub initial_delay_seconds: Option<u32>,
    /// `readiness.status.sidecar.istio.io/periodSeconds`
    pub period_seconds: Option<u32>,
    /// `readiness.status.sidecar.istio.io/failureThreshold`
    pub failure_threshold: Option<u32>,
    /// `readiness.status.sidecar.istio.io/applicationPorts`; `*` stands for all container ports
    pub application_ports: Option<String>,
    /// `traffic.sidecar.istio.io/includeOutboundIPRanges`
    pub include_outbound_ip_ranges: Option<String>,
    /// `traffic.sidecar.istio.io/excludeOutboundIPRanges`
    pub exclude_outbound_ip_ranges: Option<String>,
    /// `traffic.sidecar.istio.io/includeInboundPorts`
    pub include_inbound_ports: Option<String>,
    /// `traffic.sidecar.istio.io/excludeInboundPorts`
    pub exclude_inbound_ports: Option<String>,
    /// `traffic.sidecar.istio.io/kubevirtInterfaces`
    pub kubevirt_interfaces: Option<String>,
}

/// Reads single annotations and puts their names into errors.
struct Reader<'a>(Option<&'a BTreeMap<String, String>>);

// === impl PodAnnotations ===

impl PodAnnotations {
    /// Reads and validates the annotations of `pod`.
    ///
    /// # Errors
    /// The first annotation (in the order of the fields) whose value is not allowed.
    pub fn parse(pod: &Pod) -> Result<Self, AnnotationError> {
        let read = Reader(pod.metadata.annotations.as_ref());
        Ok(Self {
            proxy_image: read.text("sidecar.istio.io/proxyImage"),
            interception_mode: read.parsed("sidecar.istio.io/interceptionMode", str::parse)?,
            discovery_address: read.text("sidecar.istio.io/discoveryAddress"),
            control_plane_auth_policy: read.text("sidecar.istio.io/controlPlaneAuthPolicy"),
            proxy_cpu: read.text("sidecar.istio.io/proxyCPU"),
            proxy_memory: read.text("sidecar.istio.io/proxyMemory"),
            bootstrap_override: read.text("sidecar.istio.io/bootstrapOverride"),
            user_volumes: read.named("sidecar.istio.io/userVolume")?,
            user_volume_mounts: read.named("sidecar.istio.io/userVolumeMount")?,
            native_sidecar: read.parsed("sidecar.istio.io/nativeSidecar", boolean)?,
            status_port: read.parsed("status.sidecar.istio.io/port", |text| {
                number(text, "a port number between 0 and 65535")
            })?,
            initial_delay_seconds: read.seconds("readiness.status.sidecar.istio.io/initialDelaySeconds")?,
            period_seconds: read.seconds("readiness.status.sidecar.istio.io/periodSeconds")?,
            failure_threshold: read.seconds("readiness.status.sidecar.istio.io/failureThreshold")?,
            application_ports: read.checked(
                "readiness.status.sidecar.istio.io/applicationPorts",
                any_or(ports),
            )?,
            include_outbound_ip_ranges: read
                .checked("traffic.sidecar.istio.io/includeOutboundIPRanges", any_or(cidrs))?,
            exclude_outbound_ip_ranges: read
                .checked("traffic.sidecar.istio.io/excludeOutboundIPRanges", cidrs)?,
            include_inbound_ports: read
                .checked("traffic.sidecar.istio.io/includeInboundPorts", any_or(ports))?,
            exclude_inbound_ports: read.checked("traffic.sidecar.istio.io/excludeInboundPorts", ports)?,
            kubevirt_interfaces: read.text("traffic.sidecar.istio.io/kubevirtInterfaces"),
        })
    }
}

// === impl Reader ===

impl Reader<'_> {
    /// The value as it is; an empty one counts as absent.
    fn text(&self, name: &str) -> Option<String> {
        self.raw(name).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The value as it is, empty or not, after `check` has seen it.
    fn checked(
        &self,
        name: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Result<Option<String>, AnnotationError> {
        let Some(text) = self.raw(name) else {
            return Ok(None);
        };
        check(text).map_err(|reason| error(name, reason))?;
        Ok(Some(text.to_owned()))
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, AnnotationError> {
        self.raw(name)
            .map(parse)
            .transpose()
            .map_err(|reason| error(name, reason))
    }

    fn seconds(&self, name: &str) -> Result<Option<u32>, AnnotationError> {
        self.parsed(name, |text| number(text, "a whole number that is not negative"))
    }

    /// A JSON object from name to specification, as the list of specifications with their names.
    fn named<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, AnnotationError> {
        let Some(text) = self.raw(name).filter(|text| !text.is_empty()) else {
            return Ok(Vec::new());
        };
        let json = |source: serde_json::Error| error(name, format!("not the JSON expected: {source}"));
        let entries: BTreeMap<String, serde_json::Map<String, Value>> =
            serde_json::from_str(text).map_err(json)?;
        entries
            .into_iter()
            .map(|(key, mut spec)| {
                spec.insert("name".to_owned(), Value::String(key));
                serde_json::from_value(Value::Object(spec)).map_err(json)
            })
            .collect()
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.0?.get(name).map(String::as_str)
    }
}

// === impl InterceptionMode ===

impl InterceptionMode {
    /// The text of annotations, flags and metadata.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redirect => "REDIRECT",
            Self::Tproxy => "TPROXY",
            Self::None => "NONE",
        }
    }
}

impl FromStr for InterceptionMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "REDIRECT" => Ok(Self::Redirect),
            "TPROXY" => Ok(Self::Tproxy),
            "NONE" => Ok(Self::None),
            _ => Err(format!("{text:?} is not REDIRECT, TPROXY or NONE")),
        }
    }
}

// === values ===

fn error(name: &str, reason: String) -> AnnotationError {
    AnnotationError {
        name: name.to_owned(),
        reason,
    }
}

fn number<T: FromStr>(text: &str, expected: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not {expected}"))
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is not true or false"))
}

/// Accepts `*` besides what `check` accepts.
fn any_or(check: fn(&str) -> Result<(), String>) -> impl FnOnce(&str) -> Result<(), String> {
    move |text| if text == "*" { Ok(()) } else { check(text) }
}

/// A comma separated list of ports; an empty text is the empty list.
fn ports(text: &str) -> Result<(), String> {
    list(text).try_for_each(|port| number::<u16>(port, "a port number between 0 and 65535").map(drop))
}

/// A comma separated list of address ranges; an empty text is the empty list.
fn cidrs(text: &str) -> Result<(), String> {
    list(text).try_for_each(|range| {
        let bad = || format!("{range:?} is not an address range such as 10.0.0.0/8");
        let (address, bits) = range.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        match bits.parse::<u8>() {
            Ok(bits) if bits <= longest => Ok(()),
            _ => Err(bad()),
        }
    })
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    (!text.is_empty())
        .then(|| text.split(',').map(str::trim))
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Result<PodAnnotations, AnnotationError> {
        let mut pod = Pod::default();
        pod.metadata.annotations = Some(BTreeMap::from([(name.to_owned(), value.to_owned())]));
        PodAnnotations::parse(&pod)
    }

    #[test]
    fn values_outside_the_allowed_set_are_refused_with_the_name() {
        for (name, bad) in [
            ("sidecar.istio.io/interceptionMode", "redirect"),
            ("sidecar.istio.io/userVolume", "[]"),
            ("sidecar.istio.io/userVolumeMount", "{"),
            ("sidecar.istio.io/nativeSidecar", "maybe"),
            ("status.sidecar.istio.io/port", "65536"),
            ("readiness.status.sidecar.istio.io/initialDelaySeconds", "-1"),
            ("readiness.status.sidecar.istio.io/periodSeconds", "1.5"),
            ("readiness.status.sidecar.istio.io/failureThreshold", ""),
            ("readiness.status.sidecar.istio.io/applicationPorts", "80,,81"),
            ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0"),
            ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "*"),
            ("traffic.sidecar.istio.io/includeInboundPorts", "http"),
            ("traffic.sidecar.istio.io/excludeInboundPorts", "*"),
            ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.0.0.0/33"),
        ] {
            let error = parse(name, bad).unwrap_err();
            assert_eq!(error.name, name, "{bad}");
        }
    }

    #[test]
    fn an_empty_include_list_is_not_an_absent_one() {
        let parsed = parse("traffic.sidecar.istio.io/includeInboundPorts", "").unwrap();
        assert_eq!(parsed.include_inbound_ports.as_deref(), Some(""));
        assert_eq!(
            PodAnnotations::parse(&Pod::default())
                .unwrap()
                .include_inbound_ports,
            None
        );
    }

    #[test]
    fn user_volumes_take_their_names_from_the_keys() {
        let parsed = parse(
            "sidecar.istio.io/userVolume",
            r#"{"b":{"emptyDir":{}},"a":{"hostPath":{"path":"/x"}}}"#,
        );
        let names: Vec<_> = parsed.unwrap().user_volumes.into_iter().map(|v| v.name).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
