//! Seed 000 from beginning to end: a gateway in front of httpbin.

use std::time::{Duration, Instant};

use mesh_testing::provision;

use crate::support::{GATEWAY, TestMesh, rules};

const HOST: (&str, &str) = ("host", "httpbin.example.com");

/// EX 61 to 65 on one mesh, in the order of the text: each step starts from what the one before left.
async fn seed_000(mesh: TestMesh) {
    // R-G-0: without a Gateway nothing but the proxy's own ports is open.
    let listeners = mesh.admin(GATEWAY, "listeners").await.expect("listeners");
    assert!(!listeners.contains("0.0.0.0_80"), "{listeners}");
    assert!(mesh.get("/anything", &[HOST]).await.is_err(), "port 80 is closed");

    // R-G-1: a Gateway opens its port at once, and R-G-2: answers 404 to everything.
    let applied = Instant::now();
    mesh.apply(&rules("httpbin-rules/gateway.yaml")).await;
    mesh.eventually("port 80 listens", async || {
        mesh.get("/status/200", &[HOST]).await.map(|_| ())
    })
    .await;
    eprintln!("the port took {:?}", applied.elapsed());
    assert!(
        mesh.admin(GATEWAY, "listeners")
            .await
            .expect("listeners")
            .contains("0.0.0.0_80")
    );
    for path in ["/status/200", "/delay/1", "/anything", "/"] {
        assert_eq!(
            mesh.get(path, &[HOST]).await.expect("answered").status,
            404,
            "{path}"
        );
    }

    // EX 62: routes by prefix, for that host and no other.
    mesh.apply(&rules("httpbin-rules/virtual-service.yaml")).await;
    mesh.eventually_status("/status/200", &[HOST], 200).await;
    let started = Instant::now();
    let delayed = mesh.get("/delay/3", &[HOST]).await.expect("answered");
    assert_eq!(delayed.status, 200, "{}", delayed.body);
    assert!(
        started.elapsed() >= Duration::from_secs(3),
        "answered after {:?}",
        started.elapsed()
    );
    assert!(delayed.body.contains("\"headers\""), "{}", delayed.body);
    assert_eq!(
        mesh.get("/status/418", &[HOST]).await.expect("answered").status,
        418
    );
    assert_eq!(
        mesh.get("/anything", &[HOST]).await.expect("answered").status,
        404
    );
    assert_eq!(
        mesh.get("/status/200", &[("host", "other.example.com")])
            .await
            .expect("answered")
            .status,
        404
    );

    // EX 63: a new Service is a new cluster.
    let before = mesh.active_clusters(GATEWAY).await.expect("counted");
    mesh.apply(&rules("httpbin-rules/service-v2.yaml")).await;
    mesh.eventually("the new service is a cluster", async || {
        let now = mesh.active_clusters(GATEWAY).await?;
        anyhow::ensure!(now > before, "{now} clusters, {before} before");
        Ok(())
    })
    .await;

    // EX 64 and 65: a subset is a cluster too, and without pods it is a 503 of the proxy.
    let before = mesh.active_clusters(GATEWAY).await.expect("counted");
    mesh.apply(&rules("httpbin-rules/subset.yaml")).await;
    mesh.eventually_status("/anything", &[HOST], 503).await;
    assert!(mesh.active_clusters(GATEWAY).await.expect("counted") > before);
    let unavailable = mesh.get("/anything", &[HOST]).await.expect("answered");
    assert_eq!(unavailable.body, "no healthy upstream");
    assert_eq!(unavailable.header("server"), "istio-envoy");
    assert_eq!(unavailable.header("content-length"), "19");
    assert_eq!(unavailable.header("content-type"), "text/plain");
    // The routes of the first VirtualService for the host stay beside it.
    assert_eq!(
        mesh.get("/status/200", &[HOST]).await.expect("answered").status,
        200
    );

    // R-G-3: the label is all that was missing.
    mesh.label("httpbin-0", "version", "v3").await;
    mesh.eventually_status("/anything", &[HOST], 200).await;
    let found = mesh.get("/anything", &[HOST]).await.expect("answered");
    assert!(found.body.contains("httpbin.example.com"), "{}", found.body);
}

/// `R-N-2`, `R-G-0`, `R-G-2`, `R-G-3`, `R-G-4`.
#[tokio::test(flavor = "multi_thread")]
async fn ex_61_62_63_64_65_a_gateway_step_by_step() {
    seed_000(TestMesh::start(&["httpbin"]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_61_62_63_64_65_on_the_oldest_envoy() {
    let envoy = provision::envoy_floor().expect("the oldest Envoy");
    seed_000(TestMesh::start_on(&envoy, &["httpbin"]).await).await;
}
