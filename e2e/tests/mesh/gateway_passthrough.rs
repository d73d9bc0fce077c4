//! TLS that gateways leave to the application (pattern 2 of §7.5).

use anyhow::{Result, ensure};
use mesh_testing::certificates::{Authority, Pair};

use crate::support::fixture::GATEWAYS;
use crate::support::rule::{object, virtual_service};
use crate::support::tls::{Session, TlsClient, tls_secret};
use crate::support::{GATEWAY, TestMesh};

/// A server of HTTPS with a certificate of its own.
pub(crate) fn application(name: &str, pair: &Pair) -> String {
    let manifest = "---
apiVersion: v1
kind: ServiceAccount
metadata: {name: NAME, namespace: weather}
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: weather}
spec:
  ports: [{name: https, port: 443, targetPort: 8443}]
  selector: {app: NAME}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: weather}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      serviceAccountName: NAME
      containers:
      - name: NAME
        image: istio-rs/echo:v1
        env:
        - {name: PORT, value: \"8443\"}
        - {name: APP, value: NAME}
        - {name: ECHO_TLS_CERTIFICATE, value: /certs/tls.crt}
        - {name: ECHO_TLS_KEY, value: /certs/tls.key}
        ports: [{containerPort: 8443}]
        volumeMounts: [{name: certs, mountPath: /certs}]
      volumes: [{name: certs, secret: {secretName: NAME-certs}}]
";
    tls_secret("weather", &format!("{name}-certs"), pair) + &manifest.replace("NAME", name)
}

/// Opens a connection to a port of the gateway.
async fn open(mesh: &TestMesh, client: &TlsClient, port: u16, host: &str) -> Result<Session> {
    let stream = mesh.mesh().connect(GATEWAY, port).await?;
    client.open(stream, host).await
}

#[test]
fn ex_24_25_49_the_server_name_chooses_the_application_whose_certificate_is_shown() {
    GATEWAYS.run(async |mesh| {
        let authority = Authority::new("applications").expect("an authority");
        let client = TlsClient::trusting([&authority]);
        let names = ["frontend.weather.com", "recommendation.weather.com"];
        let pairs = names.map(|name| authority.issue(&[name]).expect("a certificate"));
        mesh.apply(&(application("frontend-tls", &pairs[0]) + &application("recommendation-tls", &pairs[1])))
            .await;
        let gateway = "{selector: {istio: ingressgateway}, servers: [
          {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*.weather.com'], tls: {mode: PASSTHROUGH}},
          {port: {number: 15443, name: tls, protocol: TLS}, hosts: ['*.local'], tls: {mode: AUTO_PASSTHROUGH}}]}";
        let rules = "{hosts: ['*.weather.com'], gateways: [istio-system/weather-gateway], tls: [
          {match: [{port: 443, sniHosts: [frontend.weather.com]}], route: [{destination: {host: frontend-tls}}]},
          {match: [{port: 443, sniHosts: [recommendation.weather.com]}], route: [{destination: {host: recommendation-tls}}]}]}";
        mesh.enforce(
            &(object("Gateway", "istio-system", "weather-gateway", gateway)
                + &virtual_service("tls", rules)),
        )
        .await;

        for ((host, pair), app) in names.into_iter().zip(&pairs).zip(["frontend-tls", "recommendation-tls"]) {
            mesh.eventually(&format!("{host} is answered by {app}"), async || {
                let mut session = open(mesh, &client, 443, host).await?;
                ensure!(session.shows(pair), "another certificate");
                let answer = session.get(host, "/", &[]).await?;
                ensure!(answer.status == 200, "{}", answer.status);
                ensure!(answer.header("x-sample-app") == app, "{:?}", answer.headers);
                // It is the application's connection: no proxy has put anything into it.
                ensure!(!answer.body.contains("x-request-id"), "{}", answer.body);
                Ok(())
            })
            .await;
        }
        // R-GW-1: nobody's names are closed.
        for host in ["other.weather.com", "news.com"] {
            assert!(open(mesh, &client, 443, host).await.is_err(), "{host}");
        }

        // AUTO_PASSTHROUGH: the server name is the cluster; no rule is needed. The certificate is for another name, so
        // the handshake gets as far as the application and ends there.
        let name = "outbound_.443_._.frontend-tls.weather.svc.cluster.local";
        mesh.eventually("the server name chooses the cluster", async || {
            match open(mesh, &client, 15443, name).await {
                Ok(_) => anyhow::bail!("the certificate is not for {name}"),
                Err(error) => {
                    let text = format!("{error:#}");
                    ensure!(text.contains("certificate"), "{text}");
                    Ok(())
                }
            }
        })
        .await;
    });
}
