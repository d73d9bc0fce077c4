//! Every kind of bad input: named with its place in the log, on the debug page and by a counter, while everything
//! else is served.

use mesh_config::Kind;

use crate::harness::{ConfigDir, Galley, TestSink, gateway, within};

/// What is written and what must be said about it.
struct Case {
    /// The file `bad.yaml`.
    text: String,
    /// `line` of the error.
    line: usize,
    /// The object, as far as it can be told.
    object: &'static str,
    field: &'static str,
    /// A part of the reason.
    reason: &'static str,
    /// The label of the counter.
    kind: &'static str,
    /// Good objects in the bad file.
    also_served: &'static [&'static str],
}

/// Starts with good objects, adds the bad file, and checks everything that is promised.
async fn reported(case: Case) {
    let config = ConfigDir::new();
    config.write("good.yaml", gateway("good", 80));
    let mut galley = Galley::start(config.path());
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway, Kind::Service]);
    sink.expect(Kind::Gateway, &["weather/good"]).await;

    let path = config.replace("bad.yaml", &case.text);
    let location = format!("{}:{}", path.display(), case.line);
    let line = galley
        .log_line("not served", |line| line["msg"] == "not served")
        .await;
    assert_eq!(line["level"], "warn");
    assert_eq!(line["location"], location, "{line}");
    assert_eq!(line["object"], case.object, "{line}");
    assert_eq!(line["field"], case.field, "{line}");
    assert!(
        line["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains(case.reason)),
        "{line}"
    );

    // The log comes first.
    let errors = within("the error on the debug page", async || {
        let errors = galley.errors().await;
        (!errors.is_empty()).then_some(errors)
    })
    .await;
    assert_eq!(errors.len(), 1, "{errors:?}");
    for field in ["location", "object", "field", "reason"] {
        assert_eq!(errors[0][field], line[field]);
    }
    assert!(
        errors[0]["since"]
            .as_str()
            .is_some_and(|since| since.ends_with('Z')),
        "{errors:?}"
    );
    let counter = format!("galley_source_rejected_objects_total{{kind=\"{}\"}}", case.kind);
    assert_eq!(galley.metric(&counter).await, 1.0, "{counter}");
    let gauge = format!("galley_source_invalid_objects{{kind=\"{}\"}}", case.kind);
    assert_eq!(galley.metric(&gauge).await, 1.0, "{gauge}");

    // Everything else is served and can be changed.
    config.write("good.yaml", gateway("good", 80) + &gateway("zz-new", 81));
    let mut expected: Vec<_> = case.also_served.to_vec();
    expected.extend(["weather/good", "weather/zz-new"]);
    expected.sort_unstable();
    sink.expect(Kind::Gateway, &expected).await;

    // Once it is repaired there is nothing left to say.
    config.write("bad.yaml", gateway("repaired", 82));
    sink.expect(
        Kind::Gateway,
        &["weather/good", "weather/repaired", "weather/zz-new"],
    )
    .await;
    assert_eq!(galley.errors().await, [""; 0]);
    assert_eq!(galley.metric(&gauge).await, 0.0);
    assert_eq!(galley.metric(&counter).await, 1.0);

    assert!(galley.is_running());
    assert_eq!(
        galley.log_lines(|line| line["level"] == "error" || line["msg"] == "not served"),
        1
    );
    assert_eq!(sink.handle.status().streams, 1, "the stream never broke");
}

#[tokio::test]
async fn yaml_that_does_not_parse() {
    reported(Case {
        text: gateway("neighbour", 1) + "kind: Gateway\nmetadata:\n  name: [unclosed\n",
        line: 13,
        object: "",
        field: "",
        reason: "",
        kind: "unknown",
        also_served: &["weather/neighbour"],
    })
    .await;
}

