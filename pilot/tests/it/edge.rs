//! What gateways do with clients and requests that no rule is about, on every supported Envoy.

use mesh_testing::{envoys, eventually, ports};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::PATIENCE;
use crate::proxy::{Answer, Node, Proxy};
use crate::server::Server;
use crate::upstream::mesh;

/// Waits until a port of the gateway answers some text with a status.
async fn answered(proxy: &Proxy, port: u16, text: &str, status: u16) -> Answer {
    let answer = eventually(PATIENCE, async || match proxy.send(port, text).await {
        Ok(answer) if answer.status == status => Ok(answer),
        other => Err(format!("{other:?}")),
    });
    answer
        .await
        .unwrap_or_else(|error| panic!("{text:?} is not answered {status}: {error}"))
}

/// What a server behind a TCP port says; it hangs up when its client has nothing more to ask.
async fn bytes(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(get("anybody").as_bytes()).await?;
    stream.shutdown().await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn section_7_1_what_no_rule_takes_goes_to_the_default_endpoint() {
    for envoy in envoys() {
        let server = Server::plain("beside").await;
        let (http, tcp) = (ports::unused().unwrap(), ports::unused().unwrap());
        let endpoint = format!("defaultEndpoint: '127.0.0.1:{}'", server.port);
        let objects = [
            format!(
                "{{apiVersion: networking.istio.io/v1alpha3, kind: Gateway, metadata: {{name: default, namespace: weather}},
                   spec: {{selector: {{app: edge}}, servers: [
                     {{port: {{number: {http}, name: http, protocol: HTTP}}, hosts: [weather.com], {endpoint}}},
                     {{port: {{number: {tcp}, name: tcp, protocol: TCP}}, hosts: ['*'], {endpoint}}}]}}}}"
            ),
            "{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {name: weather, namespace: weather},
               spec: {hosts: [weather.com], gateways: [default],
                      http: [{match: [{uri: {prefix: /there}}], redirect: {uri: /here}}]}}"
                .to_owned(),
        ];
        let (_galley, _pilot, proxy) = mesh(&envoy, &objects, "", &[], &Node::default()).await;
        let answer = answered(&proxy, http, &get("weather.com"), 200).await;
        assert_eq!(answer.field("server"), json!("beside"));
        let ruled = get("weather.com").replace("GET /", "GET /there");
        answered(&proxy, http, &ruled, 301).await;
        answered(&proxy, http, &get("news.com"), 404).await;

        let text = eventually(PATIENCE, async || {
            bytes(tcp).await.map_err(|error| error.to_string())
        });
        let text = text.await.expect("the gateway forwards bytes");
        assert!(text.contains("beside"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_5_clients_of_http_1_0_are_served_where_the_proxy_or_pilot_says_so() {
    let request = "GET / HTTP/1.0\r\nhost: weather.com\r\n\r\n";
    for envoy in envoys() {
        for (value, flags, status) in [
            ("1", &[][..], 404),
            ("", &[][..], 426),
            ("", &["--http10=true"][..], 404),
        ] {
            let node = Node {
                metadata: vec![("HTTP10", value.to_owned())],
                ..Node::default()
            };
            let (_galley, _pilot, proxy) = mesh(&envoy, &[], "", flags, &node).await;
            answered(&proxy, proxy.port(), request, status).await;
        }
    }
}
