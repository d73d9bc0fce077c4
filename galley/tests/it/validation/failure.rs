//! The API server goes and comes back.

use mesh_testing::eventually;
use mesh_testing::kube::ApiServer;
use serde_json::Value;

use super::site::{PATIENCE, Site};

#[tokio::test]
async fn g8_6_a_restart_of_the_api_server_is_survived() {
    let mut server = ApiServer::start().await.unwrap();
    server.define_kinds().await.unwrap();
    let site = Site::new(&server).await;
    let galley = site.serving().await;
    server.stop();
    server.resume().await.unwrap();
    let line = format!("delete validatingwebhookconfiguration {}", site.webhook_name());
    eventually(PATIENCE, async || site.kubectl(&line, "").await)
        .await
        .unwrap();
    eventually(PATIENCE, async || match site.registered().await {
        Value::Null => Err("not there"),
        _ => Ok(()),
    })
    .await
    .unwrap();
    site.refused_eventually().await;
    galley.ready().await;
}
