use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_adapter::{Handle, Inferred, SomeAdapter as _};
use mixer_adapters::opa::Opa;
use mixer_attribute::Value;
use mixer_template::{Action, Authorization, Subject, Template};
use serde_json::{Value as Json, json};

use crate::support::{Running, answer, build};

/// Rego as it was written for Istio 1.1: no `if`, no `contains`, rules that are given by several bodies.
const POLICY: &str = r#"
package mixerauthz

policy = [
  {
    "rule": {
      "verbs": ["storage.buckets.get"],
      "users": ["bucket-admins"]
    }
  }
]

default allow = false

allow = true {
  rule = policy[_].rule
  input.subject.user = rule.users[_]
  input.action.method = rule.verbs[_]
}

allow = true {
  input.action.method == "GET"
  startswith(input.action.path, "/public/")
}

allow = true {
  input.subject.groups[_] == "staff"
  not input.subject.properties.suspended
}
"#;

const PERMISSION_DENIED: i32 = 7;

fn params(policy: &str, fail_close: bool) -> Json {
    json!({"policy": [policy], "checkMethod": "data.mixerauthz.allow", "failClose": fail_close})
}

async fn ask(opa: &Running, user: &str, groups: &str, method: &str, path: &str) -> i32 {
    let instance = Authorization {
        name: "authz.instance.weather",
        subject: Some(Subject {
            user: user.into(),
            groups: groups.into(),
            properties: vec![],
        }),
        action: Some(Action {
            method: method.into(),
            path: path.into(),
            ..Action::default()
        }),
    };
    decide(opa, &instance).await
}

async fn decide(opa: &Running, instance: &Authorization<'_>) -> i32 {
    let Some(Handle::Authorization(handle)) = opa.handler.handle(Template::Authorization) else {
        panic!("no authorizations");
    };
    let result = answer(handle.handle_authorization(instance)).await;
    if result.status.code != 0 {
        assert_eq!(result.status.message, "opa: request was rejected");
    }
    result.status.code
}

#[tokio::test]
async fn opa_complies() {
    let broken = "package mixerauthz\nallow = {";
    let expected = Compliance {
        accepts: vec![
            params(POLICY, false),
            // What is wrong with a policy that fails closed is told by refusing.
            params(broken, true),
            json!({"failClose": true}),
        ],
        rejects: vec![
            (Json::Null, "policy"),
            (Json::Null, "checkMethod"),
            (params(broken, false), "policy[0]"),
            (
                json!({"policy": [POLICY, broken], "checkMethod": "data.mixerauthz.allow"}),
                "policy[1]",
            ),
            (json!({"policy": [POLICY], "checkMethod": "allow"}), "checkMethod"),
            (
                json!({"policy": [POLICY], "checkMethod": "data.other.allow"}),
                "policy",
            ),
        ],
        ..Compliance::default()
    };
    assert_compliance(&Opa, &expected).await;
}

/// §7.11.
#[tokio::test]
async fn true_allows_and_false_denies() {
    let opa = build(&Opa, params(POLICY, false)).await;
    for (user, groups, method, path, code) in [
        ("bucket-admins", "", "storage.buckets.get", "/", 0),
        ("bucket-admins", "", "storage.buckets.put", "/", PERMISSION_DENIED),
        ("somebody", "", "storage.buckets.get", "/", PERMISSION_DENIED),
        ("", "", "GET", "/public/a", 0),
        ("", "", "GET", "/private/a", PERMISSION_DENIED),
        ("", "staff", "PUT", "/", 0),
        ("", "guests", "PUT", "/", PERMISSION_DENIED),
    ] {
        let given = ask(&opa, user, groups, method, path).await;
        assert_eq!(given, code, "{user} {groups} {method} {path}");
    }
}

#[tokio::test]
async fn properties_are_seen_with_their_types() {
    let policy = r#"
        package mixerauthz
        default allow = false
        allow { input.subject.properties.age >= 18; input.action.properties.port == 443 }
    "#;
    let opa = build(&Opa, params(policy, true)).await;
    for (age, code) in [(18, 0), (17, PERMISSION_DENIED)] {
        let instance = Authorization {
            name: "authz.instance.weather",
            subject: Some(Subject {
                properties: vec![("age", Value::Int64(age))],
                ..Subject::default()
            }),
            action: Some(Action {
                properties: vec![("port", Value::Int64(443))],
                ..Action::default()
            }),
        };
        assert_eq!(decide(&opa, &instance).await, code);
    }
}

