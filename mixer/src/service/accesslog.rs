//! Envoy's `envoy.service.accesslog.v3.AccessLogService`: Report by the access logs `http_grpc` and `tcp_grpc`.
//!
//! | Mixer's attribute | of the entry |
//! |---|---|
//! | `source.ip`, `.port`; `origin.ip` | the direct remote address; the remote address |
//! | `destination.ip`, `.port` | the local address; the upstream's where `context.reporter.kind` is `outbound` |
//! | `source.principal`, `destination.principal`, namespaces in them, `connection.mtls` | the URIs of the certificates |
//! | `destination.service.*` | the upstream's cluster, if it is called as Pilot calls those of services |
//! | `connection.requested_server_name` | the server name of TLS |
//! | `context.reporter.uid`, and `uid` and `namespace` of that end | the node, if its id is one of Istio |
//! | `context.time`, `request.time`, `response.time`, `response.duration` | start and duration |
//! | `context.proxy_error_code` | the response flags, else `-` |
//! | `request.*`, `response.*`, `context.protocol` | request and response; of headers those that the log is told to send |
//! | `connection.id`, `.event`, `.duration`, `.received.bytes`, `.sent.bytes` and `_total` | connections; what is not total is counted since the entry before |
//!
//! `custom_tags` come before all that: those that are called like an attribute are its value. Entries of requests that are
//! not over are left out, since each would count as a request.

mod connections;
mod requests;

use std::sync::Arc;
use std::time::Instant;

use mesh_api::envoy::config::core::v3::Node;
use mesh_api::envoy::data::accesslog::v3::tls_properties::CertificateProperties;
use mesh_api::envoy::data::accesslog::v3::tls_properties::certificate_properties::subject_alt_name::San;
use mesh_api::envoy::data::accesslog::v3::{AccessLogCommon, ResponseFlags};
use mesh_api::envoy::service::accesslog::v3::access_log_service_server::AccessLogService;
use mesh_api::envoy::service::accesslog::v3::stream_access_logs_message::{Identifier, LogEntries};
use mesh_api::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use mixer_attribute::Value;
use mixer_runtime::dispatch::Patience;
use prost::Message as _;
use prost_types::Duration;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::Front;
use super::attributes::{Filler, Side};
use connections::Connections;

pub(super) const STREAM: &str = "envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// The service.
pub(super) struct AccessLog(pub(super) Arc<Front>);

/// What a stream has said until now.
#[derive(Default)]
struct Said {
    /// Only the first message tells who speaks.
    identifier: Option<Identifier>,
    connections: Connections,
}

