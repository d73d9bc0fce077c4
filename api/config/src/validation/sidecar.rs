//! Sidecar (V5).

use std::collections::BTreeSet;

use mesh_api::istio::networking::v1alpha3::{
    CaptureMode, IstioEgressListener, IstioIngressListener, Port, Sidecar,
};

use super::primitive::{self, Checked};
use super::problems::Problems;
use super::virtual_service::check_tags;

/// `egress` may be absent and its listener without port may stand anywhere.
pub(super) fn check(sidecar: &Sidecar, problems: &mut Problems) {
    if let Some(selector) = &sidecar.workload_selector {
        problems.field("workloadSelector", |problems| {
            if selector.labels.is_empty() {
                problems.report_field(
                    "labels",
                    "a selector needs labels; without it a sidecar is for the whole namespace",
                );
            }
            check_tags("labels", &selector.labels, problems)
        });
    }
    let mut taken = BTreeSet::new();
    problems.each("ingress", &sidecar.ingress, |problems, listener| {
        check_ingress(listener, problems);
        if let Some(port) = &listener.port {
            check_unique(port, &listener.bind, &mut taken, problems);
        }
    });

    let mut taken = BTreeSet::new();
    let mut without_port = false;
    problems.each("egress", &sidecar.egress, |problems, listener| {
        check_egress(listener, problems);
        match &listener.port {
            Some(port) => check_unique(port, &listener.bind, &mut taken, problems),
            None if without_port => problems.report_field("port", "only one listener may have no port"),
            None => without_port = true,
        }
    });
}

fn check_ingress(listener: &IstioIngressListener, problems: &mut Problems) {
    let Some(port) = &listener.port else {
        problems.report_field("port", "missing");
        return;
    };
    check_listener(port, &listener.bind, listener.capture_mode(), problems);
    problems.check_field("defaultEndpoint", default_endpoint(&listener.default_endpoint));
}

fn check_egress(listener: &IstioEgressListener, problems: &mut Problems) {
    match &listener.port {
        Some(port) => check_listener(port, &listener.bind, listener.capture_mode(), problems),
        None if !listener.bind.is_empty() => problems.check_field("bind", bind(&listener.bind)),
        None => {}
    }
    if listener.hosts.is_empty() {
        problems.report_field("hosts", "a listener needs at least one host");
    }
    problems.each("hosts", &listener.hosts, |problems, host| {
        problems.check(check_host(host))
    });
}

fn check_listener(port: &Port, address: &str, capture: CaptureMode, problems: &mut Problems) {
    problems.field("port", |problems| {
        if !port.name.is_empty() {
            problems.check_field("name", primitive::label(&port.name));
        }
        if let Err(reason) = primitive::protocol(&port.protocol) {
            problems.report_field("protocol", reason);
        }
        if port.number != 0 {
            problems.check_field("number", primitive::port(port.number));
        }
    });
    if port.number == 0 {
        let path = address
            .strip_prefix("unix://")
            .ok_or_else(|| "port 0 needs a unix:// path as bind".to_owned());
        problems.check_field("bind", path.and_then(primitive::unix_path));
        if capture == CaptureMode::Iptables {
            problems.report_field("captureMode", "a Unix socket cannot be captured by iptables");
        }
    } else if !address.is_empty() {
        problems.check_field("bind", primitive::ip(address));
    }
}

/// Numbers are unique among the listeners of one direction; without number, the paths are.
fn check_unique(port: &Port, address: &str, taken: &mut BTreeSet<(u32, String)>, problems: &mut Problems) {
    let address = if port.number == 0 { address } else { "" };
    if !taken.insert((port.number, address.to_owned())) {
        if port.number == 0 {
            problems.report_field("bind", format!("another listener has {address:?}"));
        } else {
            problems.report_field(
                "port.number",
                format!("another listener has port {}", port.number),
            );
        }
    }
}

/// Where the application listens: `127.0.0.1:PORT`, `:PORT` or `unix://PATH`.
fn default_endpoint(endpoint: &str) -> Checked {
    if endpoint.is_empty() {
        return Err("missing".to_owned());
    }
    if let Some(path) = endpoint.strip_prefix("unix://") {
        return primitive::unix_path(path);
    }
    let shape = || format!("{endpoint:?} is neither 127.0.0.1:PORT, :PORT nor unix://PATH");
    let (host, number) = endpoint.rsplit_once(':').ok_or_else(shape)?;
    if !host.is_empty() && !primitive::is_loopback(host) {
        return Err(shape());
    }
    primitive::port(number.parse::<i64>().map_err(|_| shape())?)
}

fn bind(address: &str) -> Checked {
    match address.strip_prefix("unix://") {
        Some(path) => primitive::unix_path(path),
        None => primitive::ip(address),
    }
}

/// `namespace/name`: namespace `*`, `.`, `~` or a label; name `*` or one with a dot.
fn check_host(host: &str) -> Checked {
    let (namespace, name) = host
        .split_once('/')
        .ok_or_else(|| format!("{host:?} is not of the form namespace/name"))?;
    if !["*", ".", "~"].contains(&namespace) {
        primitive::label(namespace)?;
    }
    if name == "*" {
        return Ok(());
    }
    primitive::wildcard_domain(name)?;
    if name.contains('.') {
        Ok(())
    } else {
        Err(format!("short names such as {name:?} are not allowed"))
    }
}
