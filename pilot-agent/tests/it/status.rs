//! The status server against a real Envoy and a real application.

use std::io::Write as _;

use crate::agent::{Agent, LONG, start_serving};
use crate::http::{get, read_head, send};
use crate::pod::Pod;

#[test]
fn agt_71_ready_when_a_listener_serves_an_application_port() {
    let pod = Pod::new();
    let agent = start_serving(&pod, "--statusPort 15020 --applicationPorts 80,81", &[]);
    agent.eventually("ready", LONG, || {
        get(&pod, 15020, "/healthz/ready").filter(|ready| ready.status == 200)
    });
}

#[test]
fn agt_71_not_ready_without_a_listener_for_the_application() {
    let pod = Pod::new();
    let agent = start_serving(&pod, "--statusPort 15020 --applicationPorts 81", &[]);
    let ready = agent.eventually("the ports are named", LONG, || {
        get(&pod, 15020, "/healthz/ready").filter(|ready| ready.body.contains("application port 81"))
    });
    assert_eq!(ready.status, 503);
}

#[test]
fn an_envoy_that_does_not_answer_is_not_ready() {
    let pod = Pod::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.json"), r#"{"admin": 7}"#).unwrap();
    let agent = Agent::launch_in(
        &pod,
        folder,
        "--customConfigFile DIR/bad.json --statusPort 15020",
        &[],
    );
    let ready = agent.eventually("the status server", LONG, || get(&pod, 15020, "/healthz/ready"));
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("admin interface"), "{}", ready.body);
}

#[test]
fn agt_74_probes_reach_the_application_with_their_headers() {
    let pod = Pod::new();
    let listener = pod.listen(8080);
    let application = std::thread::spawn(move || {
        let heads = listener.incoming().take(2).map(|stream| {
            let mut stream = stream.unwrap();
            let head = read_head(&mut stream).unwrap();
            let status = if head.starts_with("GET /live") {
                "204 No Content"
            } else {
                "418 Teapot"
            };
            stream
                .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes())
                .unwrap();
            head
        });
        heads.collect::<Vec<_>>()
    });
    let probers = r#"{"/app-health/web/livez":{"path":"/live","port":8080,"httpHeaders":[{"name":"Host","value":"web"},{"name":"x-probe","value":"1"}]},
        "/app-health/web/readyz":{"path":"ready","port":8080,"scheme":"HTTP"}}"#;
    let _agent = Agent::start(&pod, "--statusPort 15020", &[("ISTIO_KUBE_APP_PROBERS", probers)]);
    let probe = |path: &str| send(&pod, "GET", 15020, path, "user-agent: kube-probe/1.30\r\n").unwrap();
    let live = probe("/app-health/web/livez");
    assert_eq!((live.status, live.body.as_str()), (204, ""));
    assert_eq!(probe("/app-health/web/readyz").status, 418);
    let heads = application.join().unwrap();
    let live = heads[0].to_ascii_lowercase();
    for header in [
        "host: web\r\n",
        "x-probe: 1\r\n",
        "user-agent: kube-probe/1.30\r\n",
    ] {
        assert!(live.contains(header), "{live}");
    }
    assert!(heads[1].starts_with("GET /ready "));
    let gone = probe("/app-health/web/livez");
    assert_eq!(
        (gone.status, gone.body.as_str()),
        (500, ""),
        "the application has gone"
    );
    let unknown = probe("/app-health/other/livez");
    assert_eq!(
        (unknown.status, unknown.body.as_str()),
        (400, "app prober config does not exists\n")
    );
}
