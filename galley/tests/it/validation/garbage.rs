//! Requests that no API server sends.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::site::{Site, shared};

/// Sends bytes; status and body of the answer.
async fn send(site: &Site, head: &str, body: &[u8]) -> (u16, String) {
    announce(site, head, body.len(), body).await
}

/// Sends a head that speaks of a body of this length, and some bytes.
async fn announce(site: &Site, head: &str, length: usize, body: &[u8]) -> (u16, String) {
    let mut stream = site.connect(site.authority.certificate()).await.unwrap();
    let head = format!("{head}\r\nHost: galley\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // The answer may come before the end of the body, and the connection be closed with it.
    let _refused = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _cut = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn g8_3_garbage_is_answered_and_counted() {
    let site = Site::new(shared().await).await;
    let galley = site.serving().await;
    let admit = "POST /admitpilot HTTP/1.1\r\nContent-Type: application/json";
    let errors = galley.metric("galley_validation_http_error").await;

    assert_eq!(send(&site, admit, b"").await, (400, "no body found".to_owned()));
    assert_eq!(send(&site, "GET /admitmixer HTTP/1.1", b"").await.0, 400);
    for content_type in ["text/plain", "application/json; charset=utf-8"] {
        let head = format!("POST /admitpilot HTTP/1.1\r\nContent-Type: {content_type}");
        assert_eq!(send(&site, &head, b"{}").await.0, 415, "{content_type}");
    }
    assert_eq!(send(&site, "POST /admitpilot HTTP/1.1", b"{}").await.0, 415);
    for body in [
        &b"{"[..],
        b"\xff\x00",
        b"[]",
        br#"{"kind": "Pod", "apiVersion": "v1"}"#,
    ] {
        let (status, answer) = send(&site, admit, body).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer["response"]["allowed"]), (200, &json!(false)));
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(message.starts_with("could not decode the body: "), "{message}");
    }
    // What Kubernetes would never store is read to the end, what is longer than that is not.
    let (status, _) = send(&site, admit, &vec![b' '; 5 << 20]).await;
    assert_eq!(status, 200);
    let (status, _) = announce(&site, admit, 9 << 20, b"{").await;
    assert_eq!(status, 413);
    assert_eq!(send(&site, "POST /nowhere HTTP/1.1", b"{}").await.0, 404);
    assert_eq!(send(&site, "POST /admitprobe HTTP/1.1", b"{}").await.0, 400);
    assert_eq!(send(&site, "GET /ready HTTP/1.1", b"").await.0, 200);
    // Not even TLS.
    let mut plain = tokio::net::TcpStream::connect(("127.0.0.1", site.port))
        .await
        .unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let _refused = plain.read_to_end(&mut Vec::new()).await;

    assert_eq!(galley.metric("galley_validation_http_error").await - errors, 11.0);
    site.refused_eventually().await;
}
