//! The command line, and the way from a role to its server.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tracing::info;

use super::identity::{Identity, IdentityArgs};
use super::server::{self, Stop};
use super::{bookinfo, echo, httpbin, sleep, tcp_echo, weather};

/// The sample application of the mesh; the first argument says which part of it to play
#[derive(Debug, Parser)]
#[command(name = "mesh-sample")]
pub struct Args {
    #[command(subcommand)]
    role: Role,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Address to listen on
    #[arg(
        long,
        global = true,
        env = "BIND_ADDRESS",
        value_name = "IP",
        default_value = "0.0.0.0"
    )]
    bind: IpAddr,
    /// After SIGTERM, go on serving for this long before closing, so that callers can learn of it
    #[arg(
        long,
        global = true,
        env = "SHUTDOWN_DELAY_MS",
        value_name = "MILLISECONDS",
        default_value_t = 0
    )]
    shutdown_delay_ms: u64,
}

/// The part to play.
#[derive(Debug, Subcommand)]
enum Role {
    /// Weather: the page; calls advertisement and forecast
    Frontend(weather::FrontendArgs),
    /// Weather: the ad picture at /ad
    Advertisement(weather::AdvertisementArgs),
    /// Weather: the forecast at /weather; version v2 calls recommendation
    Forecast(weather::ForecastArgs),
    /// Weather: what to wear and to do, at /activity
    Recommendation(weather::RecommendationArgs),
    /// Bookinfo: the page and the API; calls details, reviews and ratings
    Productpage(bookinfo::ProductpageArgs),
    /// Bookinfo: facts about a book
    Details(bookinfo::DetailsArgs),
    /// Bookinfo: reviews; v1 without stars, v2 with black and v3 with red ones from ratings
    Reviews(bookinfo::ReviewsArgs),
    /// Bookinfo: stars of a book
    Ratings(bookinfo::RatingsArgs),
    /// httpbin: answers with what it was sent
    Httpbin(httpbin::HttpbinArgs),
    /// Sends each line back behind a prefix, over plain TCP
    TcpEcho(tcp_echo::TcpEchoArgs),
    /// Does nothing
    Sleep(sleep::SleepArgs),
    /// Test double: describes each request, fails or waits when told to
    Echo(echo::EchoArgs),
}

// === impl Args ===

impl Args {
    /// Plays the role until SIGTERM or SIGINT, then finishes the requests under way.
    ///
    /// # Errors
    /// When a port cannot be opened or the signal handlers cannot be installed.
    pub async fn run(self) -> Result<()> {
        let Self {
            role,
            identity,
            bind,
            shutdown_delay_ms,
        } = self;
        let identity = Identity::new(identity, role.name());
        let stop = server::stop_on_signals(Duration::from_millis(shutdown_delay_ms))
            .context("cannot install signal handlers")?;
        let mut tls = None;
        let (ports, router) = match role {
            Role::Sleep(args) => {
                args.run(stop).await;
                return Ok(());
            }
            Role::TcpEcho(args) => {
                let (ports, words) = args.into_parts();
                return tcp_echo::serve(listen(bind, &ports).await?, words, stop).await;
            }
            Role::Frontend(args) => (vec![args.port], args.router(&identity)),
            Role::Advertisement(args) => (vec![args.port], args.router(&identity)),
            Role::Forecast(args) => (vec![args.port], args.router(&identity)),
            Role::Recommendation(args) => (vec![args.port], args.router(&identity)),
            Role::Productpage(args) => (vec![args.port], args.router(&identity)),
            Role::Details(args) => (vec![args.port], args.router(&identity)),
            Role::Reviews(args) => (vec![args.port], args.router(&identity)),
            Role::Ratings(args) => (vec![args.port], args.router(&identity)),
            Role::Httpbin(args) => (vec![args.listen_port()], args.router(&identity)),
            Role::Echo(args) => {
                tls = args.acceptor()?;
                (args.port.clone(), args.router(&identity))
            }
        };
        serve(listen(bind, &ports).await?, tls.as_ref(), &router, &stop).await
    }
}

async fn listen(bind: IpAddr, ports: &[u16]) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(ports.len());
    for port in ports {
        let address = SocketAddr::new(bind, *port);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        info!(address = %listener.local_addr()?, "listening");
        listeners.push(listener);
    }
    Ok(listeners)
}

async fn serve(
    listeners: Vec<TcpListener>,
    tls: Option<&TlsAcceptor>,
    router: &Router,
    stop: &Stop,
) -> Result<()> {
    let servers = listeners
        .into_iter()
        .map(|listener| server::serve(listener, tls.cloned(), router.clone(), stop.clone()));
    futures::future::try_join_all(servers).await?;
    Ok(())
}

// === impl Role ===

impl Role {
    /// The role's name on the command line.
    fn name(&self) -> &'static str {
        match self {
            Self::Frontend(_) => "frontend",
            Self::Advertisement(_) => "advertisement",
            Self::Forecast(_) => "forecast",
            Self::Recommendation(_) => "recommendation",
            Self::Productpage(_) => "productpage",
            Self::Details(_) => "details",
            Self::Reviews(_) => "reviews",
            Self::Ratings(_) => "ratings",
            Self::Httpbin(_) => "httpbin",
            Self::TcpEcho(_) => "tcp-echo",
            Self::Sleep(_) => "sleep",
            Self::Echo(_) => "echo",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_role_takes_common_flags_after_its_name() {
        let args =
            Args::try_parse_from(["mesh-sample", "echo", "--port", "1,2", "--app-version", "v7"]).unwrap();
        let identity = Identity::new(args.identity, args.role.name());
        assert_eq!((identity.app.as_str(), identity.version.as_str()), ("echo", "v7"));
        assert!(matches!(args.role, Role::Echo(echo) if echo.port == [1, 2]));
    }

    #[test]
    fn tcp_echo_takes_the_arguments_of_its_image() {
        let args = Args::try_parse_from(["mesh-sample", "tcp-echo", "9000,9001", "one"]).unwrap();
        let Role::TcpEcho(args) = args.role else {
            panic!("{args:?}")
        };
        assert_eq!(
            args.into_parts(),
            (vec![9000, 9001], tcp_echo::Words::new("one", None))
        );
    }

    #[test]
    fn a_backend_must_be_an_http_url() {
        for url in [
            "forecast",
            "https://forecast",
            "http://",
            "http://forecast/path",
            "http://forecast:3002?x=1",
        ] {
            assert!(
                Args::try_parse_from(["mesh-sample", "frontend", "--forecast-url", url]).is_err(),
                "{url}"
            );
        }
    }
}
