//! Pods of whose traffic nothing is captured: applications talk to their proxy (`interceptionMode: NONE`).

use anyhow::ensure;

use crate::support::TestMesh;
use crate::support::fixture::UNCAPTURED;
use crate::support::rule::{destination_rule, object, virtual_service};

const FRONTEND: &str = "frontend-0";
const SHOP: &str = "shop-0";
const FORECAST: (&str, &str) = ("host", "forecast:3002");

/// How often Envoy rejected listeners.
async fn rejected(mesh: &TestMesh, pod: &str) -> u64 {
    let stat = "listener_manager.lds.update_rejected";
    mesh.stat(pod, stat).await.expect("a number")
}

/// The application calls a port of its own pod, and rules choose the version that answers.
#[test]
fn r_sc_6_p12_4_an_application_reaches_services_by_rule_through_the_loopback_address() {
    UNCAPTURED.run(async |mesh| {
        let rules = destination_rule(
            "forecast",
            "{host: forecast, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}",
        ) + &virtual_service(
            "forecast",
            "{hosts: [forecast], http: [
              {match: [{headers: {location: {exact: north}}}], route: [{destination: {host: forecast, subset: v2}}]},
              {route: [{destination: {host: forecast, subset: v1}}]}]}",
        ) + &object(
            "Sidecar",
            "weather",
            "frontend",
            "{workloadSelector: {labels: {app: frontend}}, egress: [
              {port: {number: 9080, protocol: HTTP, name: http}, bind: 127.0.0.1, captureMode: NONE, hosts: [./forecast.weather.svc.cluster.local]},
              {hosts: [./*, istio-system/*]}]}",
        );
        mesh.enforce(&rules).await;

        let caller = mesh.from(FRONTEND);
        for url in [
            // The listener that the Sidecar asks for, the one of the service, and the proxy for all ports.
            "http://127.0.0.1:9080/",
            "http://127.0.0.1:3002/",
            "http://127.0.0.1:15002/",
        ] {
            caller.versions(6, url, &[FORECAST]).await.assert_all("v1");
            let north = [FORECAST, ("location", "north")];
            caller.versions(6, url, &north).await.assert_all("v2");
        }
        // What the listener does not import it does not know.
        caller
            .expect(404, "http://127.0.0.1:9080/", &[("host", "shop:8080")])
            .await;
    });
}

/// Envoy would reject a listener for the port of the application, and with it the response that it came in.
#[test]
fn p12_4_the_port_of_the_application_stays_its_own() {
    UNCAPTURED.run(async |mesh| {
        mesh.settle().await;
        let caller = mesh.from(FRONTEND);
        let host = [("host", "advertisement:3000")];
        let own = caller.expect(200, "http://127.0.0.1:3000/", &host).await;
        assert_eq!(own.header("x-sample-app"), "frontend");
        // Who asks the proxy reaches the service all the same.
        let others = caller.expect(200, "http://127.0.0.1:15002/", &host).await;
        assert_eq!(others.header("x-sample-app"), "forecast");
        for pod in [FRONTEND, SHOP] {
            assert_eq!(rejected(mesh, pod).await, 0, "{pod} rejected listeners");
        }
    });
}

/// `R-SC-3`: the proxy binds what the Sidecar names, on all addresses, and forwards to the application.
#[test]
fn r_sc_3_the_ingress_listener_of_a_sidecar_leads_to_the_application() {
    UNCAPTURED.run(async |mesh| {
        mesh.settle().await;
        assert!(mesh.get_at(SHOP, 8080).await.is_err(), "{SHOP} answers already");
        mesh.enforce(&object(
            "Sidecar",
            "weather",
            "shop",
            "{workloadSelector: {labels: {app: shop}},
              ingress: [{port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:8012'}],
              egress: [{hosts: [./*, istio-system/*]}]}",
        ))
        .await;
        mesh.eventually("the proxy listens", async || {
            let answer = mesh.get_at(SHOP, 8080).await?;
            ensure!(
                answer.status == 200 && answer.header("server") == "istio-envoy",
                "{}: {:?}",
                answer.status,
                answer.headers
            );
            Ok(())
        })
        .await;
        for (pod, url, host) in [
            ("forecast-v1-0", "http://shop:8080/", "shop:8080"),
            (FRONTEND, "http://127.0.0.1:8080/", "shop:8080"),
        ] {
            let answer = mesh.from(pod).expect(200, url, &[("host", host)]).await;
            assert_eq!(answer.header("x-sample-app"), "shop", "from {pod}");
        }
        assert_eq!(rejected(mesh, SHOP).await, 0);
    });
}
