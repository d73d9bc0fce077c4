//! `tcp-echo`: sends each line back behind a prefix, over plain TCP.

use std::io;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::server::{GRACE, Stop};

/// Flags of the role.
#[derive(Debug, Args)]
pub(super) struct TcpEchoArgs {
    /// Ports to listen on, separated by commas
    #[arg(value_name = "PORTS", default_value = "9000")]
    ports: Ports,
    /// What stands before each line
    #[arg(value_name = "PREFIX", default_value = "hello")]
    prefix: String,
    /// A line for each client before it has said anything
    #[arg(long, value_name = "TEXT")]
    greeting: Option<String>,
}

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// Before each line.
    prefix: Vec<u8>,
    /// To each client before it has said anything.
    greeting: Vec<u8>,
}

/// One argument with several ports; clap takes a list of its own for several arguments.
#[derive(Debug, Clone)]
struct Ports(Vec<u16>);

/// Longer lines come back in pieces, each behind the prefix, so that memory stays bounded.
const MAX_LINE: u64 = 64 * 1024;

// === impl TcpEchoArgs ===

impl TcpEchoArgs {
    pub(super) fn into_parts(self) -> (Vec<u16>, Words) {
        (self.ports.0, Words::new(&self.prefix, self.greeting.as_deref()))
    }
}

// === impl Words ===

impl Words {
    pub(super) fn new(prefix: &str, greeting: Option<&str>) -> Self {
        Self {
            prefix: format!("{prefix} ").into_bytes(),
            greeting: greeting.map_or_else(Vec::new, |greeting| format!("{greeting}\n").into_bytes()),
        }
    }
}

// === impl Ports ===

impl FromStr for Ports {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Serves until `stop`; connections may then go on for the common grace period.
pub(super) async fn serve(listeners: Vec<TcpListener>, words: Words, stop: Stop) -> Result<()> {
    let words = Arc::new(words);
    let servers = listeners
        .into_iter()
        .map(|listener| accept(listener, words.clone(), stop.clone()));
    futures::future::join_all(servers).await;
    Ok(())
}

async fn accept(listener: TcpListener, words: Arc<Words>, stop: Stop) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    info!(%peer, "connection");
                    let words = words.clone();
                    connections.spawn(async move {
                        if let Err(error) = echo(stream, &words).await {
                            info!(%peer, %error, "connection ended");
                        }
                    });
                }
                // Out of descriptors, most likely: let connections end before the next try.
                Err(error) => {
                    warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_ended) = connections.join_next() => (),
            () = stop.clone() => break,
        }
    }
    drop(listener);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => (),
        () = tokio::time::sleep(GRACE) => (),
    }
}

async fn echo(mut stream: TcpStream, words: &Words) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.split();
    writer.write_all(&words.greeting).await?;
    let mut reader = BufReader::new(reader);
    let mut answer = Vec::with_capacity(256);
    loop {
        answer.clear();
        answer.extend_from_slice(&words.prefix);
        if (&mut reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut answer)
            .await?
            == 0
        {
            return writer.shutdown().await;
        }
        writer.write_all(&answer).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future};

    async fn exchange(sent: &[u8]) -> String {
        exchange_with(Words::new("v1", None), sent).await
    }

    async fn exchange_with(words: Words, sent: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let stop = receiver.map(drop).boxed().shared();
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            sender.send(()).unwrap();
            answer
        };
        let (served, answer) = future::join(serve(vec![listener], words, stop), client).await;
        served.unwrap();
        answer
    }

    #[tokio::test]
    async fn ex_1021_each_line_comes_back_behind_the_prefix() {
        assert_eq!(exchange(b"hello\nworld\n").await, "v1 hello\nv1 world\n");
    }

    #[tokio::test]
    async fn a_greeting_comes_before_all_lines() {
        assert_eq!(
            exchange_with(Words::new("v1", Some("ready")), b"hello\n").await,
            "ready\nv1 hello\n"
        );
    }

    #[tokio::test]
    async fn a_last_line_without_its_end_comes_back_too() {
        assert_eq!(exchange(b"one\ntwo").await, "v1 one\nv1 two");
    }

    #[tokio::test]
    async fn a_very_long_line_comes_back_in_pieces() {
        let length = usize::try_from(MAX_LINE).unwrap();
        let answer = exchange(&vec![b'a'; length + 1]).await;
        assert_eq!(answer.len(), length + 1 + 2 * "v1 ".len());
        assert!(answer.ends_with("v1 a"));
    }
}
