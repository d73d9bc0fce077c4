//! Ways in through the network of the node: a gateway that is in it, and a proxy there in front of gateways (§7.7).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use e2e::sample::echo::Echo;
use mesh_testing::certificates::{Authority, Pair};

use crate::gateway_passthrough::application;
use crate::support::fixture::GATEWAYS;
use crate::support::rule::{object, virtual_service};
use crate::support::tls::TlsClient;
use crate::support::{GATEWAY, TestMesh, rules};

/// A pod without a sidecar: to call from, and to see where a request comes from.
const OUTSIDER: &str = "weatherdb-v1-0";
const FRONT: &str = "front-envoy-0";
const HOST: &str = "weather.com";
const TLS_HOST: &str = "tls.weather.com";

/// Port 80 leads to an application without a sidecar, and so does port 443, where TLS is the application's.
const SERVERS: &str = "{selector: {istio: ingressgateway}, servers: [
  {port: {number: 80, name: http, protocol: HTTP}, hosts: [weather.com]},
  {port: {number: 443, name: https, protocol: HTTPS}, hosts: [tls.weather.com], tls: {mode: PASSTHROUGH}}]}";
const HTTP_RULE: &str = "{hosts: [weather.com], gateways: [istio-system/weather-gateway], http: [
  {route: [{destination: {host: weatherdb.outside.svc.cluster.local}}]}]}";
const TLS_RULE: &str = "{hosts: [tls.weather.com], gateways: [istio-system/weather-gateway], tls: [
  {match: [{port: 443, sniHosts: [tls.weather.com]}],
   route: [{destination: {host: weatherdb-tls.outside.svc.cluster.local}}]}]}";

fn gateway() -> String {
    object("Gateway", "istio-system", "weather-gateway", SERVERS) + &virtual_service("weatherdb", HTTP_RULE)
}

/// The peer that an application saw.
fn peer(echo: &Echo) -> Result<Ipv4Addr> {
    match echo.remote.parse()? {
        SocketAddr::V4(peer) => Ok(*peer.ip()),
        SocketAddr::V6(peer) => peer.ip().to_ipv4_mapped().context("not of IPv4"),
    }
}

/// Who led a request for the plain host to the application that was sent to an address.
async fn led_by(mesh: &TestMesh, address: Ipv4Addr) -> Result<Ipv4Addr> {
    let url = format!("http://{address}/");
    let answer = mesh.from(OUTSIDER).get(&url, &[("host", HOST)]).await?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    peer(&serde_json::from_str(&answer.body)?)
}

/// As [`led_by`], with the host whose TLS is the application's.
async fn led_by_tls(mesh: &TestMesh, client: &TlsClient, pair: &Pair, address: Ipv4Addr) -> Result<Ipv4Addr> {
    let address = SocketAddrV4::new(address, 443);
    let stream = mesh.mesh().connect_from(OUTSIDER, address).await?;
    let mut session = client.open(stream, TLS_HOST).await?;
    ensure!(session.shows(pair), "another certificate");
    let answer = session.get(TLS_HOST, "/", &[]).await?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    peer(&serde_json::from_str(&answer.body)?)
}

