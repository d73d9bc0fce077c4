//! Connections that are not HTTP: TCP and TLS rules, headless services, ports that only probes ask.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mesh_testing::certificates::Authority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::gateway_passthrough::application;
use crate::support::TestMesh;
use crate::support::fixture::L4;
use crate::support::rule::{object, virtual_service};
use crate::support::tls::TlsClient;

const FRONTEND: &str = "frontend-0";
const RECOMMENDATION: &str = "recommendation-0";
const PEERS: [&str; 2] = ["peers-0", "peers-1"];
/// Longer than any server takes.
const TIMEOUT: Duration = Duration::from_secs(20);
/// An address that nobody has.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The rule of EX26, for all callers or those with some labels.
fn diverted(conditions: &str) -> String {
    virtual_service(
        "forecast",
        &format!(
            "{{hosts: [forecast], tcp: [{{match: [{{port: 23003{conditions}}}],
              route: [{{destination: {{host: inner-forecast, subset: v1, port: {{number: 3003}}}}}}]}}]}}"
        ),
    )
}

/// The address of a service.
fn vip(mesh: &TestMesh, name: &str) -> Ipv4Addr {
    let host = format!("{name}.weather.svc.cluster.local");
    let state = mesh.mesh().state();
    let service = state.services.iter().find(|service| service.host == host);
    service
        .and_then(|service| service.vip)
        .expect("a service with an address")
}

async fn connect(mesh: &TestMesh, from: &str, to: Ipv4Addr, port: u16) -> Result<TcpStream> {
    mesh.mesh().connect_from(from, SocketAddrV4::new(to, port)).await
}

/// What a server answers to some bytes, until it closes the connection.
async fn answer(mesh: &TestMesh, from: &str, to: Ipv4Addr, port: u16, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = connect(mesh, from, to, port).await?;
    let exchange = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .context("no answer in time")?
}

/// The prefix that the server puts before what it sends back; empty when the connection was closed.
async fn server(mesh: &TestMesh, from: &str, to: Ipv4Addr, port: u16, bytes: &[u8]) -> String {
    let answer = answer(mesh, from, to, port, bytes).await.unwrap_or_default();
    let prefix = answer.split(|byte| *byte == b' ').next().unwrap_or_default();
    String::from_utf8_lossy(prefix).into_owned()
}

#[test]
fn ex_26_connections_to_port_23003_of_forecast_arrive_at_inner_forecast() {
    L4.run(async |mesh| {
        let forecast = vip(mesh, "forecast");
        mesh.enforce(&diverted("")).await;
        let echoed = answer(mesh, FRONTEND, forecast, 23003, b"hello\nworld\n")
            .await
            .expect("answered");
        assert_eq!(
            String::from_utf8_lossy(&echoed),
            "inner-v1 hello\ninner-v1 world\n"
        );
        // The ports that the service has stay what they are.
        assert_eq!(server(mesh, FRONTEND, forecast, 9000, b"hello\n").await, "outer");
        mesh.withdraw("VirtualService", "weather", "forecast").await;
        assert_eq!(server(mesh, FRONTEND, forecast, 23003, b"hello\n").await, "");
    });
}

#[test]
fn ex_27_only_labelled_callers_are_diverted() {
    L4.run(async |mesh| {
        let forecast = vip(mesh, "forecast");
        mesh.enforce(&diverted(", sourceLabels: {app: frontend}")).await;
        assert_eq!(
            server(mesh, FRONTEND, forecast, 23003, b"hello\n").await,
            "inner-v1"
        );
        assert_eq!(
            server(mesh, RECOMMENDATION, forecast, 23003, b"hello\n").await,
            ""
        );
    });
}

#[test]
fn r_vs_12_weights_split_connections() {
    L4.run(async |mesh| {
        let inner = vip(mesh, "inner-forecast");
        mesh.enforce(&virtual_service(
            "inner-forecast",
            "{hosts: [inner-forecast], tcp: [{route: [
              {destination: {host: inner-forecast, subset: v1}, weight: 80},
              {destination: {host: inner-forecast, subset: v2}, weight: 20}]}]}",
        ))
        .await;
        let mut servers: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..200 {
            *servers
                .entry(server(mesh, FRONTEND, inner, 3003, b"hello\n").await)
                .or_default() += 1;
        }
        let of = |name: &str| servers.get(name).copied().unwrap_or_default();
        assert_eq!(of("inner-v1") + of("inner-v2"), 200, "{servers:?}");
        assert!((20..=60).contains(&of("inner-v2")), "{servers:?}");
    });
}

