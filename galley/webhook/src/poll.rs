//! Asks our own port each second, as the API server would (G9.1).

use std::io;
use std::time::Duration;

use mesh_runtime::tls::{ClientTls, Credentials, HTTP_1, ServerCheck};
use mesh_runtime::{Drain, Readiness};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tracing::warn;

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks `/ready` of our own port over and over, trusting our authorities only.
pub(crate) struct Poll {
    pub(crate) port: u16,
    pub(crate) credentials: Credentials,
    /// The host that the certificate must be for.
    pub(crate) host: watch::Receiver<String>,
}

// === impl Poll ===

impl Poll {
    /// The process is not ready while there is no answer.
    pub(crate) async fn run(mut self, readiness: Readiness, drain: Drain) {
        let name = format!("validation: https://127.0.0.1:{}/ready", self.port);
        let mut pending = Some(readiness.task(name.clone()));
        let mut told = None;
        while !drain.is_draining() {
            // Before there is a certificate there is nothing to ask, and another task says so.
            if self.credentials.current().is_some() {
                match self.attempt().await {
                    Ok(()) => {
                        told = None;
                        pending = None;
                    }
                    Err(reason) => {
                        if told.as_ref() != Some(&reason) {
                            warn!(reason, "the webhook does not answer as the API server would ask");
                            told = Some(reason);
                        }
                        pending.get_or_insert_with(|| readiness.task(name.clone()));
                    }
                }
            }
            let pause = async {
                tokio::select! {
                    // While something is missing a change of it is worth a look.
                    () = self.credentials.ready(), if self.credentials.current().is_none() => {}
                    Ok(()) = self.host.changed() => {}
                    () = tokio::time::sleep(INTERVAL) => {}
                }
            };
            if drain.cancel(pause).await.is_none() {
                return;
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), String> {
        let host = self.host.borrow_and_update().clone();
        // Notices whatever the API server would: each connection looks at the certificate.
        let tls = ClientTls::new(self.credentials.clone(), ServerCheck::Name)
            .with_protocol(HTTP_1)
            .with_sni(host);
        tokio::time::timeout(TIMEOUT, ask(&tls, self.port))
            .await
            .map_err(|_| format!("no answer within {TIMEOUT:?}"))?
            .map_err(|error| error.to_string())
    }
}

async fn ask(tls: &ClientTls, port: u16) -> io::Result<()> {
    let mut stream = tls.connect("127.0.0.1", port).await?;
    stream
        .write_all(b"GET /ready HTTP/1.1\r\nHost: galley\r\nConnection: close\r\n\r\n")
        .await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    if &status == b"HTTP/1.1 200" {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&status).into_owned()))
    }
}
