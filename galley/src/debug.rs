//! Pages that show what is served, what is not, and to whom.
//!
//! | route | answer, as JSON |
//! |---|---|
//! | `GET /debug/configz` | what is served: collections with version and objects; `?collection=NAME` for one of them with the content of its objects |
//! | `GET /debug/errors` | what is not served: place, object, field, reason, since when |
//! | `GET /debug/source` | where objects come from: the path, or how each kind is followed at the API server |
//! | `GET /debug/mcp` | the sinks: for each collection what was sent, answered and refused |

use std::path::PathBuf;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::get;
use galley_processing::kube::WatchRow;
use galley_processing::{KubeSourceHandle, ProblemRow, ProcessorHandle, Served, ServedCollection, mesh};
use mesh_config::{Kind, decode};
use mesh_mcp::Source;
use mesh_mcp::source::ConnectionStatus;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where configuration comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Files beneath a path.
    Files(PathBuf),
    /// An API server.
    Kubernetes(KubeSourceHandle),
}

#[derive(Clone, Debug)]
struct Pages {
    processing: ProcessorHandle,
    origin: Origin,
    source: Source,
}

#[derive(Debug, Deserialize)]
struct Selection {
    collection: Option<String>,
}

#[derive(Debug, Serialize)]
struct CollectionPage {
    collection: &'static str,
    version: String,
    objects: Vec<ObjectPage>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ObjectPage {
    Name { name: String, version: String },
    Content(Value),
}

#[derive(Debug, Serialize)]
struct ErrorsPage {
    errors: Vec<ProblemRow>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "source", rename_all = "camelCase")]
enum SourcePage {
    Files { path: PathBuf },
    Kubernetes { kinds: Vec<WatchRow> },
}

#[derive(Debug, Serialize)]
struct McpPage {
    connections: Vec<ConnectionStatus>,
}

/// The pages.
pub(crate) fn router(processing: ProcessorHandle, origin: Origin, source: Source) -> Router {
    Router::new()
        .route("/debug/configz", get(configz))
        .route("/debug/errors", get(errors))
        .route("/debug/source", get(origins))
        .route("/debug/mcp", get(mcp))
        .with_state(Pages {
            processing,
            origin,
            source,
        })
}

async fn configz(
    State(pages): State<Pages>,
    Query(selection): Query<Selection>,
) -> Result<Json<Vec<CollectionPage>>, (StatusCode, String)> {
    let Served {
        collections: served,
        mesh_version,
    } = pages.processing.served();
    let Some(name) = selection.collection else {
        let kinds = served.iter();
        let kinds = kinds.map(|(kind, collection)| page(*kind, collection, false));
        return Ok(Json(kinds.chain(mesh_version.map(mesh_page)).collect()));
    };
    if name == mesh::COLLECTION {
        return Ok(Json(mesh_version.map(mesh_page).into_iter().collect()));
    }
    let kind = Kind::by_collection(&name).ok_or_else(|| {
        (
            StatusCode::NOT_FOUND,
            format!("there is no collection {name:?}\n"),
        )
    })?;
    Ok(Json(
        served
            .get(&kind)
            .map(|collection| page(kind, collection, true))
            .into_iter()
            .collect(),
    ))
}

fn page(kind: Kind, collection: &ServedCollection, content: bool) -> CollectionPage {
    let objects = collection.configs.iter().map(|config| {
        if content {
            ObjectPage::Content(decode::to_json(config))
        } else {
            ObjectPage::Name {
                name: config.meta.key.resource_name(),
                version: config.meta.version.clone(),
            }
        }
    });
    CollectionPage {
        collection: kind.collection(),
        version: collection.version.clone(),
        objects: objects.collect(),
    }
}

/// The mesh configuration is one resource, whose version is that of its collection.
fn mesh_page(version: String) -> CollectionPage {
    CollectionPage {
        collection: mesh::COLLECTION,
        version: version.clone(),
        objects: vec![ObjectPage::Name {
            name: mesh::RESOURCE.to_owned(),
            version,
        }],
    }
}

async fn errors(State(pages): State<Pages>) -> Json<ErrorsPage> {
    Json(ErrorsPage {
        errors: pages.processing.problems().to_vec(),
    })
}

async fn origins(State(pages): State<Pages>) -> Json<SourcePage> {
    Json(match &pages.origin {
        Origin::Files(path) => SourcePage::Files { path: path.clone() },
        Origin::Kubernetes(source) => SourcePage::Kubernetes {
            kinds: source.watches(),
        },
    })
}

async fn mcp(State(pages): State<Pages>) -> Json<McpPage> {
    Json(McpPage {
        connections: pages.source.connections(),
    })
}
