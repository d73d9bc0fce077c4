//! The mesh configuration in its ConfigMap.

use k8s_openapi::api::core::v1::ConfigMap;
use mesh_api::envoy::config::cluster::v3::Cluster as EnvoyCluster;
use mesh_testing::eventually;
use mesh_testing::kube::ApiServer;
use serde_json::json;

use super::Cluster;
use crate::PATIENCE;
use crate::galley::Galley;
use crate::pilot::Pilot;

#[tokio::test(flavor = "multi_thread")]
async fn p6_4_p7_without_a_file_the_mesh_is_configured_by_the_config_map() {
    let server = ApiServer::shared().await.unwrap();
    let system = Cluster::named(server, "istio-system").await;
    let galley = Galley::start();
    let start = async || {
        let flags = ["--meshConfig=/nowhere/mesh"];
        system.try_pilot_as(&system.access, &galley, &flags).await
    };
    let set = async |text: &str| {
        let map = json!({ "data": { "mesh": text } });
        system.put::<ConfigMap>("istio", map).await;
    };
    let error = format!("{:#}", start().await.map(drop).unwrap_err());
    assert!(error.contains("no mesh configuration: /nowhere/mesh"), "{error}");
    assert!(error.contains("ConfigMap istio-system/istio"), "{error}");
    set("rootNamespace: [7]").await;
    let error = format!("{:#}", start().await.map(drop).unwrap_err());
    assert!(error.contains("rootNamespace"), "{error}");

    set("connectTimeout: 7s").await;
    let pilot = start().await.unwrap();
    pilot.ready().await;
    until_timeout(&pilot, 7).await;

    // It is followed; what is invalid, or gone, changes nothing.
    set("connectTimeout: 9s").await;
    until_timeout(&pilot, 9).await;
    set("connectTimeout: never").await;
    system.delete::<ConfigMap>("istio").await;
    set("connectTimeout: 11s").await;
    until_timeout(&pilot, 11).await;
}

/// Waits until proxies connect with this timeout, in seconds.
async fn until_timeout(pilot: &Pilot, seconds: i64) {
    let id = "sidecar~10.7.6.1~sleep-0.istio-system~istio-system.svc.cluster.local";
    eventually(PATIENCE, async || {
        let envoy = pilot.settled(id).await;
        let cluster = &envoy.everything()[&("cds", "PassthroughCluster".to_owned())];
        let cluster: EnvoyCluster = cluster.unpack().unwrap();
        match cluster.connect_timeout {
            Some(timeout) if timeout.seconds == seconds => Ok(()),
            timeout => Err(format!("{timeout:?}")),
        }
    })
    .await
    .unwrap();
}