#[tonic::async_trait]
impl AccessLogService for AccessLog {
    /// Takes entries until the client has no more. What cannot be told to handlers is lost, as it is with other access logs;
    /// the stream goes on.
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let front = &self.0;
        let started = Instant::now();
        let mut messages = request.into_inner();
        let mut said = Said::default();
        let mut received = 0;
        let end = loop {
            let message = tokio::select! {
                message = messages.message() => message,
                () = front.drain.signaled() => break Ok(()),
            };
            match message {
                Ok(Some(message)) => {
                    received += message.encoded_len();
                    report(front, message, &mut said).await;
                }
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        let code = end.as_ref().map_or_else(Status::code, |()| Code::Ok);
        front
            .methods
            .access_log
            .completed(code, received, Some(0), started.elapsed());
        end.map(|()| Response::new(StreamAccessLogsResponse {}))
    }
}

/// Tells handlers what a message says.
async fn report(front: &Front, message: StreamAccessLogsMessage, said: &mut Said) {
    let StreamAccessLogsMessage {
        identifier,
        log_entries,
    } = message;
    said.identifier = identifier.or(said.identifier.take());
    let Some(entries) = log_entries else { return };
    let count = match &entries {
        LogEntries::HttpLogs(logs) => logs.log_entry.len(),
        LogEntries::TcpLogs(logs) => logs.log_entry.len(),
    };
    if front.admit(count).is_err() {
        return debug!(count, "entries of an access log are dropped");
    }
    let _slot = front.slot().await;
    let started = Instant::now();
    let table = front.engine.table();
    let vocabulary = &table.vocabulary;
    let node = said
        .identifier
        .as_ref()
        .and_then(|identifier| identifier.node.as_ref());
    let bags = match &entries {
        LogEntries::HttpLogs(logs) => logs
            .log_entry
            .iter()
            .filter(|entry| requests::is_over(entry))
            .map(|entry| requests::attributes(vocabulary, node, entry))
            .collect(),
        LogEntries::TcpLogs(logs) => logs
            .log_entry
            .iter()
            .map(|entry| said.connections.attributes(vocabulary, node, entry))
            .collect(),
    };
    let patience = Patience {
        call_limit: front.call_limit,
        deadline: None,
    };
    if let Err(error) = front.engine.report_bags(&table, bags, patience).await {
        warn!(%error, "parts of an access log are lost");
    }
    front.served(started.elapsed());
}

/// What requests and connections have in common.
fn common<'r>(filler: &mut Filler<'_, 'r>, node: Option<&'r Node>, entry: &'r AccessLogCommon) {
    filler.named(
        entry
            .custom_tags
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    if let Some(node) = node {
        filler.reporter(node);
    }
    let remote = entry.downstream_remote_address.as_ref();
    let direct = entry.downstream_direct_remote_address.as_ref().or(remote);
    filler.address(Side::Source, direct);
    filler.origin(remote);
    let upstream = entry.upstream_remote_address.as_ref();
    let outbound = filler.is_text("context.reporter.kind", "outbound");
    filler.address(
        Side::Destination,
        upstream
            .filter(|_| outbound)
            .or(entry.downstream_local_address.as_ref()),
    );
    filler.service(&entry.upstream_cluster);
    let tls = entry.tls_properties.as_ref();
    let peer = tls.and_then(|tls| uri(tls.peer_certificate_properties.as_ref()));
    filler.set("connection.mtls", Value::Bool(peer.is_some()));
    filler.principal(Side::Source, peer.unwrap_or_default());
    let local = tls.and_then(|tls| uri(tls.local_certificate_properties.as_ref()));
    filler.principal(Side::Destination, local.unwrap_or_default());
    if let Some(tls) = tls {
        filler.text("connection.requested_server_name", &tls.tls_sni_hostname);
    }
    filler.time("context.time", entry.start_time);
    filler.made(
        "context.proxy_error_code",
        flags(entry.response_flags.as_ref().unwrap_or(&ResponseFlags::default())),
    );
}

/// How long it took: all of it, or until the last byte went back.
fn took(entry: &AccessLogCommon) -> Option<Duration> {
    entry.duration.or(entry.time_to_last_downstream_tx_byte)
}

/// The first URI of a certificate.
fn uri(certificate: Option<&CertificateProperties>) -> Option<&str> {
    certificate?
        .subject_alt_name
        .iter()
        .find_map(|name| match &name.san {
            Some(San::Uri(uri)) => Some(uri.as_str()),
            _ => None,
        })
}

/// The flags as Envoy writes them in its own logs.
fn flags(flags: &ResponseFlags) -> String {
    let all = [
        (flags.failed_local_healthcheck, "LH"),
        (flags.no_healthy_upstream, "UH"),
        (flags.upstream_request_timeout, "UT"),
        (flags.local_reset, "LR"),
        (flags.upstream_remote_reset, "UR"),
        (flags.upstream_connection_failure, "UF"),
        (flags.upstream_connection_termination, "UC"),
        (flags.upstream_overflow, "UO"),
        (flags.no_route_found, "NR"),
        (flags.delay_injected, "DI"),
        (flags.fault_injected, "FI"),
        (flags.rate_limited, "RL"),
        (flags.unauthorized_details.is_some(), "UAEX"),
        (flags.rate_limit_service_error, "RLSE"),
        (flags.downstream_connection_termination, "DC"),
        (flags.upstream_retry_limit_exceeded, "URX"),
        (flags.stream_idle_timeout, "SI"),
        (flags.invalid_envoy_request_headers, "IH"),
        (flags.downstream_protocol_error, "DPE"),
        (flags.upstream_max_stream_duration_reached, "UMSDR"),
        (flags.response_from_cache_filter, "RFCF"),
        (flags.no_filter_config_found, "NFCF"),
        (flags.duration_timeout, "DT"),
        (flags.upstream_protocol_error, "UPE"),
        (flags.no_cluster_found, "NC"),
        (flags.overload_manager, "OM"),
        (flags.dns_resolution_failure, "DF"),
        (flags.downstream_remote_reset, "DR"),
    ];
    let names: Vec<_> = all
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect();
    match names.is_empty() {
        true => "-".to_owned(),
        false => names.join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_02_3_4_flags_are_those_of_envoys_logs() {
        assert_eq!(flags(&ResponseFlags::default()), "-");
        let both = ResponseFlags {
            upstream_connection_failure: true,
            upstream_retry_limit_exceeded: true,
            ..ResponseFlags::default()
        };
        assert_eq!(flags(&both), "UF,URX");
    }
}
