use super::*;
use crate::sample::testing::{TestServer, identity};
use std::time::Instant;

async fn server() -> TestServer {
    let args = HttpbinArgs {
        port: 80,
        gunicorn: Vec::new(),
    };
    TestServer::start(args.router(&identity("httpbin", "v1"))).await
}

#[tokio::test]
async fn anything_answers_in_the_shape_of_seed_000() {
    let server = server().await;
    let answer = server
        .send(
            "GET",
            "/anything/a/b?x=1&y=2&x=%33",
            &[("user-agent", "curl/7.65.3")],
            "",
        )
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.text().ends_with("}\n"));
    let host = server.authority();
    assert_eq!(
        answer.json::<Value>(),
        json!({
            "args": {"x": ["1", "3"], "y": "2"},
            "data": "",
            "files": {},
            "form": {},
            "headers": {"Host": host, "User-Agent": "curl/7.65.3"},
            "json": null,
            "method": "GET",
            "origin": "127.0.0.1",
            "url": format!("http://{host}/anything/a/b?x=1&y=2&x=%33"),
        })
    );
}

#[tokio::test]
async fn bodies_are_data_json_form_or_files() {
    let server = server().await;
    let cases: [(&str, &[u8], Value); 5] = [
        (
            "application/json",
            br#"{"a": [1]}"#,
            json!({"data": r#"{"a": [1]}"#, "json": {"a": [1]}, "form": {}, "files": {}}),
        ),
        (
            "text/plain",
            b"hello",
            json!({"data": "hello", "json": null, "form": {}, "files": {}}),
        ),
        (
            "application/octet-stream",
            b"\xff\x00",
            json!({
                "data": "data:application/octet-stream;base64,/wA=", "json": null, "form": {}, "files": {},
            }),
        ),
        (
            "application/x-www-form-urlencoded",
            b"a=1&b=x+y",
            json!({
                "data": "", "json": null, "form": {"a": "1", "b": "x y"}, "files": {},
            }),
        ),
        (
            "multipart/form-data; boundary=B",
            b"--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\n\r\ntext\r\n--B--\r\n",
            json!({"data": "", "json": null, "form": {}, "files": {"f": "text"}}),
        ),
    ];
    for (content_type, body, want) in cases {
        let answer = server
            .send("POST", "/post", &[("content-type", content_type)], body)
            .await;
        let mut got = answer.json::<Map<String, Value>>();
        got.retain(|field, _| ["data", "json", "form", "files"].contains(&field.as_str()));
        assert_eq!(Value::Object(got), want, "{content_type}");
    }
}

#[tokio::test]
async fn proxies_are_taken_at_their_word() {
    let server = server().await;
    let headers = [
        ("x-forwarded-for", "10.0.0.9,10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "abc"),
    ];
    let seen: Value = server.send("GET", "/get", &headers, "").await.json();
    assert_eq!(seen["origin"], "10.0.0.9,10.0.0.1");
    assert_eq!(seen["url"], format!("https://{}/get", server.authority()));
    assert_eq!(seen["headers"]["X-Request-Id"], "abc");
    assert_eq!(seen["headers"]["X-Forwarded-For"], Value::Null);
    let seen: Value = server.send("GET", "/get?show_env=1", &headers, "").await.json();
    assert_eq!(seen["headers"]["X-Forwarded-Proto"], "https");
    assert_eq!(seen["args"], json!({}));
}

#[tokio::test]
async fn small_endpoints_answer() {
    let server = server().await;
    let agent = [("user-agent", "test")];
    assert_eq!(
        server
            .send("GET", "/user-agent", &agent, "")
            .await
            .json::<Value>(),
        json!({"user-agent": "test"})
    );
    assert_eq!(
        server.get("/ip").await.json::<Value>(),
        json!({"origin": "127.0.0.1"})
    );
    let cookies = server
        .send("GET", "/cookies", &[("cookie", "a=1; user=tester")], "")
        .await;
    assert_eq!(
        cookies.json::<Value>(),
        json!({"cookies": {"a": "1", "user": "tester"}})
    );
    let headers: Value = server
        .send("GET", "/headers", &[("x-b3-traceid", "1")], "")
        .await
        .json();
    assert_eq!(headers["headers"]["X-B3-Traceid"], "1");
    assert!(server.get("/html").await.text().contains("<h1>"));
    assert!(server.get("/json").await.json::<Value>()["slideshow"]["slides"].is_array());
    assert_eq!(server.get("/post").await.status, 405);
    assert_eq!(server.get("/nothing").await.status, 404);

    let (first, second) = (server.get("/uuid").await, server.get("/uuid").await);
    let uuid = first.json::<Value>()["uuid"].as_str().unwrap().to_owned();
    assert_eq!(
        uuid.split('-').map(str::len).collect::<Vec<_>>(),
        [8, 4, 4, 4, 12]
    );
    assert_eq!(&uuid[14..15], "4");
    assert_ne!(first.body, second.body);
}

#[tokio::test]
async fn status_answers_with_the_wanted_status() {
    let server = server().await;
    for status in [200, 204, 404, 429, 503] {
        assert_eq!(server.get(&format!("/status/{status}")).await.status, status);
    }
    let teapot = server.get("/status/418").await;
    assert_eq!(teapot.status, 418);
    assert!(teapot.text().contains("-=[ teapot ]=-"));
    assert_eq!(server.get("/status/302").await.header("location"), "/redirect/1");
    assert_eq!(server.get("/redirect/2").await.header("location"), "/redirect/1");
    assert_eq!(server.get("/redirect/1").await.header("location"), "/get");
    assert_eq!(server.get("/status/99").await.status, 400);
}

#[tokio::test]
async fn delay_waits_and_then_describes_the_request() {
    let server = server().await;
    let started = Instant::now();
    let seen: Map<String, Value> = server.get("/delay/0.1").await.json();
    assert!(started.elapsed() >= Duration::from_millis(100));
    assert_eq!(seen.keys().collect::<Vec<_>>(), inspect::DELAYED);
    assert_eq!(server.get("/delay/-1").await.status, 200);
    assert_eq!(server.get("/delay/soon").await.status, 400);
}

#[tokio::test]
async fn content_of_a_wanted_length() {
    let server = server().await;
    assert_eq!(server.get("/bytes/1000").await.body.len(), 1000);
    assert_eq!(server.get("/bytes/9999999").await.body.len(), MAX_BYTES);
    assert_eq!(
        server.get("/bytes/9?seed=1").await.body,
        server.get("/bytes/9?seed=1").await.body
    );
    assert_ne!(
        server.get("/bytes/9").await.body,
        server.get("/bytes/9").await.body
    );

    let lines = server.get("/stream/3").await;
    let ids: Vec<_> = lines
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, [0, 1, 2]);
}

#[tokio::test]
async fn response_headers_are_those_of_the_query() {
    let server = server().await;
    let answer = server
        .get("/response-headers?x-one=1&x-two=a%20b&content-length=9&bad%20name=1")
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!((answer.header("x-one"), answer.header("x-two")), ("1", "a b"));
    assert_eq!(answer.json::<Value>()["x-one"], "1");
}

#[test]
fn the_port_of_gunicorn_is_understood() {
    for (words, port) in [
        (vec![], 80),
        (vec!["-b", "0.0.0.0:8080", "httpbin:app", "-k", "gevent"], 8080),
        (vec!["--access-logfile", "-", "--bind=[::]:81", "httpbin:app"], 81),
        (vec!["httpbin:app"], 80),
    ] {
        let args = HttpbinArgs {
            port: 80,
            gunicorn: words.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(args.listen_port(), port, "{words:?}");
    }
}
