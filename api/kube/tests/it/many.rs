//! Many objects at once.

use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use mesh_kube::WatchOptions;
use mesh_testing::kube::ApiServer;

use crate::support::{config_map, config_maps};

const MANY: usize = 5000;

/// One view follows, one does not read until all is over: what is unread waits at the server, not in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_2_5000_objects_at_once_all_arrive_once() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("many").await.unwrap();
    let client = server.client().await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let mut view = config_maps(client.clone(), &namespace, WatchOptions::default());
    let mut slow = config_maps(client, &namespace, WatchOptions::default());
    view.until(|view| view.synced == 1).await;
    slow.until(|view| view.synced == 1).await;

    let began = Instant::now();
    let creating = async {
        let params = PostParams::default();
        stream::iter(0..MANY)
            .map(|number| {
                let (api, params) = (&api, &params);
                async move {
                    let map = config_map(&format!("map-{number}"), "red");
                    api.create(params, &map).await
                }
            })
            .buffer_unordered(64)
            .try_for_each(async |_| Ok(()))
            .await
            .unwrap();
        began.elapsed()
    };
    let (created, ()) = tokio::join!(creating, view.until(|view| view.objects.len() == MANY));
    println!("created in {created:?}, all arrived after {:?}", began.elapsed());
    slow.until(|view| view.objects.len() == MANY).await;
    for view in [&view, &slow] {
        assert!(view.applied.values().all(|times| *times == 1));
    }
}
