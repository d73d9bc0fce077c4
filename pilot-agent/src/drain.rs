//! Leaving without cutting requests: Envoy tells its clients to go, and the agent waits until they have
//! gone (`AGT-64`, `AGT-65`).

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};

use crate::admin::{Admin, AdminError};
use crate::config::DrainLimits;
use crate::http::HttpError;

/// The number of open connections on every listener.
const CONNECTIONS: &str = "/stats?filter=^listener\\..*\\.downstream_cx_active$";

/// Stops neither the listeners, which keep serving until the process ends, nor the process.
const DRAIN: &str = "/drain_listeners?graceful&skip_exit";

/// How often the connections are counted.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long an answer of the admin interface may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the drain of Envoy and returns when no connection is open, at the earliest after `limits.min`
/// and at the latest after `limits.max`.
///
/// Listeners of the agent itself do not count: the admin interface and, on `prometheus_port`, the metrics.
pub async fn drain_envoy(admin_port: u16, prometheus_port: Option<u16>, limits: DrainLimits) {
    let admin = Admin::new(admin_port, ADMIN_TIMEOUT);
    let start = Instant::now();
    let deadline = start + limits.max;
    info!(?limits, "draining envoy");
    if let Ok(Err(error)) = timeout_at(deadline, admin.post(DRAIN)).await {
        // An Envoy that does not answer serves nobody either, or not for long.
        warn!(
            error = &error as &dyn std::error::Error,
            "envoy cannot be told to drain"
        );
    }
    let emptied = async {
        sleep_until(start + limits.min).await;
        loop {
            match open_connections(&admin, prometheus_port).await {
                Ok(Some(0)) => return,
                // Without this statistic, as in a bootstrap of the user's own, only the time is left.
                Ok(Some(_) | None) => {}
                Err(AdminError::Http(HttpError::Connect { .. })) => return,
                Err(error) => warn!(
                    error = &error as &dyn std::error::Error,
                    "open connections are not known"
                ),
            }
            sleep(INTERVAL).await;
        }
    };
    match timeout_at(deadline, emptied).await {
        Ok(()) => info!(took = ?start.elapsed(), "envoy has no connections any more"),
        Err(_) => info!("connections are still open at the end of the drain"),
    }
}

/// The number of connections, or `None` if Envoy does not count them.
async fn open_connections(admin: &Admin, prometheus_port: Option<u16>) -> Result<Option<u64>, AdminError> {
    admin
        .get(CONNECTIONS)
        .await
        .map(|text| count(&text, prometheus_port))
}

/// Without a single line the bootstrap leaves this statistic out; the admin interface alone is a line.
fn count(text: &str, prometheus_port: Option<u16>) -> Option<u64> {
    let own = prometheus_port.map(|port| format!("_{port}"));
    let mut total = None;
    for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
        let listener = name
            .strip_prefix("listener.")
            .and_then(|name| name.strip_suffix(".downstream_cx_active"));
        let Some(listener) = listener else { continue };
        let total = total.get_or_insert(0_u64);
        // Each worker counts again what its listener counts.
        let worker = listener
            .rsplit_once('.')
            .is_some_and(|(_, last)| last.starts_with("worker_"));
        let own = own.as_ref().is_some_and(|own| listener.ends_with(own.as_str()));
        let admin = listener == "admin" || listener.starts_with("admin.");
        if !(worker || own || admin) {
            *total = total.saturating_add(value.trim().parse().unwrap_or_default());
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn connections_of_all_listeners_but_the_agents_own_are_counted_once() {
        let text = "listener.0.0.0.0_15001.downstream_cx_active: 2\n\
                    listener.0.0.0.0_15001.worker_0.downstream_cx_active: 2\n\
                    listener.[__1]_80.downstream_cx_active: 1\n\
                    listener.0.0.0.0_15090.downstream_cx_active: 7\n\
                    listener.admin.downstream_cx_active: 1\n\
                    listener.admin.main_thread.downstream_cx_active: 1\n\
                    http.inbound.downstream_cx_active: 9\n";
        assert_eq!(count(text, Some(15090)), Some(3));
        assert_eq!(count(text, None), Some(10));
    }

    #[test]
    fn an_envoy_without_listeners_has_no_connections() {
        assert_eq!(
            count("listener.admin.downstream_cx_active: 1\n", Some(15090)),
            Some(0)
        );
    }

    #[test]
    fn without_the_statistic_the_number_is_unknown() {
        assert_eq!(count("", Some(15090)), None);
    }
}
