//! Which formats of access logs Envoy takes. One that it does not take would spoil every listener of the mesh.

/// Variables that need no argument, of both supported releases of Envoy.
const VARIABLES: &[&str] = &[
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_RETRANSMITTED",
    "BYTES_SENT",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DURATION",
    "EMIT_TIME",
    "EMIT_TIME_LOCAL",
    "FILTER_CHAIN_NAME",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "LOCAL_REPLY_BODY",
    "PACKETS_RETRANSMITTED",
    "PATH",
    "PROTOCOL",
    "QUERY_PARAMS",
    "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION",
    "REQUEST_TX_DURATION",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "ROUTE_NAME",
    "SPAN_ID",
    "START_TIME",
    "START_TIME_LOCAL",
    "STREAM_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];
/// Those of [`VARIABLES`] that may have an argument.
const WITH_ARGUMENT: &[&str] = &[
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "EMIT_TIME",
    "EMIT_TIME_LOCAL",
    "RESPONSE_CODE_DETAILS",
    "START_TIME",
    "START_TIME_LOCAL",
];
/// Variables that need an argument.
const LOOK_UPS: &[&str] = &[
    "CLUSTER_METADATA",
    "DYNAMIC_METADATA",
    "ENVIRONMENT",
    "FILTER_STATE",
    "QUERY_PARAM",
    "REQ",
    "RESP",
    "TRAILER",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_METADATA",
];
/// Those of them that are never cut to a length.
const ENDLESS: &[&str] = &["CLUSTER_METADATA", "UPSTREAM_METADATA"];
/// Variables without argument that may be cut to a length.
const CUT: &[&str] = &["PATH", "QUERY_PARAMS"];

/// Whether every supported Envoy takes a format. Those that only newer ones take are not among them.
pub(super) fn is_understood(format: &str) -> bool {
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        let behind = match after.strip_prefix('%') {
            Some(behind) => Some(behind),
            None => skip_variable(after),
        };
        match behind {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    !format.contains('\0')
}

/// What stands behind `NAME(argument):length%`; `None` when that is not what the text starts with.
fn skip_variable(text: &str) -> Option<&str> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let (name, rest) = text.split_at(text.find(|c| !is_name(c))?);
    let (argument, rest) = match rest.strip_prefix('(') {
        None => (None, rest),
        Some(inside) => {
            let (argument, rest) = inside.split_once(')')?;
            (Some(argument), rest)
        }
    };
    let (has_length, rest) = match rest.strip_prefix(':') {
        None => (false, rest),
        Some(length) => {
            let digits = length.find(|c: char| !c.is_ascii_digit())?;
            let is_number = (1..=5).contains(&digits);
            (true, length.get(digits..).filter(|_| is_number)?)
        }
    };
    let is_known = match argument {
        None => VARIABLES.contains(&name) && (!has_length || CUT.contains(&name)),
        Some(argument) if LOOK_UPS.contains(&name) => {
            fits(name, argument) && !(has_length && ENDLESS.contains(&name))
        }
        Some(argument) => WITH_ARGUMENT.contains(&name) && !has_length && is_plain(argument),
    };
    rest.strip_prefix('%').filter(|_| is_known)
}

fn fits(name: &str, argument: &str) -> bool {
    let is_one_of_two =
        || argument.split('?').count() <= 2 && argument.split('?').all(|name| !name.is_empty());
    !argument.is_empty()
        && is_plain(argument)
        && match name {
            "REQ" | "RESP" | "TRAILER" => is_one_of_two(),
            "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => match argument.split_once(':') {
                None => true,
                Some((key, form)) => !key.is_empty() && ["PLAIN", "TYPED"].contains(&form),
            },
            _ => true,
        }
}

fn is_plain(argument: &str) -> bool {
    !argument.contains(['(', '\r', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tel_31_what_envoy_would_refuse_is_noticed() {
        for good in [
            "",
            "text\n",
            "100%% %PROTOCOL%",
            "[%START_TIME(%Y/%m/%dT%H:%M:%S%z)%]",
            "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):20%",
            "%FILTER_STATE(a:PLAIN):3%%PATH:3%",
            "%DYNAMIC_METADATA(istio.mixer:status)%",
        ] {
            assert!(is_understood(good), "{good}");
        }
        for bad in [
            "%",
            "100%",
            "%NOBODY%",
            "%protocol%",
            "%REQ%",
            "%REQ()%",
            "%REQ(a",
            "%REQ(a)",
            "%REQ(a?b?c)%",
            "%REQ(a):x%",
            "%PROTOCOL(a)%",
            "%PROTOCOL:3%",
            "%FILTER_STATE(a:b)%",
            "%%%",
            "%START_TIME(\n)%",
        ] {
            assert!(!is_understood(bad), "{bad}");
        }
    }

    #[test]
    fn tel_31_the_own_formats_are_understood() {
        assert!(is_understood(super::super::access_log::TEXT_FORMAT));
        let mut fields = super::super::access_log::JSON_FORMAT.iter();
        assert!(fields.all(|(_, format)| is_understood(format)));
    }
}
