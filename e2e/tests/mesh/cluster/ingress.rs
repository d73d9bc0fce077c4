//! Ingresses in a mesh whose objects are in an API server.

use anyhow::{Result, ensure};
use hyper::Method;
use mesh_testing::certificates::Authority;

use super::support::kubectl;
use crate::support::tls::{TlsClient, tls_secret};
use crate::support::{TestMesh, exchange};

/// The proxy that Ingresses are for, as the charts of 1.1 installed it on request.
const GATEWAY: &str = include_str!("ingress.yaml");
const POD: &str = "istio-ingress-0";
const HOST: &str = "shop.example.com";

/// Where the certificate for Ingresses is mounted from.
const SECRET: &str = "istio-ingress-certs";

fn ingress(path: &str) -> String {
    format!(
        "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: shop, namespace: weather, annotations: {{kubernetes.io/ingress.class: istio}}}}
spec:
  tls: [{{hosts: [{HOST}], secretName: {SECRET}}}]
  rules:
  - host: {HOST}
    http:
      paths:
      - {{path: {path}, pathType: Prefix, backend: {{service: {{name: forecast, port: {{number: 3002}}}}}}}}
"
    )
}

/// The status of a page over plain HTTP.
async fn plain(mesh: &TestMesh, path: &str) -> Result<u16> {
    let stream = mesh.mesh().connect(POD, 80).await?;
    let url = format!("http://{HOST}{path}").parse()?;
    let answer = exchange(stream, Method::GET, &url, &[], "").await?;
    Ok(answer.status)
}

/// `P5.5`, `G7.1`: an Ingress leads to its service, over plain HTTP and over TLS with the certificate of its Secret; it may
/// change and go.
#[tokio::test(flavor = "multi_thread")]
async fn p5_5_g7_1_an_ingress_leads_requests_in_with_its_certificate() {
    let mesh = TestMesh::on_kubernetes(&["weather"]).await;
    let authority = Authority::new("public").expect("an authority");
    let pair = authority.issue(&[HOST]).expect("a certificate");
    mesh.apply(&(tls_secret("istio-system", SECRET, &pair) + GATEWAY + &ingress("/weather")))
        .await;

    mesh.eventually("plain HTTP is led in", async || {
        let status = plain(&mesh, "/weather").await?;
        ensure!(status == 200, "{status}");
        Ok(())
    })
    .await;
    let client = TlsClient::trusting([&authority]);
    mesh.eventually("so is TLS", async || {
        let stream = mesh.mesh().connect(POD, 443).await?;
        let mut session = client.open(stream, HOST).await?;
        ensure!(session.shows(&pair), "another certificate");
        let answer = session.get(HOST, "/weather", &[]).await?;
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(())
    })
    .await;
    assert_eq!(plain(&mesh, "/elsewhere").await.expect("an answer"), 404);

    for (path, status) in [("/elsewhere", 404), ("/weather", 200)] {
        mesh.apply(&ingress(path)).await;
        mesh.eventually("the Ingress is followed", async || {
            let seen = plain(&mesh, "/weather").await?;
            ensure!(seen == status, "{seen}");
            Ok(())
        })
        .await;
    }

    kubectl(&mesh, &["-n", "weather", "delete", "ingress", "shop"]).await;
    mesh.eventually("nothing is led in", async || {
        let led = plain(&mesh, "/weather").await;
        ensure!(!matches!(led, Ok(200)));
        Ok(())
    })
    .await;
}
