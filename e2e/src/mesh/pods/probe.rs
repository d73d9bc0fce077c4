//! Probes of a running container.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Stdio;
use std::time::Duration;

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout};

use super::plan::{Check, ProbePlan};
use crate::mesh::process::Helper;
use crate::mesh::sockets::Sockets;

/// How often a container is asked that has not answered well yet. Kubernetes waits a period between all probes;
/// nothing is gained by that while somebody waits for the pod.
const EAGER: Duration = Duration::from_millis(60);

/// After so long, a container that is not ready is asked once a period like any other.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks one container.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    pub(super) helper: Helper,
    pub(super) sockets: Sockets,
    /// A process in the network from which the container is asked.
    pub(super) node: i32,
    /// The pod.
    pub(super) address: Ipv4Addr,
    /// The container's first process.
    pub(super) init: i32,
}

// === impl Prober ===

impl Prober {
    /// Waits for the first success; an error if it does not come within the probe's thresholds.
    pub(super) async fn started(&self, plan: &ProbePlan) -> Result<(), String> {
        let deadline = Instant::now() + plan.initial_delay + plan.period * plan.failure_threshold;
        loop {
            match self.check(plan).await {
                Ok(()) => return Ok(()),
                Err(reason) if Instant::now() >= deadline => {
                    return Err(format!("startup probe failed: {reason}"));
                }
                Err(_) => sleep(EAGER.min(plan.period)).await,
            }
        }
    }

    /// Reports every change of readiness, for ever. The start is "not ready".
    pub(super) async fn readiness(&self, plan: &ProbePlan, mut report: impl FnMut(bool)) {
        let begin = Instant::now();
        let (mut ready, mut successes, mut failures) = (false, 0, 0);
        loop {
            match self.check(plan).await {
                Ok(()) => (successes, failures) = (successes + 1, 0),
                Err(_) => (successes, failures) = (0, failures + 1),
            }
            let now = if ready {
                failures < plan.failure_threshold
            } else {
                successes >= plan.success_threshold
            };
            if now != ready {
                ready = now;
                report(ready);
            }
            let settled = ready || begin.elapsed() > PATIENCE;
            sleep(if settled {
                plan.period
            } else {
                EAGER.min(plan.period)
            })
            .await;
        }
    }

    /// Returns when the container should be restarted.
    pub(super) async fn dead(&self, plan: &ProbePlan) -> String {
        sleep(plan.initial_delay).await;
        let mut failures = 0;
        loop {
            match self.check(plan).await {
                Ok(()) => failures = 0,
                Err(reason) => {
                    failures += 1;
                    if failures >= plan.failure_threshold {
                        return format!("liveness probe failed: {reason}");
                    }
                }
            }
            sleep(plan.period).await;
        }
    }

    /// One probe.
    async fn check(&self, plan: &ProbePlan) -> Result<(), String> {
        let check = async {
            match &plan.check {
                Check::Tcp { port } => self.connect(*port, plan.timeout).await.map(drop),
                Check::Http { port, path, headers } => self.get(*port, path, headers, plan.timeout).await,
                Check::Exec { argv } => self.exec(argv).await,
            }
        };
        timeout(plan.timeout, check)
            .await
            .map_err(|_| "no answer in time".to_owned())?
    }

    async fn connect(&self, port: u16, limit: Duration) -> Result<tokio::net::TcpStream, String> {
        let address = SocketAddrV4::new(self.address, port);
        self.sockets
            .connect(self.node, address, limit)
            .await
            .map_err(|error| error.to_string())
    }

    async fn get(
        &self,
        port: u16,
        path: &str,
        headers: &[(String, String)],
        limit: Duration,
    ) -> Result<(), String> {
        let stream = self.connect(port, limit).await?;
        let mut request = http::Request::get(path)
            .header("host", format!("{}:{port}", self.address))
            // Metrics leave probes out by this name.
            .header("user-agent", "kube-probe/1.33")
            .header("connection", "close");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request);
        tokio::pin!(response, connection);
        let response = tokio::select! {
            response = &mut response => response,
            // A server that closes at once may have answered all the same.
            _ = &mut connection => response.await,
        };
        let response = response.map_err(|error| error.to_string())?;
        match response.status().as_u16() {
            200..400 => Ok(()),
            status => Err(format!("status {status}")),
        }
    }

    async fn exec(&self, argv: &[String]) -> Result<(), String> {
        let status = self
            .helper
            .enter_container(self.init, argv)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await
            .map_err(|error| error.to_string())?;
        if status.success() {
            Ok(())
        } else {
            Err(status.to_string())
        }
    }
}
