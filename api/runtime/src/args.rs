//! Values of flags as Istio writes them: Go durations and listen addresses.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

/// A duration in Go's notation (`1m30s`, `100ms`, `1.5h`, `0`) or `inf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(Duration);

/// Text that is not a duration in Go's notation.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid duration {text:?}: {reason}")]
pub struct GoDurationError {
    text: String,
    reason: &'static str,
}

/// A `host:port` to listen on or connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// IP address or DNS name without brackets; `None` means every address of the machine.
    pub host: Option<String>,
    /// Port; 0 lets the system choose one.
    pub port: u16,
}

/// Where a server listens: `:8080`, `127.0.0.1:15010`, `tcp://0.0.0.0:9901`, or nowhere if empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddr(Option<HostPort>);

/// Text that is not an address.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid address {text:?}: {reason}")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

// === impl GoDuration ===

impl GoDuration {
    /// A duration that never ends, written `inf`.
    pub const INFINITE: Self = Self(Duration::MAX);

    /// The longest finite duration of Go, which its flags print for "never".
    const GO_MAX: Duration = Duration::from_nanos(i64::MAX as u64);

    /// The duration, or `None` if it never ends.
    #[must_use]
    pub fn finite(self) -> Option<Duration> {
        (self.0 < Self::GO_MAX).then_some(self.0)
    }

    /// The duration; [`Duration::MAX`] if it never ends.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<GoDuration> for Duration {
    fn from(duration: GoDuration) -> Self {
        duration.0
    }
}

impl FromStr for GoDuration {
    type Err = GoDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason| GoDurationError {
            text: text.to_owned(),
            reason,
        };
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        match unsigned {
            "" => return Err(fail("it is empty")),
            "0" => return Ok(Self(Duration::ZERO)),
            "inf" | "infinity" => return Ok(Self::INFINITE),
            _ if unsigned.starts_with('-') => return Err(fail("it is negative")),
            _ => {}
        }
        let mut nanos = 0_u128;
        let mut rest = unsigned;
        while !rest.is_empty() {
            let (part, tail) = parse_part(rest).map_err(fail)?;
            nanos = nanos.checked_add(part).ok_or_else(|| fail("it is too long"))?;
            rest = tail;
        }
        match u64::try_from(nanos) {
            Ok(nanos) if nanos <= i64::MAX as u64 => Ok(Self(Duration::from_nanos(nanos))),
            _ => Err(fail("it is too long")),
        }
    }
}

/// Reads one number with its unit; returns its nanoseconds and what follows.
fn parse_part(text: &str) -> Result<(u128, &str), &'static str> {
    let number_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest
        .find(|c: char| c.is_ascii_digit() || c == '.')
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err("a number is expected");
    }
    let scale: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        "" => return Err("a unit is missing"),
        _ => return Err("the unit is not one of ns, us, ms, s, m, h"),
    };
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| "it is too long")?
    };
    let mut nanos = u128::from(whole) * scale;
    let mut digit_scale = scale;
    for digit in fraction.bytes() {
        digit_scale /= 10;
        nanos += u128::from(digit - b'0') * digit_scale;
    }
    Ok((nanos, rest))
}

/// Go's notation: the largest unit down to seconds, or one unit below a second.
impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(duration) = self.finite() else {
            return f.write_str("inf");
        };
        if duration.is_zero() {
            return f.write_str("0s");
        }
        let nanos = duration.as_nanos();
        let below_second = [
            (1_000, 1, "ns"),
            (1_000_000, 1_000, "µs"),
            (1_000_000_000, 1_000_000, "ms"),
        ];
        for (limit, scale, unit) in below_second {
            if nanos < limit {
                return write!(f, "{}{unit}", decimal(nanos, scale));
            }
        }
        let (hours, minutes) = (duration.as_secs() / 3_600, duration.as_secs() / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(nanos % 60_000_000_000, 1_000_000_000))
    }
}

/// `value / scale` without trailing zeros; `scale` is a power of ten.
fn decimal(value: u128, scale: u128) -> String {
    let (whole, fraction) = (value / scale, value % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = scale.ilog10() as usize;
    format!("{whole}.{}", format!("{fraction:0digits$}").trim_end_matches('0'))
}

// === impl HostPort ===

impl HostPort {
    /// A port on every address of the machine.
    #[must_use]
    pub const fn any(port: u16) -> Self {
        Self { host: None, port }
    }

    /// Replaces the port.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason| AddressError {
            text: text.to_owned(),
            reason,
        };
        let address = match text.split_once("://") {
            Some(("tcp", address)) => address,
            Some(_) => return Err(fail("the scheme is not tcp")),
            None => text,
        };
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| fail("the port is missing"))?;
        let port = port
            .parse()
            .map_err(|_| fail("the port is not a number from 0 to 65535"))?;
        let host = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
            Some(Some(inner)) if inner.parse::<Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err(fail("the brackets do not hold an IPv6 address")),
            None if host.contains(':') => return Err(fail("an IPv6 address needs brackets")),
            None if host.contains(|c: char| c.is_whitespace() || "/[]@?#".contains(c)) => {
                return Err(fail("the host is not an IP address or a DNS name"));
            }
            None => host,
        };
        Ok(Self {
            host: (!host.is_empty()).then(|| host.to_owned()),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.as_deref() {
            None => write!(f, ":{port}"),
            Some(host) if matches!(host.parse(), Ok(IpAddr::V6(_))) => write!(f, "[{host}]:{port}"),
            Some(host) => write!(f, "{host}:{port}"),
        }
    }
}

