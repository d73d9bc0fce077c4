//! A handler: makes lines, and a task that sends them in packets.

use std::fmt::Write as _;
use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use mesh_runtime::args::HostPort;
use mixer_adapter::{Answer, Env, HandleMetric, text};
use mixer_attribute::{Value, nanos};
use mixer_template::Metric;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{Instant, sleep_until};

use super::config::{Config, Kind};
use crate::faults::Faults;
use crate::outbox::{Inbox, Outbox};

/// Host names are looked up again after so long: statsd may have moved, and nobody says that packets are lost.
const RESOLVE: Duration = Duration::from_secs(30);

/// Makes lines.
pub(super) struct StatsdHandler {
    config: Config,
    lines: Outbox<String>,
    env: Env,
    /// The share of a value that was not sent yet.
    owed: Mutex<f32>,
}

/// Sends lines until the handler is closed.
pub(super) struct Sender {
    address: HostPort,
    flush: Duration,
    size: usize,
    packet: Vec<u8>,
    socket: Option<(UdpSocket, Instant)>,
    failing: bool,
    env: Env,
}

/// How many values there are in lines.
fn count(lines: &[u8]) -> u64 {
    let lines = lines
        .split(|letter| *letter == b'\n')
        .filter(|line| !line.is_empty());
    lines.count() as u64
}

// === impl StatsdHandler ===

impl StatsdHandler {
    pub(super) fn new(config: Config, lines: Outbox<String>, env: Env) -> Self {
        Self {
            config,
            lines,
            env,
            owed: Mutex::default(),
        }
    }

    fn write(&self, out: &mut String, metric: &Metric<'_>) -> Result<(), String> {
        let info = self.config.metrics.get(metric.name);
        let info = info.ok_or("the handler has no metric for it")?;
        let mut name = self.config.prefix.clone();
        info.name.write(&mut name, &metric.dimensions)?;
        let (value, kind) = match (info.kind, metric.value.as_ref()) {
            (Kind::Gauge, Some(Value::Int64(value))) => (value.to_string(), "g"),
            (Kind::Counter | Kind::Distribution, Some(Value::Int64(value))) => (value.to_string(), "c"),
            (Kind::Distribution, Some(Value::Duration(duration))) => {
                let mut value = String::new();
                let millis = nanos(duration) as f64 / 1e6;
                // A string takes whatever is written.
                let _ = text::write_double(&mut value, millis);
                (value, "ms")
            }
            (kind, value) => {
                let value = text::stringify(value);
                return Err(format!("{value:?} is no value of a {kind:?}"));
            }
        };
        if self.is_sent() {
            if kind == "g" && value.starts_with('-') {
                // A sign alone would take it off what the gauge was before.
                self.line(out, &name, "0", kind);
            }
            self.line(out, &name, &value, kind);
        }
        Ok(())
    }

    fn line(&self, out: &mut String, name: &str, value: &str, kind: &str) {
        // A string takes whatever is written.
        let _ = write!(out, "{name}:{value}|{kind}");
        if self.config.rate < 1.0 {
            let _ = write!(out, "|@{}", self.config.rate);
        }
        out.push('\n');
    }

    /// Whether the next value is of the share that is sent: they are spread evenly.
    fn is_sent(&self) -> bool {
        if self.config.rate >= 1.0 {
            return true;
        }
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        *owed += self.config.rate;
        let is_due = *owed >= 1.0;
        if is_due {
            *owed -= 1.0;
        }
        is_due
    }
}

impl HandleMetric for StatsdHandler {
    fn handle_metric(&self, instances: &[Metric<'_>]) -> Answer<()> {
        let mut lines = String::new();
        let mut faults = Faults::default();
        for metric in instances {
            if let Err(reason) = self.write(&mut lines, metric) {
                faults.push(metric.name, &reason);
            }
        }
        let count = count(lines.as_bytes());
        if count > 0 && !self.lines.put(lines) {
            self.env.fault("dropped", count);
            return Answer::failed(format!(
                "{count} values are dropped: they come faster than they are sent"
            ));
        }
        faults.answer()
    }
}

// === impl Sender ===

impl Sender {
    pub(super) fn new(config: &Config, env: Env) -> Self {
        Self {
            address: config.address.clone(),
            flush: config.flush,
            size: config.packet,
            packet: Vec::with_capacity(config.packet),
            socket: None,
            failing: false,
            env,
        }
    }

    pub(super) async fn run(mut self, mut inbox: Inbox<String>) {
        let mut due = Instant::now();
        loop {
            let waiting = !self.packet.is_empty();
            tokio::select! {
                lines = inbox.next() => match lines {
                    Some(lines) => {
                        if !waiting {
                            due = Instant::now() + self.flush;
                        }
                        for line in lines.lines() {
                            self.add(line).await;
                        }
                    }
                    None => break,
                },
                () = sleep_until(due), if waiting => self.send().await,
            }
        }
        self.send().await;
    }

    /// Adds a line to the packet, which is sent before it gets too large.
    async fn add(&mut self, line: &str) {
        let more = line.len() + usize::from(!self.packet.is_empty());
        if self.packet.len() + more > self.size {
            self.send().await;
        }
        if !self.packet.is_empty() {
            self.packet.push(b'\n');
        }
        self.packet.extend_from_slice(line.as_bytes());
    }

    async fn send(&mut self) {
        if self.packet.is_empty() {
            return;
        }
        match self.try_send().await {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.socket = None;
                self.env.fault("send", 1);
                self.env.fault("dropped", count(&self.packet));
                if !std::mem::replace(&mut self.failing, true) {
                    let (handler, address) = (self.env.handler(), &self.address);
                    tracing::warn!(handler, %address, %error, "cannot send to statsd, values are lost");
                }
            }
        }
        self.packet.clear();
    }

    async fn try_send(&mut self) -> io::Result<()> {
        if self
            .socket
            .as_ref()
            .is_none_or(|(_, since)| since.elapsed() > RESOLVE)
        {
            self.socket = Some((self.connect().await?, Instant::now()));
        }
        if let Some((socket, _)) = &self.socket {
            socket.send(&self.packet).await?;
        }
        Ok(())
    }

    async fn connect(&self) -> io::Result<UdpSocket> {
        let host = self.address.host.as_deref().unwrap_or("localhost");
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in lookup_host((host, self.address.port)).await? {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let connected = async {
                let socket = UdpSocket::bind(any).await?;
                socket.connect(address).await?;
                Ok(socket)
            };
            match connected.await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
