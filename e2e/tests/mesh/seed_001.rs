//! Seed 001 from beginning to end: Bookinfo.

use std::collections::BTreeMap;

use mesh_testing::provision;

use crate::support::{TestMesh, rules};

/// Which version of reviews made a product page, by its stars.
async fn reviews_version(mesh: &TestMesh, user: Option<&str>) -> &'static str {
    let cookie = user.map(|user| format!("session={user}; user={user}"));
    let mut headers = Vec::new();
    if let Some(user) = user {
        headers.push(("end-user", user));
    }
    if let Some(cookie) = &cookie {
        headers.push(("cookie", cookie.as_str()));
    }
    let page = mesh.get("/productpage", &headers).await.expect("answered");
    assert_eq!(page.status, 200, "{}", page.body);
    if page.body.contains("data-color=\"black\"") {
        "v2"
    } else if page.body.contains("data-color=\"red\"") {
        "v3"
    } else {
        "v1"
    }
}

async fn versions(mesh: &TestMesh, user: Option<&str>, pages: usize) -> BTreeMap<&'static str, usize> {
    let mut versions = BTreeMap::new();
    for _ in 0..pages {
        *versions.entry(reviews_version(mesh, user).await).or_default() += 1;
    }
    versions
}

/// EX 66 to 69 on one mesh, in the order of the text.
async fn seed_001(mesh: TestMesh) {
    assert!(mesh.get("/productpage", &[]).await.is_err(), "port 80 is closed");

    // EX 66 and 67: exact paths and prefixes lead to productpage, everything else is 404.
    mesh.apply(&rules("bookinfo-rules/bookinfo-gateway.yaml")).await;
    mesh.eventually_status("/productpage", &[], 200).await;
    for (path, expected) in [
        ("/productpage", 200),
        ("/api/v1/products", 200),
        ("/api/v1/products/0", 200),
        ("/productpage/x", 404),
        ("/api/v2", 404),
        ("/", 404),
    ] {
        assert_eq!(
            mesh.get(path, &[]).await.expect("answered").status,
            expected,
            "{path}"
        );
    }

    // R-S-5: without rules each version gets a third.
    assert_a_third_each(&versions(&mesh, None, 150).await);

    // EX 68: subsets by themselves change nothing.
    mesh.apply(&rules("bookinfo-rules/destination-rule-all.yaml"))
        .await;
    mesh.eventually("the subsets are clusters", async || {
        let clusters = mesh.admin("productpage-v1-0", "clusters").await?;
        anyhow::ensure!(
            clusters.contains("outbound|9080|v3|reviews.default.svc.cluster.local"),
            "{clusters}"
        );
        Ok(())
    })
    .await;
    assert_a_third_each(&versions(&mesh, None, 150).await);

    // EX 69: jason sees v2, others v3, nobody v1.
    mesh.apply(&rules("bookinfo-rules/virtual-service-reviews-jason-v2-v3.yaml"))
        .await;
    mesh.eventually("v1 gets nothing", async || {
        let seen = versions(&mesh, None, 6).await;
        anyhow::ensure!(seen.keys().eq(["v3"].iter()), "{seen:?}");
        Ok(())
    })
    .await;
    assert_eq!(
        versions(&mesh, Some("jason"), 30).await,
        BTreeMap::from([("v2", 30)])
    );
    assert_eq!(
        versions(&mesh, Some("mary"), 30).await,
        BTreeMap::from([("v3", 30)])
    );
    assert_eq!(versions(&mesh, None, 30).await, BTreeMap::from([("v3", 30)]));
}

fn assert_a_third_each(versions: &BTreeMap<&'static str, usize>) {
    let pages: usize = versions.values().sum();
    for version in ["v1", "v2", "v3"] {
        let seen = versions.get(version).copied().unwrap_or_default();
        assert!(
            (pages / 5..=pages / 2).contains(&seen),
            "{version} made {seen} of {pages}: {versions:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_66_67_68_69_bookinfo_step_by_step() {
    seed_001(TestMesh::start(&["bookinfo"]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_66_67_68_69_on_the_oldest_envoy() {
    let envoy = provision::envoy_floor().expect("the oldest Envoy");
    seed_001(TestMesh::start_on(&envoy, &["bookinfo"]).await).await;
}
