//! Sockets inside other network namespaces, without leaving our own.
//!
//! A socket belongs to the namespace in which its creator was. One thread does nothing but step into a namespace,
//! create a socket there and hand it over; the rest of the process never moves.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::oneshot;

/// Creates sockets in the network namespaces of other processes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    requests: mpsc::Sender<Request>,
}

struct Request {
    /// A process in the namespace.
    pid: i32,
    make: Box<dyn FnOnce(io::Result<()>) + Send>,
}

// === impl Sockets ===

impl Sockets {
    /// Starts the thread; it ends with the last handle.
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        std::thread::Builder::new()
            .name("sockets".to_owned())
            .spawn(move || {
                for Request { pid, make } in inbox {
                    make(step_into(pid));
                }
            })?;
        Ok(Self { requests })
    }

    /// Connects from the network of process `pid`.
    pub(crate) async fn connect(
        &self,
        pid: i32,
        address: SocketAddrV4,
        timeout: Duration,
    ) -> io::Result<TcpStream> {
        let socket = self.make(pid, TcpSocket::new_v4).await?;
        tokio::time::timeout(timeout, socket.connect(SocketAddr::V4(address)))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))?
    }

    /// Receives datagrams in the network of process `pid`.
    pub(crate) async fn bind_udp(&self, pid: i32, address: SocketAddrV4) -> io::Result<UdpSocket> {
        let socket = self
            .make(pid, move || {
                let socket = std::net::UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            })
            .await?;
        UdpSocket::from_std(socket)
    }

    /// Accepts connections in the network of process `pid`.
    pub(crate) async fn listen(&self, pid: i32, address: SocketAddrV4) -> io::Result<TcpListener> {
        let listener = self
            .make(pid, move || {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .await?;
        TcpListener::from_std(listener)
    }

    async fn make<T: Send + 'static>(
        &self,
        pid: i32,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (reply, made) = oneshot::channel();
        let make = Box::new(move |inside: io::Result<()>| {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(inside.and_then(|()| make()));
        });
        let gone = || io::Error::other("the mesh is going down");
        self.requests.send(Request { pid, make }).map_err(|_| gone())?;
        made.await.map_err(|_| gone())?
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

fn step_into(pid: i32) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// The loopback address at a port.
pub(crate) fn loopback(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}
