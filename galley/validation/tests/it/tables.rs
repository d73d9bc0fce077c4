//! Every rule of part V behind a real API server: the same tables that the rules themselves are tested with.

use kube::api::{DynamicObject, PostParams};
use kube::{Api, Client, Error};
use mesh_config::{Kind, Scope};
use mesh_testing::validation::{Case, tables};
use serde_json::json;

use crate::webhooks::{refused, registered};

/// What the API server says of a trial of the object; nothing where it would take it.
async fn trial(client: &Client, kind: Kind, namespace: &str, case: &Case) -> Option<String> {
    let resource = mesh_kube::config::resource(kind);
    let api: Api<DynamicObject> = match kind.schema().scope {
        Scope::Namespace => Api::namespaced_with(client.clone(), namespace, &resource),
        Scope::Cluster => Api::all_with(client.clone(), &resource),
    };
    let object = serde_json::from_value(case.object(kind, namespace)).expect("an object");
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match api.create(&params, &object).await {
        Ok(_) => None,
        Err(Error::Api(status)) => Some(status.message),
        Err(error) => panic!("{error}"),
    }
}

/// Why the answer is not the one of the table.
fn difference(kind: Kind, namespace: &str, case: &Case, said: Option<&str>) -> Option<String> {
    let Some(said) = said else {
        return (!case.problems.is_empty()).then(|| "admitted".to_owned());
    };
    let name = if case.name.is_empty() { "a" } else { &case.name };
    let object = match kind.schema().scope {
        Scope::Namespace => format!("{kind} {namespace}/{name}"),
        Scope::Cluster => format!("{kind} {name}"),
    };
    let denied =
        format!("\"pilot.validation.istio.io\" denied the request: configuration is invalid: {object}: ");
    let listed = said.split_once(&denied).map(|(_, listed)| listed);
    let expected = match case.problems.as_slice() {
        [only] => only.clone(),
        problems => {
            let lines: Vec<String> = problems
                .iter()
                .map(|problem| format!("\n\t* {problem}"))
                .collect();
            format!("{} errors occurred:{}", lines.len(), lines.concat())
        }
    };
    (listed != Some(&expected)).then(|| format!("{said}\n  instead of {denied}{expected}"))
}

/// Every rule of part V, one request for each object: what is admitted, and the field and reason of what is not.
#[tokio::test]
async fn g8_4_every_rule_of_part_v_behind_the_api_server() {
    let server = registered().await;
    let client = server.client().await.expect("a client");
    let namespace = server.namespace("tables").await.expect("a namespace");
    let mut differences = Vec::new();
    let mut count = 0;
    for table in tables().iter() {
        for (rule, case) in table.cases() {
            count += 1;
            let said = trial(&client, table.kind, &namespace, case).await;
            if let Some(difference) = difference(table.kind, &namespace, case, said.as_deref()) {
                differences.push(format!(
                    "{} {}: {}\n  {difference}",
                    table.kind, rule.rule, case.spec
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {count}:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// What kubectl prints, for an object of each kind that breaks a rule.
#[tokio::test]
async fn g8_4_kubectl_names_field_and_reason_for_every_kind() {
    let server = registered().await;
    let namespace = server.namespace("shown").await.expect("a namespace");
    let mut objects = Vec::new();
    let mut expected = Vec::new();
    for table in tables() {
        let broken = table.cases().find(|(_, case)| !case.problems.is_empty());
        let (_, case) = broken.expect("every kind has a rule");
        objects.push(case.object(table.kind, &namespace));
        expected.push((table.kind, case));
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let said = refused(server, "apply --dry-run=server -f -", &list).await;
    for (kind, case) in expected {
        let from = format!("configuration is invalid: {kind} ");
        let (_, of_kind) = said
            .split_once(&from)
            .unwrap_or_else(|| panic!("nothing of {kind}: {said}"));
        let of_kind = of_kind
            .split("configuration is invalid: ")
            .next()
            .unwrap_or_default();
        for problem in &case.problems {
            assert!(
                of_kind.contains(problem),
                "{kind}: {problem:?} is not in {of_kind}"
            );
        }
    }
}