#[tokio::test]
async fn a_kind_that_does_not_exist() {
    reported(Case {
        text: gateway("x", 1).replace("kind: Gateway", "kind: Gatewy") + &gateway("neighbour", 1),
        line: 2,
        object: "Gatewy weather/x",
        field: "kind",
        reason: "unknown kind",
        kind: "unknown",
        also_served: &["weather/neighbour"],
    })
    .await;
}

#[tokio::test]
async fn a_field_that_does_not_exist() {
    reported(Case {
        text: gateway("neighbour", 1) + &gateway("x", 1).replace("number:", "nmber:"),
        line: 19,
        object: "Gateway weather/x",
        field: "servers[0].port.nmber",
        reason: "unknown field",
        kind: "Gateway",
        also_served: &["weather/neighbour"],
    })
    .await;
}

#[tokio::test]
async fn a_value_of_the_wrong_type() {
    reported(Case {
        text: gateway("x", 1).replace("number: 1,", "number: eighty,") + &gateway("neighbour", 1),
        line: 9,
        object: "Gateway weather/x",
        field: "servers[0].port.number",
        reason: "eighty",
        kind: "Gateway",
        also_served: &["weather/neighbour"],
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_is_broken() {
    reported(Case {
        text: gateway("x", 1).replace("['*']", "[]") + &gateway("neighbour", 1),
        line: 8,
        object: "Gateway weather/x",
        field: "servers[0].hosts",
        reason: "host",
        kind: "Gateway",
        also_served: &["weather/neighbour"],
    })
    .await;
}

#[tokio::test]
async fn an_object_that_is_defined_twice() {
    reported(Case {
        text: gateway("x", 1) + &gateway("x", 2) + &gateway("neighbour", 1),
        line: 11,
        object: "Gateway weather/x",
        field: "metadata.name",
        reason: "bad.yaml:1 already",
        kind: "Gateway",
        also_served: &["weather/neighbour", "weather/x"],
    })
    .await;
}

#[tokio::test]
async fn a_file_of_ten_megabytes() {
    reported(Case {
        text: gateway("x", 1) + &"# filled up to be too long\n".repeat(400_000),
        line: 1,
        object: "",
        field: "",
        reason: "longer than the 8388608 bytes that are read",
        kind: "unknown",
        also_served: &[],
    })
    .await;
}

#[tokio::test]
async fn anchors_that_refer_to_themselves() {
    reported(Case {
        text: gateway("neighbour", 1)
            + "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: &a\n  selector: *a\n",
        line: 15,
        object: "",
        field: "",
        reason: "",
        kind: "unknown",
        also_served: &["weather/neighbour"],
    })
    .await;
}

#[tokio::test]
async fn aliases_that_multiply_beyond_measure() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    let text = gateway("neighbour", 1) + &bomb;
    let config = ConfigDir::new();
    config.write("bad.yaml", text);
    let galley = Galley::start(config.path());
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway]);
    sink.expect(Kind::Gateway, &["weather/neighbour"]).await;
    let errors = galley.errors().await;
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("too large")),
        "{errors:?}"
    );
}

#[tokio::test]
async fn collections_nested_without_end() {
    let config = ConfigDir::new();
    config.write("bad.yaml", gateway("neighbour", 1) + &"[".repeat(1_000_000));
    config.write("worse.json", "{\"a\":".repeat(1_000_000));
    let galley = Galley::start(config.path());
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway]);
    sink.expect(Kind::Gateway, &["weather/neighbour"]).await;
    assert_eq!(galley.errors().await.len(), 2);
}

#[tokio::test]
async fn bytes_that_are_no_text() {
    let config = ConfigDir::new();
    config.write("good.yaml", gateway("good", 1));
    config.write("bad.yaml", (0..=255).cycle().take(100_000).collect::<Vec<u8>>());
    let galley = Galley::start(config.path());
    let mut sink = TestSink::start(galley.mcp, &[Kind::Gateway]);
    sink.expect(Kind::Gateway, &["weather/good"]).await;
    let errors = galley.errors().await;
    assert!(
        errors[0]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("not UTF-8")),
        "{errors:?}"
    );
}
