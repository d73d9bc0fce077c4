//! Service ports and the protocols that their names announce (P3.1).

use std::fmt;
use std::str::FromStr;

use crate::Str;

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Name, unique within the service; may be empty when the service has one port.
    pub name: Str,
    /// Number that clients of the service use.
    pub number: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the protocols'")]
pub enum Protocol {
    Grpc,
    GrpcWeb,
    Http,
    Http2,
    Https,
    Tcp,
    Tls,
    Udp,
    Mongo,
    Redis,
    MySql,
}

/// A protocol name that is none of Istio's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unsupported protocol {0:?}")]
pub struct ParseProtocolError(pub String);

// === impl Protocol ===

impl Protocol {
    /// All protocols with their canonical names.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::Grpc, "GRPC"),
        (Self::GrpcWeb, "GRPC-Web"),
        (Self::Http, "HTTP"),
        (Self::Http2, "HTTP2"),
        (Self::Https, "HTTPS"),
        (Self::Tcp, "TCP"),
        (Self::Tls, "TLS"),
        (Self::Udp, "UDP"),
        (Self::Mongo, "Mongo"),
        (Self::Redis, "Redis"),
        (Self::MySql, "MySQL"),
    ];

    /// The protocol of a Kubernetes service port: the part of its name before the first `-` (`R-S-6` to `R-S-8`).
    ///
    /// A name that announces nothing means TCP. `transport` is the `protocol` field of the port.
    pub fn of_kubernetes_port(name: &str, transport: &str) -> Self {
        if transport.eq_ignore_ascii_case("UDP") {
            return Self::Udp;
        }
        let name = name.to_ascii_lowercase();
        if name == "grpc-web" || name.starts_with("grpc-web-") {
            return Self::GrpcWeb;
        }
        match name.split('-').next().unwrap_or_default().parse() {
            Ok(Self::Udp) | Err(_) => Self::Tcp,
            Ok(protocol) => protocol,
        }
    }

    /// Whether requests are seen and routed one by one.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether the upstream speaks HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether connections are forwarded as bytes.
    pub fn is_tcp(self) -> bool {
        matches!(
            self,
            Self::Tcp | Self::Https | Self::Tls | Self::Mongo | Self::Redis | Self::MySql
        )
    }

    /// Whether connections start with a TLS handshake that may carry a server name.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// The canonical name.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(protocol, _)| *protocol == self)
            .map_or("TCP", |(_, name)| name)
    }
}

impl FromStr for Protocol {
    type Err = ParseProtocolError;

    /// Names are compared without regard to case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .find(|(_, canonical)| canonical.eq_ignore_ascii_case(name))
            .map(|(protocol, _)| *protocol)
            .ok_or_else(|| ParseProtocolError(name.to_owned()))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `R-S-6`, `R-S-8`.
    #[test]
    fn r_s_7_the_port_name_announces_the_protocol() {
        for (name, transport, expected) in [
            ("http", "TCP", Protocol::Http),
            ("http2-forecast", "TCP", Protocol::Http2),
            ("http2forecast", "TCP", Protocol::Tcp),
            ("GRPC-Web", "TCP", Protocol::GrpcWeb),
            ("grpc-web-x", "TCP", Protocol::GrpcWeb),
            ("grpc-webx", "TCP", Protocol::Grpc),
            ("mysql", "TCP", Protocol::MySql),
            ("udp-dns", "TCP", Protocol::Tcp),
            ("dns", "UDP", Protocol::Udp),
            ("", "TCP", Protocol::Tcp),
            ("-", "TCP", Protocol::Tcp),
        ] {
            assert_eq!(
                Protocol::of_kubernetes_port(name, transport),
                expected,
                "{name:?}"
            );
        }
    }

    #[test]
    fn every_protocol_parses_its_own_name_in_any_case_and_has_one_class() {
        for &(protocol, name) in Protocol::ALL {
            assert_eq!(name.to_lowercase().parse(), Ok(protocol));
            assert_eq!(protocol.to_string(), name);
            assert!(
                u8::from(protocol.is_http()) + u8::from(protocol.is_tcp())
                    == u8::from(protocol != Protocol::Udp)
            );
        }
        assert!("SCTP".parse::<Protocol>().is_err());
    }
}
