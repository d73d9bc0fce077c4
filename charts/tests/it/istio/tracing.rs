//! Who takes the spans.

use serde_json::{Value, json};

use super::{Release, set};

/// TEL-13: whoever takes the spans, proxies find it at `zipkin:9411` and users at `tracing:80`; an upgrade changes who it is.
#[tokio::test]
async fn m60_spans_go_to_jaeger_or_to_zipkin() {
    let release = Release::install("tracing", &["tracing.enabled=true"]).await;
    let container = async || -> Value {
        let deployment = release.get("deployment istio-tracing").await;
        deployment["spec"]["template"]["spec"]["containers"][0].clone()
    };
    // What `zipkin` and `tracing` lead to.
    let targets = async || -> Value {
        let (zipkin, tracing) = (
            release.get("service zipkin").await,
            release.get("service tracing").await,
        );
        let target = |service: &Value| {
            let port = &service["spec"]["ports"][0];
            json!([port["port"], port["targetPort"]])
        };
        json!([target(&zipkin), target(&tracing)])
    };
    let jaeger = container().await;
    assert_eq!(jaeger["image"], "docker.io/jaegertracing/all-in-one:1.62.0");
    assert_eq!(environment(&jaeger, "COLLECTOR_ZIPKIN_HOST_PORT"), ":9411");
    assert_eq!(environment(&jaeger, "MEMORY_MAX_TRACES"), "50000");
    assert_eq!(targets().await, json!([[9411, "zipkin"], [80, "query"]]));

    release.upgrade(&["tracing.provider=zipkin"]).await;
    let zipkin = container().await;
    assert_eq!(zipkin["image"], "docker.io/openzipkin/zipkin:3.4.4");
    assert_eq!(environment(&zipkin, "QUERY_PORT"), "9411");
    assert_eq!(environment(&zipkin, "MEM_MAX_SPANS"), "500000");
    assert_eq!(targets().await, json!([[9411, "zipkin"], [80, "zipkin"]]));
    let services = release.objects().await.into_iter();
    let services: Vec<_> = services.filter(|name| name.starts_with("service/")).collect();
    let expected = set(["service/prometheus", "service/tracing", "service/zipkin"]);
    assert_eq!(set(services.iter().map(String::as_str)), expected);

    let refused = release.helm("upgrade", &["tracing.provider=skywalking"]).await;
    let said = refused.expect_err("nobody knows it");
    assert!(
        said.contains("tracing.provider is \"skywalking\": it is jaeger or zipkin"),
        "{said}"
    );
    release.upgrade(&["tracing.provider=jaeger"]).await;
    assert_eq!(container().await, jaeger);
    release.uninstall().await;
}

fn environment<'a>(container: &'a Value, name: &str) -> &'a str {
    let mut variables = container["env"].as_array().expect("an environment").iter();
    let variable = variables.find(|variable| variable["name"] == name).expect(name);
    variable["value"].as_str().expect("a value")
}
