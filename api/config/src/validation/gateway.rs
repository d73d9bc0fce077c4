//! Gateway (V2).

use std::collections::BTreeSet;

use mesh_api::istio::networking::v1alpha3::server::TlsOptions;
use mesh_api::istio::networking::v1alpha3::server::tls_options::TlSmode;
use mesh_api::istio::networking::v1alpha3::{Gateway, Server};

use super::primitive::{self, Checked};
use super::problems::Problems;
use crate::Protocol;

/// The name becomes a part of route names, so it must be a label.
pub(super) fn check_name(name: &str, problems: &mut Problems) {
    problems.check_field("metadata.name", primitive::label(name));
}

pub(super) fn check(gateway: &Gateway, problems: &mut Problems) {
    if gateway.servers.is_empty() {
        problems.report_field("servers", "a gateway needs at least one server");
    }
    let mut names = BTreeSet::new();
    problems.each("servers", &gateway.servers, |problems, server| {
        check_server(server, problems);
        let name = server
            .port
            .as_ref()
            .map(|port| port.name.as_str())
            .filter(|name| !name.is_empty());
        if let Some(name) = name
            && !names.insert(name.to_owned())
        {
            problems.report_field("port.name", format!("another server has the port name {name:?}"));
        }
    });
}

fn check_server(server: &Server, problems: &mut Problems) {
    if server.hosts.is_empty() {
        problems.report_field("hosts", "a server needs at least one host");
    }
    problems.each("hosts", &server.hosts, |problems, host| {
        problems.check(check_host(host))
    });
    problems.field("tls", |problems| {
        if let Some(tls) = &server.tls {
            check_tls(tls, problems);
        }
    });
    let Some(port) = &server.port else {
        problems.report_field("port", "missing");
        return;
    };
    problems.field("port", |problems| {
        // 0 goes with a Unix socket as `bind`.
        if port.number > 0 {
            problems.check_field("number", primitive::port(port.number));
        }
        if port.name.is_empty() {
            problems.report_field("name", "missing");
        }
        if let Err(reason) = primitive::protocol(&port.protocol) {
            problems.report_field("protocol", reason);
        }
    });
    if let Ok(protocol) = port.protocol.parse() {
        problems.check_field("tls", tls_fits(protocol, server.tls.as_ref()));
    }
}

/// `*`, an IP address or a name with a dot; with a namespace before it if wanted, `*` and `.` included.
fn check_host(host: &str) -> Checked {
    let name = match host.split_once('/') {
        None => host,
        Some((namespace, name)) => {
            if namespace != "*" && namespace != "." {
                primitive::label(namespace)?;
            }
            name
        }
    };
    if primitive::is_ip(name) {
        return Ok(());
    }
    public_host(name)
}

/// `*` or a name with a dot.
pub(crate) fn public_host(name: &str) -> Checked {
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

fn check_tls(tls: &TlsOptions, problems: &mut Problems) {
    let mode = tls.mode();
    if !matches!(mode, TlSmode::Simple | TlSmode::Mutual) || !tls.credential_name.is_empty() {
        return;
    }
    let mut needed = vec![
        ("serverCertificate", &tls.server_certificate),
        ("privateKey", &tls.private_key),
    ];
    if mode == TlSmode::Mutual {
        needed.push(("caCertificates", &tls.ca_certificates));
    }
    for (name, value) in needed {
        if value.is_empty() {
            problems.report_field(name, format!("mode {} needs it", mode.as_str_name()));
        }
    }
}

fn tls_fits(protocol: Protocol, tls: Option<&TlsOptions>) -> Checked {
    match tls {
        None if protocol.is_tls() => Err(format!("protocol {protocol} needs it")),
        Some(tls) if protocol.is_http() && !is_redirect(tls) => {
            Err(format!("on protocol {protocol} it may only hold httpsRedirect"))
        }
        Some(_) if !protocol.is_tls() && !protocol.is_http() => {
            Err(format!("protocol {protocol} takes none"))
        }
        _ => Ok(()),
    }
}

/// Whether the block only asks for the redirect to https: it terminates nothing and names no file.
fn is_redirect(tls: &TlsOptions) -> bool {
    tls.mode() == TlSmode::Passthrough
        && [
            &tls.server_certificate,
            &tls.private_key,
            &tls.ca_certificates,
            &tls.credential_name,
        ]
        .into_iter()
        .all(String::is_empty)
}
