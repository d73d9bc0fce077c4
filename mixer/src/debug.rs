//! Pages that show what is in force.
//!
//! | route | answer, as JSON |
//! |---|---|
//! | `GET /debug/configz` | the configuration: id, generation, how many of each, handlers at work |
//! | `GET /debug/errors` | what is left out: object, field, reason |
//! | `GET /debug/routez` | the routing table: namespace, variety, destination, condition, instances |
//! | `GET /debug/source` | how the store of configuration fares |

use std::sync::{Arc, Weak};

use axum::Router;
use axum::extract::State;
use axum::response::Json;
use axum::routing::get;
use mixer_runtime::routing::{Route, Routes, Table};
use mixer_runtime::{Engine, Report};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::store::{StoreHandle, StoreStatus};

#[derive(Clone)]
struct Pages {
    reports: watch::Receiver<Arc<Report>>,
    /// The pages outlive the service, whose end closes handlers.
    engine: Weak<Engine>,
    store: StoreHandle,
}

/// The pages.
pub(crate) fn router(
    reports: watch::Receiver<Arc<Report>>,
    engine: &Arc<Engine>,
    store: StoreHandle,
) -> Router {
    Router::new()
        .route("/debug/configz", get(configz))
        .route("/debug/errors", get(errors))
        .route("/debug/routez", get(routez))
        .route("/debug/source", get(source))
        .with_state(Pages {
            reports,
            engine: Arc::downgrade(engine),
            store,
        })
}

async fn configz(State(pages): State<Pages>) -> Json<Value> {
    let report = Arc::clone(&pages.reports.borrow());
    let handlers = report
        .handlers
        .iter()
        .map(|(name, adapter, config_id)| json!({ "name": name, "adapter": adapter, "configId": config_id }));
    let snapshot = &report.snapshot;
    Json(json!({
        "id": snapshot.id,
        "generation": format!("{:016x}", report.generation),
        "attributes": snapshot.vocabulary.len(),
        "handlers": snapshot.handlers.len(),
        "instances": snapshot.instances.len(),
        "rules": snapshot.rules.iter().map(|rule| rule.key.to_string()).collect::<Vec<_>>(),
        "problems": report.problems.len(),
        "running": handlers.collect::<Vec<_>>(),
    }))
}

async fn errors(State(pages): State<Pages>) -> Json<Value> {
    let report = Arc::clone(&pages.reports.borrow());
    let errors = report.problems.iter().map(|problem| {
        json!({
            "location": problem.location.as_ref().map(ToString::to_string),
            "object": problem.object,
            "field": problem.field,
            "reason": problem.reason,
        })
    });
    Json(json!({ "errors": errors.collect::<Vec<_>>() }))
}

async fn routez(State(pages): State<Pages>) -> Json<Value> {
    let Some(engine) = pages.engine.upgrade() else {
        return Json(Value::Null);
    };
    let table = engine.table();
    let mut namespaces = Map::new();
    namespaces.insert("*".to_owned(), routes(&table, &table.everywhere));
    for (namespace, of_namespace) in &table.namespaces {
        namespaces.insert(namespace.to_string(), routes(&table, of_namespace));
    }
    Json(json!({ "id": table.id, "namespaces": namespaces }))
}

fn routes(table: &Table, routes: &Routes) -> Value {
    let list = |routes: &[Arc<Route>]| routes.iter().map(|one| route(table, one)).collect::<Vec<_>>();
    let headers = routes.headers.iter().map(|header| {
        json!({
            "rule": header.rule.to_string(),
            "match": condition(table, header.condition),
            "headers": header.operations.iter().map(|operation| &operation.name).collect::<Vec<_>>(),
        })
    });
    json!({
        "generators": list(&routes.generators),
        "checks": list(&routes.checks),
        "quotas": list(&routes.quotas),
        "reports": list(&routes.reports),
        "headers": headers.collect::<Vec<_>>(),
    })
}

fn route(table: &Table, route: &Route) -> Value {
    let destination = table.destinations.get(route.destination);
    let groups = route.groups.iter().map(|group| {
        let instances = group
            .instances
            .iter()
            .map(|instance| json!({ "name": instance.name.as_str(), "rule": instance.rule.to_string() }));
        json!({
            "match": condition(table, group.condition),
            "instances": instances.collect::<Vec<_>>(),
        })
    });
    json!({
        "handler": destination.map(|destination| destination.handler.name().to_string()),
        "template": destination.map(|destination| destination.template.name()),
        "groups": groups.collect::<Vec<_>>(),
    })
}

fn condition(table: &Table, number: Option<usize>) -> &str {
    number
        .and_then(|number| table.conditions.get(number))
        .map_or("true", |condition| &condition.text)
}

async fn source(State(pages): State<Pages>) -> Json<StoreStatus> {
    Json(pages.store.status())
}