// === impl ListenAddr ===

impl ListenAddr {
    /// Listens nowhere.
    pub const DISABLED: Self = Self(None);

    /// The address, or `None` if the server is disabled.
    #[must_use]
    pub fn enabled(&self) -> Option<&HostPort> {
        self.0.as_ref()
    }
}

impl From<HostPort> for ListenAddr {
    fn from(address: HostPort) -> Self {
        Self(Some(address))
    }
}

impl FromStr for ListenAddr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            Ok(Self::DISABLED)
        } else {
            text.parse().map(|address| Self(Some(address)))
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |address| address.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Result<Duration, String> {
        text.parse::<GoDuration>()
            .map(GoDuration::get)
            .map_err(|error| error.reason.to_owned())
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            ("100ms", 100_000_000),
            ("1m0s", 60_000_000_000),
            ("1h15m30.918273645s", 4_530_918_273_645),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("3ns", 3),
            ("0.1ns", 0),
            ("2562047h47m16.854775807s", i64::MAX.unsigned_abs()),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn bad_durations_are_rejected_with_a_reason() {
        for (text, reason) in [
            ("", "it is empty"),
            ("5", "a unit is missing"),
            ("-5s", "it is negative"),
            ("s", "a number is expected"),
            (".s", "a number is expected"),
            ("1.2.3s", "a number is expected"),
            ("5d", "the unit is not one of ns, us, ms, s, m, h"),
            ("1s 2s", "the unit is not one of ns, us, ms, s, m, h"),
            ("2562047h47m16.854775808s", "it is too long"),
            ("99999999999999999999999h", "it is too long"),
        ] {
            assert_eq!(duration(text), Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn infinity_is_not_finite_and_prints_as_inf() {
        for text in ["inf", "infinity", "2562047h47m16.854775807s"] {
            let parsed: GoDuration = text.parse().unwrap();
            assert_eq!(parsed.finite(), None, "{text}");
            assert_eq!(parsed.to_string(), "inf");
        }
        assert_eq!(
            "30s".parse::<GoDuration>().unwrap().finite(),
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn durations_print_as_go_prints_them_and_read_back() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (100_000_000, "100ms"),
            (2_200_000, "2.2ms"),
            (30_000_000_000, "30s"),
            (60_000_000_000, "1m0s"),
            (1_500_000_000, "1.5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            let printed = GoDuration(Duration::from_nanos(nanos)).to_string();
            assert_eq!(printed, text);
            assert_eq!(duration(&printed), Ok(Duration::from_nanos(nanos)));
        }
    }

    #[test]
    fn addresses_are_read_in_istios_forms_and_print_back() {
        for (text, host, port, printed) in [
            (":8080", None, 8080, ":8080"),
            ("127.0.0.1:15010", Some("127.0.0.1"), 15010, "127.0.0.1:15010"),
            ("localhost:0", Some("localhost"), 0, "localhost:0"),
            ("tcp://0.0.0.0:9901", Some("0.0.0.0"), 9901, "0.0.0.0:9901"),
            ("tcp://:9901", None, 9901, ":9901"),
            ("[::1]:80", Some("::1"), 80, "[::1]:80"),
        ] {
            let address: HostPort = text.parse().unwrap();
            assert_eq!(
                address,
                HostPort {
                    host: host.map(str::to_owned),
                    port
                }
            );
            assert_eq!(address.to_string(), printed);
        }
    }

    #[test]
    fn bad_addresses_are_rejected_with_a_reason() {
        for (text, reason) in [
            ("8080", "the port is missing"),
            ("host:", "the port is not a number from 0 to 65535"),
            ("host:65536", "the port is not a number from 0 to 65535"),
            ("udp://1.2.3.4:5", "the scheme is not tcp"),
            ("::1:80", "an IPv6 address needs brackets"),
            ("[fe80]:80", "the brackets do not hold an IPv6 address"),
            ("[::1:80", "the brackets do not hold an IPv6 address"),
            ("a b:80", "the host is not an IP address or a DNS name"),
            ("tcp://a/b:80", "the host is not an IP address or a DNS name"),
        ] {
            let error = text.parse::<HostPort>().unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
        }
    }

    #[test]
    fn an_empty_listen_address_disables_the_server() {
        assert_eq!("".parse::<ListenAddr>().unwrap().enabled(), None);
        assert_eq!(
            ":80".parse::<ListenAddr>().unwrap().enabled(),
            Some(&HostPort::any(80))
        );
    }
}
