//! Pages of the server, and whether it counted what it was sent.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use mesh_testing::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Where adapter prometheus is scraped.
const PROMETHEUS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 42422);

/// The counter of requests of the default configuration.
const REQUESTS: &str = "istio_requests_total{";

const PATIENCE: Duration = Duration::from_secs(30);

/// The body of a page.
pub(super) async fn get(server: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(server).await.context("no connection")?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: mixer\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{path}: {head}");
    Ok(body.to_owned())
}

/// Waits until as many requests are counted as records were sent.
pub(super) async fn assert_counted(records: u64) -> Result<()> {
    let counted = eventually(PATIENCE, async || {
        let page = get(PROMETHEUS, "/metrics").await?;
        match counted(&page)? {
            count if count == records => Ok(()),
            count => bail!("{count} of {records} records are counted"),
        }
    });
    Ok(counted.await?)
}

fn counted(page: &str) -> Result<u64> {
    let series = page.lines().filter(|line| line.starts_with(REQUESTS));
    let values = series.map(|line| {
        let (_, value) = line.rsplit_once(' ').context("a series without a value")?;
        value.parse::<u64>().with_context(|| format!("{line}: no count"))
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_all_series_are_added() {
        let page = "# HELP istio_requests_total x\nistio_requests_total{a=\"b c\"} 2\nistio_requests_total{} 40\nother 7\n";
        assert_eq!(counted(page).unwrap(), 42);
        assert!(counted("istio_requests_total{} many\n").is_err());
    }
}
