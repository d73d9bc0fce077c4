//! What gateways let in: hosts, ports and rules (§7).

use anyhow::{Result, ensure};
use hyper::Uri;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::support::fixture::GATEWAYS;
use crate::support::rule::{object, virtual_service};
use crate::support::{GATEWAY, TestMesh};

const FRONTEND: &str = "frontend-v1-0";
const NORTH: (&str, &str) = ("location", "north");
const WEATHER: (&str, &str) = ("host", "weather.com");

/// The Gateway of EX46 and EX48.
const WEATHER_GATEWAY: &str = "{selector: {istio: ingressgateway}, servers: [
  {port: {number: 80, name: http, protocol: HTTP}, hosts: [weather.com]}]}";
/// The rule of EX47: who comes from the north sees v2, inside and outside.
const NORTH_SEES_V2: &str =
    "{hosts: [frontend, weather.com], gateways: [istio-system/weather-gateway, mesh], http: [
  {match: [{headers: {location: {exact: north}}}], route: [{destination: {host: frontend, subset: v2}}]},
  {route: [{destination: {host: frontend, subset: v1}}]}]}";

fn weather_gateway(spec: &str) -> String {
    object("Gateway", "istio-system", "weather-gateway", spec)
}

/// The status and the version of an answer through the gateway.
async fn outside(mesh: &TestMesh, headers: &[(&str, &str)]) -> (u16, String) {
    let answer = mesh.get("/", headers).await.expect("answered");
    (answer.status, answer.header("x-sample-version").to_owned())
}

/// Pattern 1 of §7.5; R-G-1, R-G-2, R-GW-1, R-GW-4.
#[test]
fn ex_46_47_48_a_gateway_publishes_its_hosts_by_the_rules_that_hold_inside_too() {
    GATEWAYS.run(async |mesh| {
        mesh.enforce(&weather_gateway(WEATHER_GATEWAY)).await;
        // R-G-2: the port is open, and nothing is behind it.
        assert_eq!(outside(mesh, &[WEATHER]).await.0, 404);

        mesh.enforce(&virtual_service("frontend", NORTH_SEES_V2)).await;
        assert_eq!(outside(mesh, &[WEATHER]).await, (200, "v1".to_owned()));
        assert_eq!(outside(mesh, &[WEATHER, NORTH]).await, (200, "v2".to_owned()));
        let inside = mesh.from(FRONTEND);
        for (headers, version) in [(&[][..], "v1"), (&[NORTH], "v2")] {
            let answer = inside.expect(200, "http://frontend/", headers).await;
            assert_eq!(answer.header("x-sample-version"), version);
        }

        // R-GW-1: only for the host of the server, with and without a port.
        assert_eq!(outside(mesh, &[("host", "weather.com:8080")]).await.0, 200);
        for other in ["news.com", "www.weather.com", "frontend"] {
            assert_eq!(outside(mesh, &[("host", other)]).await.0, 404, "{other}");
        }
        let answer = mesh.get("/", &[WEATHER]).await.expect("answered");
        assert_eq!(answer.header("server"), "istio-envoy");
    });
}

/// The answers of a TCP server behind a port of the gateway.
async fn line(mesh: &TestMesh, port: u16) -> Result<String> {
    let mut stream = mesh.mesh().connect(GATEWAY, port).await?;
    stream.write_all(b"world\n").await?;
    let mut answer = String::new();
    BufReader::new(&mut stream).read_line(&mut answer).await?;
    ensure!(!answer.is_empty(), "closed");
    Ok(answer)
}

