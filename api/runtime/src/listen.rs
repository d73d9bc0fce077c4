//! Opening listening sockets so that a failure names the flag and the address.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tracing::info;

use crate::args::{HostPort, ListenAddr};
use crate::tls::ServerTls;

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{flag}: cannot listen on {address}")]
pub struct BindError {
    /// The flag that holds the address, such as `--httpAddr`.
    pub flag: &'static str,
    /// The address as it was given.
    pub address: String,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// A listening socket, and the TLS that is spoken on its connections. A plain socket is one without TLS.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: Socket,
    pub(crate) tls: Option<ServerTls>,
}

/// A listening socket of whatever family.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// A socket on which TLS is spoken.
    #[must_use]
    pub fn tls(tcp: TcpListener, tls: ServerTls) -> Self {
        Self {
            socket: Socket::Tcp(tcp),
            tls: Some(tls),
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(tcp: TcpListener) -> Self {
        Self {
            socket: Socket::Tcp(tcp),
            tls: None,
        }
    }
}

impl From<UnixListener> for Listener {
    fn from(unix: UnixListener) -> Self {
        Self {
            socket: Socket::Unix(unix),
            tls: None,
        }
    }
}

/// Opens a listening Unix socket. A socket that somebody left behind is removed first, a socket that is in use and a
/// file of another kind are not.
///
/// # Errors
/// [`BindError`] when something else is there, or the folder is not.
pub async fn bind_unix(flag: &'static str, path: &Path) -> Result<UnixListener, BindError> {
    let opened = match UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::from(io::ErrorKind::AddrInUse)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
            std::fs::remove_file(path).and_then(|()| UnixListener::bind(path))
        }
        Err(_) => UnixListener::bind(path),
    };
    let listener = opened.map_err(|source| BindError {
        flag,
        address: format!("unix://{}", path.display()),
        source,
    })?;
    info!(flag, path = %path.display(), "listening");
    Ok(listener)
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Opens a listening socket and logs the address that it got, which matters for port 0.
///
/// `flag` names where the address comes from. Without a host the socket accepts IPv4 and IPv6, or
/// IPv4 alone where the machine has no IPv6.
///
/// # Errors
/// [`BindError`] when the address is in use, not local, or its name cannot be resolved.
pub async fn bind(flag: &'static str, address: &HostPort) -> Result<(TcpListener, SocketAddr), BindError> {
    let opened = match &address.host {
        Some(host) => TcpListener::bind((host.as_str(), address.port)).await,
        None => bind_any(address.port).await,
    };
    let (listener, local) = opened
        .and_then(|listener| {
            let local = listener.local_addr()?;
            Ok((listener, local))
        })
        .map_err(|source| BindError {
            flag,
            address: address.to_string(),
            source,
        })?;
    info!(flag, address = %local, "listening");
    Ok((listener, local))
}

/// Like [`bind`], for an address that may be switched off.
///
/// # Errors
/// As [`bind`].
pub async fn bind_if_enabled(
    flag: &'static str,
    address: &ListenAddr,
) -> Result<Option<(TcpListener, SocketAddr)>, BindError> {
    match address.enabled() {
        Some(address) => bind(flag, address).await.map(Some),
        None => Ok(None),
    }
}

async fn bind_any(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
            ) =>
        {
            // A machine, or a network namespace, without IPv6.
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use tokio::net::TcpStream;

    use super::*;

    fn address(text: &str) -> HostPort {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn port_zero_gives_a_port_that_accepts() {
        let (_listener, local) = bind("--httpAddr", &address("127.0.0.1:0")).await.unwrap();
        assert_ne!(local.port(), 0);
        TcpStream::connect(local).await.unwrap();
    }

    #[tokio::test]
    async fn without_host_the_socket_accepts_ipv4() {
        let (_listener, local) = bind("--httpAddr", &address(":0")).await.unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, local.port()))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_failure_names_flag_and_address() {
        let (_listener, local) = bind("--httpAddr", &address("127.0.0.1:0")).await.unwrap();
        let error = bind("--grpcAddr", &address(&local.to_string()))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), format!("--grpcAddr: cannot listen on {local}"));
        assert!(error.source().is_some());
    }

    #[tokio::test]
    async fn spec_02_9_1_a_stale_unix_socket_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mixer.socket");
        let first = bind_unix("--address", &path).await.unwrap();
        assert!(bind_unix("--address", &path).await.is_err(), "it is in use");
        drop(first);
        assert!(path.exists());
        let _second = bind_unix("--address", &path).await.unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "content").unwrap();
        let error = bind_unix("--address", &file).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("--address: cannot listen on unix://")
        );
        assert_eq!(std::fs::read(&file).unwrap(), b"content");
    }

    #[tokio::test]
    async fn a_disabled_address_opens_nothing() {
        assert!(
            bind_if_enabled("--secureGrpcAddr", &ListenAddr::DISABLED)
                .await
                .unwrap()
                .is_none()
        );
    }
}