/// A rule that says neither yes nor no, and a policy that does not compile.
#[tokio::test]
async fn fail_close_decides_where_the_policy_does_not() {
    let undefined = "package mixerauthz\nallow = true { input.action.method == \"GET\" }";
    let text = "package mixerauthz\nallow = \"yes\"";
    let conflict = "package mixerauthz\nallow = true { true }\nallow = false { true }";
    for policy in [undefined, text, conflict] {
        for (fail_close, code) in [(true, PERMISSION_DENIED), (false, 0)] {
            let opa = build(&Opa, params(policy, fail_close)).await;
            assert_eq!(ask(&opa, "", "", "PUT", "/").await, code, "{policy}");
        }
    }
    let opa = build(&Opa, params("package", true)).await;
    assert_eq!(ask(&opa, "", "", "PUT", "/").await, PERMISSION_DENIED);
    assert!(
        Opa.configure(&params("package", false), &Inferred::new())
            .is_err()
    );
}

/// Modules of one policy use each other, and the functions of the language are there.
#[tokio::test]
async fn modules_and_functions() {
    let users = "package users\nstaff = {\"alice\", \"bob\"}\nis_staff(user) { staff[user] }";
    let policy = r#"
        package mixerauthz
        default allow = false
        allow {
          data.users.is_staff(lower(input.subject.user))
          regex.match("^/v[0-9]+/", input.action.path)
          parts := split(trim(input.action.path, "/"), "/")
          count(parts) == 2
          glob.match("*.example.com", ["."], "a.example.com")
        }
    "#;
    let params = json!({"policy": [users, policy], "checkMethod": "data.mixerauthz.allow"});
    let opa = build(&Opa, params).await;
    for (user, path, code) in [
        ("Alice", "/v1/a", 0),
        ("mallory", "/v1/a", PERMISSION_DENIED),
        ("bob", "/a/v1", PERMISSION_DENIED),
        ("bob", "/v1/a/b", PERMISSION_DENIED),
    ] {
        assert_eq!(ask(&opa, user, "", "GET", path).await, code, "{user} {path}");
    }
}

/// Policies that are deep, that ask themselves, or that have more to do than there is time for: told or stopped.
#[tokio::test]
async fn hostile_policies_come_to_an_end() {
    let deep = format!(
        "package mixerauthz\nallow = {}true{}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let errors = Opa
        .configure(&params(&deep, false), &Inferred::new())
        .unwrap_err();
    assert_eq!(errors.0[0].field, "policy[0]");
    let many = format!(
        "package mixerauthz\nallow {{ true }}\n{}",
        "a { true }\n".repeat(1000)
    );
    let errors = Opa
        .configure(&params(&many, false), &Inferred::new())
        .unwrap_err();
    assert_eq!(errors.0[0].field, "policy");
    let endless = "package mixerauthz\nn := numbers.range(1, 3000)\n\
                   allow { a := n[_]; b := n[_]; c := n[_]; a + b + c == 0 }";
    let circle = "package mixerauthz\nallow { other }\nother { allow }";
    // Each rule calls the next one.
    let chain: String = (0..400)
        .map(|rule| format!("r{rule} {{ r{} }}\n", rule + 1))
        .collect();
    let chain = format!("package mixerauthz\nallow {{ r0 }}\n{chain}r400 {{ false }}\n");
    for policy in [endless, circle, &chain] {
        let opa = build(&Opa, params(policy, true)).await;
        assert_eq!(ask(&opa, "", "", "GET", "/").await, PERMISSION_DENIED, "{policy}");
    }
}

/// What a policy needs that is not there is told when it is configured, not when it decides.
#[test]
fn functions_that_are_not_there_are_refused() {
    for call in [
        "http.send({\"method\": \"get\", \"url\": \"http://a\"})",
        "io.jwt.verify_hs256(input.token, \"secret\")",
        "crypto.sha256(input.token)",
        "users.is_staff(1)",
        "no_such_function(1)",
    ] {
        let policy = format!("package mixerauthz\nallow {{ x := {call}; x == 1 }}");
        assert!(
            Opa.configure(&params(&policy, false), &Inferred::new()).is_err(),
            "{call}"
        );
    }
}
