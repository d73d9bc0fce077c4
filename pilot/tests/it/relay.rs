//! A network between Pilot and a source, which can break.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mesh_runtime::Spawner;
use mesh_testing::objects::Choices;
use mesh_testing::ports;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The most bytes of a source that a connection carries in a storm: more than what it says at first.
const LONGEST: usize = 60_000;

/// Passes connections on.
pub(crate) struct Relay {
    address: SocketAddr,
    cuts: watch::Sender<()>,
    /// 0 in calm weather, else what decides about the connections to come.
    storm: Arc<AtomicU64>,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let (listener, address) = ports::listen().await.unwrap();
        let (cuts, cut) = watch::channel(());
        let storm = Arc::new(AtomicU64::new(0));
        let weather = Arc::clone(&storm);
        Spawner::default().spawn("relay", async move {
            let mut connections = JoinSet::new();
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                number += 1;
                let left = match weather.load(Ordering::Relaxed) {
                    0 => usize::MAX,
                    seed => 100 + Choices::seeded(seed + number).below(LONGEST),
                };
                connections.spawn(pass(client, target, left, cut.clone()));
            }
        });
        Self { address, cuts, storm }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks all connections, whatever they are in the middle of.
    pub(crate) fn cut(&self) {
        self.cuts.send_replace(());
    }

    /// From now on connections break somewhere in what the source says, equally for equal seeds; 0 ends that.
    pub(crate) fn storm(&self, seed: u64) {
        self.storm.store(seed, Ordering::Relaxed);
    }
}

/// Passes a connection on until somebody closes it, it is cut, or so many bytes have come back.
async fn pass(
    mut client: TcpStream,
    target: SocketAddr,
    mut left: usize,
    mut cuts: watch::Receiver<()>,
) -> io::Result<()> {
    cuts.mark_unchanged();
    let mut server = TcpStream::connect(target).await?;
    let (mut asking, mut answered) = client.split();
    let (mut answering, mut asked) = server.split();
    let answers = async {
        let mut buffer = [0; 4096];
        while left > 0 {
            let count = answering.read(&mut buffer).await?.min(left);
            if count == 0 {
                break;
            }
            answered.write_all(&buffer[..count]).await?;
            left -= count;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        done = tokio::io::copy(&mut asking, &mut asked) => done.map(drop),
        done = answers => done,
        _ = cuts.changed() => Ok(()),
    }
}
