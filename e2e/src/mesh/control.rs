//! The socket on which a running mesh takes requests of other commands: one line of JSON each way.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

use super::ask;
use super::engine::Request;
use super::layout::Layout;

/// A request from another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Add or replace the objects of this text.
    Apply {
        /// YAML.
        yaml: String,
    },
    /// Remove an object.
    Delete {
        /// Such as `VirtualService`.
        kind: String,
        /// Empty for `default`.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Change labels of a running pod.
    Label {
        /// Its name, or `namespace/name`.
        pod: String,
        /// New values; `null` removes the label.
        labels: BTreeMap<String, Option<String>>,
    },
}

/// What was done, or why not.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(String),
    Refused(String),
}

/// Sends a request to the mesh of `layout`.
///
/// # Errors
/// When no mesh runs there, or it refuses.
pub async fn call(layout: &Layout, call: &Call) -> Result<String> {
    let (folder, path) = socket_path(layout).context("no mesh is running: start one with `cargo mesh up`")?;
    let stream = UnixStream::connect(&path)
        .await
        .context("no mesh is running: start one with `cargo mesh up`")?;
    drop(folder);
    let mut stream = BufReader::new(stream);
    stream
        .write_all(format!("{}\n", serde_json::to_string(call)?).as_bytes())
        .await?;
    let mut line = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_line(&mut line));
    read.await.context("the mesh does not answer")??;
    match serde_json::from_str(&line).context("the mesh said something unexpected")? {
        Answer::Done(text) => Ok(text),
        Answer::Refused(reason) => bail!(reason),
    }
}

/// Listens, and returns the future that answers.
pub(super) fn serve(
    layout: &Layout,
    requests: mpsc::Sender<Request>,
) -> Result<impl Future<Output = ()> + Send + 'static> {
    let (folder, path) = socket_path(layout)?;
    let listener = UnixListener::bind(&path).context("cannot listen for requests")?;
    drop(folder);
    Ok(async move {
        let mut connections = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn(answer(stream, requests.clone()));
                }
                Err(error) => {
                    debug!(%error, "control: cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    })
}

async fn answer(stream: UnixStream, requests: mpsc::Sender<Request>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line).await.is_err() {
        return;
    }
    let result = match serde_json::from_str(&line) {
        Ok(Call::Apply { yaml }) => ask(&requests, |reply| Request::Apply { yaml, reply }).await,
        Ok(Call::Delete {
            kind,
            namespace,
            name,
        }) => {
            ask(&requests, |reply| Request::Delete {
                kind,
                namespace,
                name,
                reply,
            })
            .await
        }
        Ok(Call::Label { pod, labels }) => {
            ask(&requests, |reply| Request::Label { pod, labels, reply }).await
        }
        Err(error) => Err(error.into()),
    };
    let answer = match result {
        Ok(done) => Answer::Done(done),
        Err(error) => Answer::Refused(format!("{error:#}")),
    };
    if let Ok(text) = serde_json::to_string(&answer) {
        // Whoever asked may have left.
        let _ = stream.write_all(format!("{text}\n").as_bytes()).await;
    }
}

/// A path to the socket that is short whatever the folder is: the system allows a hundred bytes.
fn socket_path(layout: &Layout) -> Result<(File, PathBuf)> {
    let folder = File::open(layout.root())?;
    let control = layout.control();
    let name = control.file_name().context("the socket has no name")?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok((folder, path))
}