/// What a command prints in a pod, if it succeeds.
async fn output(mesh: &TestMesh, pod: &str, script: &str) -> Result<String> {
    let output = mesh.mesh().exec(pod, ["sh", "-c", script]).await?;
    ensure!(output.status.success(), "{script}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Waits until a pod in the network of the node runs, ready or not, and is the one that follows `before`.
async fn wait_for_pod(mesh: &TestMesh, name: &str, before: Option<i32>, ready: bool) {
    mesh.eventually(&format!("{name} runs"), async || {
        let state = mesh.mesh().state();
        let pod = state.pod(name).context("it is not there")?;
        ensure!(pod.pid.is_some() && pod.pid != before, "it is the one before");
        ensure!(
            pod.phase == "Running" && (pod.ready || !ready),
            "{} {}",
            pod.phase,
            pod.message
        );
        Ok(())
    })
    .await;
}

fn process(mesh: &TestMesh, pod: &str) -> Option<i32> {
    mesh.mesh().state().pod(pod).and_then(|pod| pod.pid)
}

/// [004:20]–[004:58]: `ClusterFirst` is what a pod gets that says nothing, and in the network of the node it means the
/// node's resolver.
#[test]
fn ex_71_a_gateway_on_the_network_of_its_node_starts_only_with_the_names_of_the_cluster() {
    GATEWAYS.run(async |mesh| {
        mesh.enforce(&gateway()).await;
        let sample = rules("host-network/istio-ingressgateway.yaml");
        let names_of_node = sample.replace("dnsPolicy: ClusterFirstWithHostNet", "dnsPolicy: ClusterFirst");
        assert_ne!(names_of_node, sample);

        let before = process(mesh, GATEWAY);
        mesh.apply(&names_of_node).await;
        wait_for_pod(mesh, GATEWAY, before, false).await;
        mesh.eventually("Envoy has looked for Pilot in vain", async || {
            // That there is no such name is an answer for Envoy: a success without an address.
            let mut answers = 0;
            for statistic in ["update_success", "update_failure"] {
                answers += mesh
                    .stat(GATEWAY, &format!("cluster.xds-grpc.{statistic}"))
                    .await?;
            }
            ensure!(answers > 0, "it is still looking");
            Ok(())
        })
        .await;
        // The network has everything but the name.
        let node = mesh.pod_ip(GATEWAY).expect("an address");
        let look_up = "getent hosts istio-pilot.istio-system";
        let nothing = output(mesh, GATEWAY, look_up).await.expect_err("no such name");
        assert!(nothing.to_string().contains("exit status: 2"), "{nothing}");
        let services = &mesh.mesh().state().services;
        let pilot = services
            .iter()
            .find(|service| service.host.starts_with("istio-pilot."))
            .and_then(|service| service.vip)
            .expect("the address of Pilot");
        let there = format!("exec 3<>/dev/tcp/{pilot}/15010");
        output(mesh, GATEWAY, &format!("bash -c '{there}'"))
            .await
            .expect("Pilot is there");
        let health = mesh.from(OUTSIDER);
        health
            .expect(503, &format!("http://{node}:15020/healthz/ready"), &[])
            .await;
        assert!(!mesh.mesh().state().pod(GATEWAY).expect("a pod").ready);
        for statistic in ["membership_total", "upstream_cx_total"] {
            let value = mesh.stat(GATEWAY, &format!("cluster.xds-grpc.{statistic}")).await;
            assert_eq!(value.expect("a statistic"), 0, "{statistic}");
        }
        assert!(led_by(mesh, node).await.is_err(), "nobody listens");

        let before = process(mesh, GATEWAY);
        mesh.apply(&sample).await;
        wait_for_pod(mesh, GATEWAY, before, true).await;
        mesh.settle().await;
        // Its address is the node's, and so are its name and its ports.
        assert_eq!(mesh.pod_ip(GATEWAY), Some(node));
        let own = output(mesh, GATEWAY, "echo $HOST_IP $INSTANCE_IP $HOSTNAME").await;
        assert_eq!(own.expect("printed"), format!("{node} {node} node-1"));
        let found = output(mesh, GATEWAY, look_up).await.expect("found");
        assert!(found.starts_with(&pilot.to_string()), "{found}");
        assert_eq!(led_by(mesh, node).await.expect("answered"), node);
        // The service of the gateway leads there too.
        let answer = mesh.get("/", &[("host", HOST)]).await.expect("answered");
        assert_eq!(answer.status, 200);
    });
}

/// [004:64]–[004:203].
#[test]
fn ex_72_a_front_proxy_on_the_network_of_the_node_leads_to_every_gateway() {
    GATEWAYS.run(async |mesh| {
        let authority = Authority::new("applications").expect("an authority");
        let pair = authority.issue(&[TLS_HOST]).expect("a certificate");
        let client = TlsClient::trusting([&authority]);
        let application =
            application("weatherdb-tls", &pair).replace("namespace: weather", "namespace: outside");
        mesh.apply(&application).await;
        mesh.enforce(&(gateway() + &virtual_service("weatherdb-tls", TLS_RULE)))
            .await;
        let installed = rules("../manifests/istio-system.yaml");
        mesh.scale(&installed, "istio-system", "istio-ingressgateway", 2)
            .await;
        let replicas = [0, 1].map(|ordinal| format!("istio-ingressgateway-{ordinal}"));
        let gateways = replicas.map(|name| mesh.pod_ip(&name).expect("an address"));
        let gateways = BTreeSet::from(gateways);

        mesh.apply(&rules("host-network/front-envoy.yaml")).await;
        wait_for_pod(mesh, FRONT, None, true).await;
        let node = mesh.pod_ip(FRONT).expect("an address");
        assert!(!gateways.contains(&node));

        let (mut plain, mut tls) = (BTreeSet::new(), BTreeSet::new());
        mesh.eventually("either port of the node leads to either gateway", async || {
            plain.insert(led_by(mesh, node).await?);
            tls.insert(led_by_tls(mesh, &client, &pair, node).await?);
            ensure!(
                plain == gateways && tls == gateways,
                "so far {plain:?} and {tls:?}"
            );
            Ok(())
        })
        .await;

        // With one gateway less the other one has it all.
        mesh.scale(&installed, "istio-system", "istio-ingressgateway", 1)
            .await;
        let left = mesh.pod_ip(GATEWAY).expect("an address");
        for _ in 0..8 {
            assert_eq!(led_by(mesh, node).await.expect("answered"), left);
            let by_tls = led_by_tls(mesh, &client, &pair, node).await;
            assert_eq!(by_tls.expect("answered"), left);
        }
    });
}
