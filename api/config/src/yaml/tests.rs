use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(text: &str) -> Vec<String> {
    documents("f.yaml", text)
        .into_iter()
        .map(|document| match document {
            Ok(document) => {
                format!(
                    "{} #{} {}",
                    document.location, document.location.document, document.value
                )
            }
            Err(error) => error.to_string(),
        })
        .collect()
}

#[test]
fn documents_are_numbered_and_start_at_their_first_line_of_content() {
    let text = "# comment\n---\n\na: 1\n---\n# nothing\n---\r\nb: 2\r\n--- {c: 3}\n...\n%YAML 1.2\n---\nd: |\n  ---x\n  y\n";
    assert_eq!(
        read(text),
        [
            r#"f.yaml:4 #1 {"a":1}"#,
            r#"f.yaml:8 #2 {"b":2}"#,
            r#"f.yaml:9 #3 {"c":3}"#,
            r#"f.yaml:13 #4 {"d":"---x\ny\n"}"#
        ]
    );
    assert_eq!(read("\u{feff}a: 1"), [r#"f.yaml:1 #1 {"a":1}"#]);
    for nothing in ["", "\n", "---\n---\n", "# x", "~", "null\n"] {
        assert_eq!(read(nothing), [""; 0], "{nothing:?}");
    }
}

#[test]
fn a_broken_document_does_not_hide_its_neighbours() {
    let text = "a: 1\n---\nb: [1\nc: 'open\n---\nd: 4\n";
    let read = read(text);
    assert_eq!(read.len(), 3);
    assert_eq!(read[0], r#"f.yaml:1 #1 {"a":1}"#);
    assert!(read[1].starts_with("f.yaml:"), "{}", read[1]);
    assert_eq!(read[2], r#"f.yaml:6 #3 {"d":4}"#);
}

#[test]
fn scalars_are_read_as_kubernetes_reads_them() {
    let read = documents(
        "f",
        "[yes, No, 0644, 1_000, '1', ~, 1.5, 2024-01-01T00:00:00Z, 18446744073709551615]",
    );
    let value = &read[0].as_ref().unwrap().value;
    let time = "2024-01-01T00:00:00Z";
    assert_eq!(
        *value,
        json!([
            true,
            false,
            420,
            1000,
            "1",
            null,
            1.5,
            time,
            18_446_744_073_709_551_615_u64
        ])
    );
}

#[test]
fn json_is_yaml() {
    let text = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Service\"\n}\n";
    assert_eq!(
        read(text),
        [r#"f.yaml:1 #1 {"apiVersion":"v1","kind":"Service"}"#]
    );
}

#[test]
fn lists_are_read_item_by_item() {
    let text = "\
# generated
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
- {apiVersion: v1, kind: List, items: [{kind: Pod}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: GatewayList
items:
  - metadata: {name: a}
---
{kind: List, items: 3}
---
{kind: List}
---
{kind: AllowList}
";
    assert_eq!(
        read(text),
        [
            r#"f.yaml:5 #1 {"apiVersion":"v1","kind":"Service"}"#,
            r#"f.yaml:7 #1 {"kind":"Pod"}"#,
            r#"f.yaml:12 #2 {"apiVersion":"networking.istio.io/v1alpha3","kind":"Gateway","metadata":{"name":"a"}}"#,
            "f.yaml:14: items: expected a list",
            r#"f.yaml:18 #5 {"kind":"AllowList"}"#,
        ]
    );
}

#[test]
fn what_does_not_parse_is_named_with_its_line() {
    for (text, expected) in [
        ("a: 1\na: 2\n", "f.yaml:2: duplicate field `a`"),
        ("a: &a [*a]", "f.yaml:1: an anchor contains an alias of itself"),
        (
            "x: 1\na: &a {b: *a}\n",
            "f.yaml:2: an anchor contains an alias of itself",
        ),
        ("a: *x", "f.yaml:1: an alias names an anchor that does not exist"),
        ("a: 1\nb: [1\n", "f.yaml:2: unclosed bracket '['"),
        (
            "---\n\na: b: c\n",
            "f.yaml:3: mapping values are not allowed in this context",
        ),
        ("a: .inf", "f.yaml:1: .inf is not a finite number"),
        ("~: 1", "f.yaml:1: a field name is null"),
    ] {
        assert_eq!(read(text), [expected], "{text}");
    }
}

#[test]
fn fields_are_located_for_errors_that_are_found_later() {
    let text = "\
# first
kind: X
metadata:
  name: a
spec:
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    route:
    - destination: {host: a}
      weight: 1
---
kind: List
items:
- kind: Y
  spec:
    hosts:
    - a
    - b
";
    let documents: Vec<_> = documents("f.yaml", text)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    for (document, field, line) in [
        (0, "metadata.name", 4),
        (0, "spec.http", 6),
        (0, "http[0].route[0].weight", 13),
        (0, "http[0].match[0].headers[end-user].exact", 10),
        (0, "http[0].redirect", 7),
        (0, "nothing", 5),
        (0, "", 5),
        (1, "hosts[1]", 21),
        (1, "kind", 17),
    ] {
        assert_eq!(documents[document].locate(field).line, line, "{field}");
    }
    let made = Document::new(documents[0].location.clone(), json!({"spec": {}}));
    assert_eq!(made.locate("spec.x"), documents[0].location);
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let text = "a: x\n".repeat(2 * 1024 * 1024);
    assert_eq!(
        read(&text),
        ["f.yaml:1: the file has 10485760 bytes, more than the 8388608 that are read"]
    );
}

#[test]
fn bombs_cost_little_and_hide_nothing() {
    let mut aliases = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        aliases.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(",")));
    }
    let wide = format!(
        "a: &a \"{}\"\nb: [{}]\n",
        "x".repeat(1 << 20),
        vec!["*a"; 90].join(",")
    );
    let flow = "[".repeat(100_000);
    let block = "- ".repeat(100_000);
    let maps = "{a: ".repeat(10_000);
    for bomb in [aliases, wide, flow, block, maps] {
        let read = read(&format!("a: 1\n---\n{bomb}\n---\nb: 2\n"));
        assert_eq!(read.len(), 3, "{}", &bomb[..20]);
        assert!(read[1].starts_with("f.yaml:"), "{}", read[1]);
    }
}

#[test]
fn many_documents_share_one_budget() {
    let document = format!("a: &a [{}]\nb: [{}]\n", ["x"; 10].join(","), ["*a"; 9].join(","));
    let documents = documents_within("f", &vec![document; 60].join("---\n"), 1000);
    assert!(documents.first().is_some_and(Result::is_ok));
    assert!(documents.last().is_some_and(Result::is_err));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_text_never_panics(text in "[\\PC\n\t\r]{0,200}") {
        documents("f", &text);
    }

    #[test]
    fn text_made_of_yaml_never_panics(
        tokens in proptest::collection::vec(
            prop_oneof![
                Just("---"), Just("..."), Just("\n"), Just("\n  "), Just(": "), Just("- "), Just("&a "), Just("*a "),
                Just("{"), Just("}"), Just("["), Just("]"), Just(", "), Just("'"), Just("\""), Just("|"), Just(">"),
                Just("kind"), Just("List"), Just("items"), Just("<<"), Just("!!binary "), Just("? "), Just("#"),
                Just("%"), Just("0x1"), Just("\u{feff}"), Just("é"), Just("\t"), Just("\r"),
            ],
            0..40,
        )
    ) {
        for document in documents("f", &tokens.concat()).into_iter().flatten() {
            document.locate("items[0].kind");
        }
    }
}
