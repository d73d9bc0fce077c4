//! What is left of a mesh: nothing.

use std::path::PathBuf;
use std::time::Duration;

use e2e::mesh::Mesh;
use mesh_testing::eventually;

use crate::support::{Files, PATIENCE, ready};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: curlimages/curl, command: [sh, -c, 'setsid sleep 1000 & sleep 1000']}]}\n";

/// Everything that runs for a pod of `mesh`, and its folder.
fn traces(mesh: &Mesh) -> (Vec<i32>, PathBuf) {
    let state = mesh.state();
    let pod = state.pod("p").unwrap();
    let processes = pod
        .containers
        .iter()
        .flat_map(|container| [container.pid, container.init]);
    (
        processes.chain([pod.pid]).flatten().collect(),
        mesh.layout().root().to_owned(),
    )
}

/// Whether a process still runs; one that has ended and waits for its parent does not.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

async fn all_gone((pids, folder): (Vec<i32>, PathBuf)) {
    assert_eq!(pids.len(), 3);
    eventually(PATIENCE, async || {
        let left: Vec<_> = pids.iter().filter(|pid| runs(**pid)).collect();
        anyhow::ensure!(left.is_empty(), "processes {left:?} run");
        Ok(())
    })
    .await
    .unwrap();
    assert!(!folder.exists(), "{} exists", folder.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_mesh_leaves_nothing_and_does_not_wait_for_grace_periods() {
    let files = Files::new("pod.yaml", POD);
    let mesh = ready(&files).await;
    let traces = traces(&mesh);
    let began = std::time::Instant::now();
    mesh.stop().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    all_gone(traces).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_mesh_leaves_nothing() {
    let files = Files::new("pod.yaml", POD);
    let mesh = ready(&files).await;
    let traces = traces(&mesh);
    drop(mesh);
    all_gone(traces).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn meshes_do_not_see_each_other() {
    let files = Files::new("pod.yaml", POD);
    let (one, two) = tokio::join!(ready(&files), ready(&files));
    assert_eq!(one.state().pod("p").unwrap().ip, two.state().pod("p").unwrap().ip);
    assert_ne!(one.layout().root(), two.layout().root());
    one.stop().await.unwrap();
    assert!(two.exec("p", ["true"]).await.unwrap().status.success());
    two.stop().await.unwrap();
}
