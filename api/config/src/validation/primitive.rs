//! What names, addresses, numbers and durations may look like (V1).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use prost_types::{Duration as ProtoDuration, Timestamp};

use crate::Protocol;

/// The outcome of one rule: `Err` says what is wrong.
pub(super) type Checked = Result<(), String>;

/// Longest DNS name.
const MAX_FQDN: usize = 255;

/// Methods that CORS may allow.
const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE",
];

fn is_label(label: &str) -> bool {
    label.len() <= 63
        && label.starts_with(|c: char| c.is_ascii_alphanumeric())
        && label.ends_with(|c: char| c.is_ascii_alphanumeric())
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// `*`, a label, or a label after `*` or `*-`.
fn is_wildcard_label(label: &str) -> bool {
    let rest = label
        .strip_prefix('*')
        .map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    label == "*" || is_label(rest.unwrap_or(label))
}

/// A DNS label: letters, digits and `-`, at most 63.
pub(crate) fn label(text: &str) -> Checked {
    if is_label(text) {
        Ok(())
    } else {
        Err(format!("{text:?} is not a DNS label"))
    }
}

/// A DNS name without wildcard.
pub(super) fn fqdn(text: &str) -> Checked {
    domain(text, is_label)
}

/// A DNS name whose first label may be or start with a wildcard; `*` alone passes.
pub(super) fn wildcard_domain(text: &str) -> Checked {
    domain(text, is_wildcard_label)
}

fn domain(text: &str, first: fn(&str) -> bool) -> Checked {
    let labels: Vec<&str> = text.split('.').collect();
    let numeric_end = labels
        .last()
        .is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    let valid = !text.is_empty()
        && text.len() <= MAX_FQDN
        && !numeric_end
        && labels
            .iter()
            .enumerate()
            .all(|(index, label)| if index == 0 { first(label) } else { is_label(label) });
    if valid {
        Ok(())
    } else {
        Err(format!("{text:?} is not a domain name"))
    }
}

/// An IP address.
pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// An IP address. The 1.1 validator knew IPv4 only.
pub(super) fn ip(text: &str) -> Checked {
    if is_ip(text) {
        Ok(())
    } else {
        Err(format!("{text:?} is not an IP address"))
    }
}

/// An IP address or a CIDR block.
pub(super) fn subnet(text: &str) -> Checked {
    if is_ip(text) || text.parse::<IpNet>().is_ok() {
        Ok(())
    } else {
        Err(format!("{text:?} is neither an IP address nor a CIDR block"))
    }
}

/// The path of a Unix socket: `@name`, or an absolute path that does not end in `/`.
pub(super) fn unix_path(path: &str) -> Checked {
    let valid = path.len() > 1 && (path.starts_with('@') || path.starts_with('/') && !path.ends_with('/'));
    if valid {
        Ok(())
    } else {
        Err(format!("{path:?} is not the path of a Unix socket"))
    }
}

/// A label map of a selector: keys and values of letters, digits and `-_./`, possibly empty.
pub(super) fn tag(text: &str) -> Checked {
    if text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
    {
        Ok(())
    } else {
        Err(format!("{text:?} is not a label"))
    }
}

/// A port number, 1 to 65535.
pub(crate) fn port(number: impl Into<i64>) -> Checked {
    let number = number.into();
    if (1..=65535).contains(&number) {
        Ok(())
    } else {
        Err(format!("{number} is not a port (1 to 65535)"))
    }
}

/// The name of a protocol, in any case.
pub(super) fn protocol(name: &str) -> Result<Protocol, String> {
    name.parse().map_err(|_| match name {
        "" => "missing".to_owned(),
        _ => format!("unsupported protocol {name:?}"),
    })
}

/// A duration of at least 1 ms in whole milliseconds.
pub(super) fn duration(value: &ProtoDuration) -> Checked {
    let duration = std_duration(value)?;
    if duration < Duration::from_millis(1) {
        Err("a duration must be at least 1ms".to_owned())
    } else if duration.subsec_nanos() % 1_000_000 != 0 {
        Err(format!("{duration:?} is not a whole number of milliseconds"))
    } else {
        Ok(())
    }
}

/// A duration of whole seconds.
pub(super) fn whole_seconds(value: &ProtoDuration) -> Checked {
    duration(value)?;
    let duration = std_duration(value)?;
    if duration.subsec_nanos() == 0 {
        Ok(())
    } else {
        Err(format!("{duration:?} is not a whole number of seconds"))
    }
}

/// A connect timeout: 1 ms to 30 s.
pub(super) fn connect_timeout(value: &ProtoDuration) -> Checked {
    duration(value)?;
    let duration = std_duration(value)?;
    if duration <= Duration::from_secs(30) {
        Ok(())
    } else {
        Err(format!("{duration:?} is not between 1ms and 30s"))
    }
}

/// The same duration in the type of the standard library.
pub(super) fn std_duration(value: &ProtoDuration) -> Result<Duration, String> {
    crate::mesh::duration(Some(value)).ok_or_else(|| "a duration must not be negative".to_owned())
}

/// A whole percentage.
pub(super) fn percent(value: i32) -> Checked {
    if (0..=100).contains(&value) {
        Ok(())
    } else {
        Err(format!("{value} is not a percentage (0 to 100)"))
    }
}

/// A fraction in percent: zero, or 0.0001 to 100.
pub(super) fn fine_percent(value: f64) -> Checked {
    if value == 0.0 || (0.0001..=100.0).contains(&value) {
        Ok(())
    } else {
        Err(format!("{value} is not a percentage (0, or 0.0001 to 100)"))
    }
}

/// A number that is not negative.
pub(super) fn not_negative(value: i32) -> Checked {
    if value >= 0 {
        Ok(())
    } else {
        Err(format!("{value} is negative"))
    }
}

/// `host:port` of a server; the host is a DNS name or an IP address, IPv6 in brackets.
pub(super) fn proxy_address(text: &str) -> Checked {
    let Some((host, number)) = text.rsplit_once(':') else {
        return Err(format!("{text:?} is not host:port"));
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let number: i64 = number
        .parse()
        .map_err(|_| format!("{number:?} is not a port (1 to 65535)"))?;
    port(number)?;
    if is_ip(host) { Ok(()) } else { fqdn(host) }
}

/// A point in time between the years 1 and 9999, as `google.protobuf.Timestamp` has it.
pub(super) fn timestamp(value: &Timestamp) -> Checked {
    const YEARS_1_TO_9999: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    if YEARS_1_TO_9999.contains(&value.seconds) && (0..1_000_000_000).contains(&value.nanos) {
        Ok(())
    } else {
        Err("not a point in time".to_owned())
    }
}

/// The address of something that is fetched by HTTP or HTTPS.
pub(super) fn http_url(text: &str) -> Checked {
    let invalid = |reason: &str| Err(format!("{text:?} is not an HTTP URL: {reason}"));
    let Some((scheme, rest)) = text.split_once("://") else {
        return invalid("no scheme");
    };
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return invalid("the scheme is neither http nor https");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // An IPv6 address stands in brackets.
    let (host, number) = match authority.rsplit_once(':') {
        Some((host, number)) if !number.ends_with(']') => (host, Some(number)),
        _ => (authority, None),
    };
    if host.is_empty() {
        return invalid("no host");
    }
    match number.map(str::parse::<i64>) {
        None => Ok(()),
        Some(Ok(number)) => port(number),
        Some(Err(_)) => invalid("the port is not a number"),
    }
}

/// The name of an HTTP header, in a list or map: only that it is there.
pub(super) fn header_name(name: &str) -> Checked {
    if name.is_empty() {
        Err("a header name is empty".to_owned())
    } else {
        Ok(())
    }
}

/// A method that CORS may allow.
pub(super) fn http_method(method: &str) -> Checked {
    if METHODS.contains(&method) {
        Ok(())
    } else {
        Err(format!("unknown HTTP method {method:?}"))
    }
}

/// `exportTo`: nothing, `.` or `*` (`R-N-6`).
pub(super) fn export_to(namespaces: &[String]) -> Checked {
    match namespaces {
        [] => Ok(()),
        [one] if one == "." || one == "*" => Ok(()),
        [one] => Err(format!("{one:?} is neither \".\" nor \"*\"")),
        _ => Err("only one entry is supported, \".\" or \"*\"".to_owned()),
    }
}

/// Whether the address is the only loopback address that 1.1 accepts in endpoints.
pub(super) fn is_loopback(host: &str) -> bool {
    host.parse() == Ok(Ipv4Addr::LOCALHOST)
}