/// EX24 and EX25 inside of the mesh: the application behind the name is the one whose certificate is shown.
#[test]
fn ex_24_25_the_server_name_of_a_handshake_chooses_the_service() {
    L4.run(async |mesh| {
        let authority = Authority::new("applications").expect("an authority");
        let client = TlsClient::trusting([&authority]);
        let names = ["frontend.weather.com", "recommendation.weather.com"];
        let pairs = names.map(|name| authority.issue(&[name]).expect("a certificate"));
        mesh.apply(&(application("frontend-tls", &pairs[0]) + &application("recommendation-tls", &pairs[1])))
            .await;
        let entry = "{hosts: ['*.weather.com'], location: MESH_EXTERNAL, resolution: NONE,
                      ports: [{number: 443, name: https, protocol: HTTPS}]}";
        let routes = "{hosts: [frontend.weather.com, recommendation.weather.com], tls: [
          {match: [{port: 443, sniHosts: [frontend.weather.com]}], route: [{destination: {host: frontend-tls}}]},
          {match: [{port: 443, sniHosts: [recommendation.weather.com]}], route: [{destination: {host: recommendation-tls}}]}]}";
        mesh.enforce(
            &(object("ServiceEntry", "weather", "weather-com", entry) + &virtual_service("by-name", routes)),
        )
        .await;
        for (name, pair) in names.into_iter().zip(&pairs) {
            mesh.eventually(&format!("{name} is its own application"), async || {
                let stream = connect(mesh, FRONTEND, ELSEWHERE, 443).await?;
                let mut session = client.open(stream, name).await?;
                ensure!(session.shows(pair), "another certificate");
                let answer = session.get(name, "/", &[]).await?;
                ensure!(answer.status == 200, "{}", answer.status);
                Ok(())
            })
            .await;
        }
    });
}

#[test]
fn pain_15_every_pod_of_a_headless_service_is_reached_by_its_address_by_others_and_itself() {
    L4.run(async |mesh| {
        for peer in PEERS {
            let ip = mesh.pod_ip(peer).expect("it runs");
            for from in [FRONTEND, PEERS[0], PEERS[1]] {
                let echoed = answer(mesh, from, ip, 7000, b"hello\n").await.expect("answered");
                assert_eq!(
                    String::from_utf8_lossy(&echoed),
                    "ready\npeer hello\n",
                    "from {from} to {peer}"
                );
            }
        }
    });
}

#[test]
fn pain_15_pods_of_a_headless_service_are_asked_by_name_and_by_address() {
    L4.run(async |mesh| {
        for peer in PEERS {
            let ip = mesh.pod_ip(peer).expect("it runs");
            for from in [FRONTEND, PEERS[0], PEERS[1]] {
                let url = format!("http://{ip}:7001/");
                for host in [
                    format!("{ip}:7001"),
                    "peers:7001".to_owned(),
                    format!("{peer}.peers:7001"),
                    format!("{peer}.peers.weather.svc.cluster.local:7001"),
                ] {
                    let echo = mesh.from(from).echo(&url, &[("host", &host)]).await;
                    assert_eq!((&*echo.pod, &*echo.host), (peer, &*host), "from {from}");
                }
            }
        }
        mesh.from(FRONTEND)
            .expect(
                404,
                &format!("http://{ELSEWHERE}:7001/"),
                &[("host", "unknown:7001")],
            )
            .await;
    });
}

/// The client sends nothing before the server has greeted it.
#[test]
fn pain_14_servers_that_speak_first_are_heard_at_once() {
    L4.run(async |mesh| {
        let ip = mesh.pod_ip(PEERS[0]).expect("it runs");
        mesh.eventually("the greeting arrives", async || {
            let started = Instant::now();
            let mut stream = connect(mesh, FRONTEND, ip, 7000).await?;
            let mut greeting = [0; 6];
            tokio::time::timeout(TIMEOUT, stream.read_exact(&mut greeting)).await??;
            ensure!(greeting == *b"ready\n", "{greeting:?}");
            let elapsed = started.elapsed();
            ensure!(elapsed < Duration::from_millis(500), "after {elapsed:?}");
            Ok(())
        })
        .await;
    });
}

/// The pods would not have got ready otherwise; the name shows in the statistics.
#[test]
fn p4_2_ports_that_only_probes_ask_have_a_cluster_of_their_own() {
    L4.run(async |mesh| {
        mesh.eventually("probes are counted apart", async || {
            let clusters = mesh.admin(PEERS[0], "clusters").await?;
            let count = clusters
                .lines()
                .filter_map(|line| {
                    line.strip_prefix("inbound|7002|mgmt-7002|mgmtCluster::127.0.0.1:7002::cx_total::")
                })
                .find_map(|count| count.parse::<u64>().ok());
            ensure!(count > Some(0), "{count:?}");
            Ok(())
        })
        .await;
    });
}