#[test]
fn section_7_4_a_tcp_server_forwards_by_the_first_rule_for_its_port() {
    GATEWAYS.run(async |mesh| {
        let gateway = "{selector: {istio: ingressgateway}, servers: [
          {port: {number: 31400, name: tcp, protocol: TCP}, hosts: ['*']},
          {port: {number: 31500, name: tcp-nobody, protocol: TCP}, hosts: ['*']}]}";
        mesh.enforce(
            &(weather_gateway(gateway)
                + &virtual_service(
                    "tcp-echo",
                    "{hosts: ['*'], gateways: [istio-system/weather-gateway], tcp: [
                      {match: [{port: 31400}], route: [{destination: {host: tcp-echo}}]}]}",
                )),
        )
        .await;
        assert_eq!(line(mesh, 31400).await.expect("answered"), "hello world\n");
        // A port without a rule listens and forwards nothing.
        let mut stream = mesh.mesh().connect(GATEWAY, 31500).await.expect("it listens");
        let mut rest = Vec::new();
        // Whether the end is an orderly one is Envoy's business.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "{rest:?}");
    });
}

/// EX55: the Gateway of the egress proxy; EX56: the way there, and the way out from there.
const EGRESS_GATEWAY: &str = "{selector: {istio: egressgateway}, servers: [
  {port: {number: 80, name: http, protocol: HTTP}, hosts: [www.weatherdb.com]}]}";
const THROUGH_EGRESS: &str = "{hosts: [www.weatherdb.com], gateways: [mesh, istio-egressgateway], http: [
  {match: [{gateways: [mesh], port: 80}], route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, port: {number: 80}}}]},
  {match: [{gateways: [istio-egressgateway], port: 80}], route: [{destination: {host: www.weatherdb.com, port: {number: 80}}}]}]}";
/// The book's EX54 leaves the endpoint to the DNS of the world.
const WEATHERDB: &str = "{hosts: [www.weatherdb.com], ports: [{number: 80, name: http, protocol: HTTP}],
  location: MESH_EXTERNAL, resolution: DNS, endpoints: [{address: weatherdb.outside.svc.cluster.local}]}";

const EGRESS: &str = "istio-egressgateway-0";

/// R-EG-1, R-EG-2.
#[test]
fn ex_55_56_what_leaves_the_mesh_leaves_through_the_egress_gateway() {
    GATEWAYS.run(async |mesh| {
        let url = "http://www.weatherdb.com/forecast";
        mesh.enforce(&object("ServiceEntry", "weather", "weatherdb", WEATHERDB))
            .await;
        let direct = mesh.from(FRONTEND).echo(url, &[]).await;
        assert_eq!(direct.app, "weatherdb");
        assert!(
            !direct.headers.contains_key("x-forwarded-for"),
            "it came straight: {:?}",
            direct.headers
        );

        // EX55: the egress proxy listens.
        mesh.enforce(&object(
            "Gateway",
            "weather",
            "istio-egressgateway",
            EGRESS_GATEWAY,
        ))
        .await;
        let listeners = mesh.admin(EGRESS, "listeners").await.expect("listeners");
        assert!(listeners.contains("0.0.0.0_80"), "{listeners}");

        // EX56, R-EG-1: the request appears at the egress proxy and leaves from it; the caller is the same.
        mesh.enforce(&virtual_service("weatherdb", THROUGH_EGRESS)).await;
        let through = mesh.from(FRONTEND).echo(url, &[]).await;
        assert_eq!((&*through.app, &*through.path), ("weatherdb", "/forecast"));
        assert_eq!(through.host, "www.weatherdb.com");
        let caller = mesh.pod_ip(FRONTEND).expect("an address").to_string();
        assert_eq!(through.headers.get("x-forwarded-for"), Some(&caller));
        mesh.eventually("the egress proxy logs it", async || {
            let log = mesh.log(EGRESS);
            let line = log
                .lines()
                .find(|line| line.contains("\"www.weatherdb.com\"") && line.contains("/forecast"));
            ensure!(line.is_some(), "{log}");
            Ok(())
        })
        .await;

        // R-EG-2: without the gateway among `gateways` its route is nobody's, and the proxy knows no such host.
        mesh.enforce(&virtual_service(
            "weatherdb",
            &THROUGH_EGRESS.replacen("[mesh, istio-egressgateway]", "[mesh]", 1),
        ))
        .await;
        let uri: Uri = url.parse().expect("a URL");
        mesh.from(FRONTEND).expect(404, &uri.to_string(), &[]).await;
    });
}
