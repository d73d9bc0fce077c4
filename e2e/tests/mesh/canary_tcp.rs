//! A release by weight of a service that speaks no HTTP (chapter 10 of the book).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::{TestMesh, rules};

/// Sends lines over one connection through port 31400 of the ingress gateway; the version that sent them back.
async fn version(mesh: &TestMesh, lines: usize) -> Result<String> {
    let address = mesh.mesh().state().ingress.tcp.clone().context("no such port")?;
    let (reader, mut writer) = TcpStream::connect(address).await?.into_split();
    let mut reader = BufReader::new(reader);
    let mut version = String::new();
    for number in 0..lines {
        writer.write_all(format!("hello {number}\n").as_bytes()).await?;
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        let (prefix, rest) = line.trim_end().split_once(' ').context("no answer")?;
        ensure!(rest == format!("hello {number}"), "{line:?}");
        ensure!(number == 0 || prefix == version, "{prefix} after {version}");
        prefix.clone_into(&mut version);
    }
    Ok(version)
}

async fn versions(mesh: &TestMesh, connections: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..connections {
        *seen
            .entry(version(mesh, 2).await.expect("an answer"))
            .or_default() += 1;
    }
    seen
}

/// EX-1019 to EX-1025: v1 alone, v2 beside it without a connection, then one connection in five.
#[tokio::test(flavor = "multi_thread")]
async fn ex_1019_1020_1021_1022_1023_1024_1025_a_release_by_weight_of_connections() {
    let mesh = TestMesh::start(&["tcp-echo"]).await;
    let manifests = rules("tcp-echo/tcp-echo.yaml");
    mesh.mesh()
        .delete("Deployment", "default", "tcp-echo-v2")
        .await
        .expect("deleted");
    mesh.enforce(&rules("tcp-echo-rules/gateway.yaml")).await;
    mesh.eventually("port 31400 leads to v1", async || {
        let version = version(&mesh, 3).await?;
        ensure!(version == "v1", "{version}");
        Ok(())
    })
    .await;
    mesh.scale(&manifests, "default", "tcp-echo-v2", 1).await;
    assert_eq!(versions(&mesh, 30).await, BTreeMap::from([("v1".to_owned(), 30)]));

    mesh.enforce(&rules("tcp-echo-rules/weight-80-20.yaml")).await;
    let stored = mesh
        .stored("VirtualService", "default", "tcp-echo")
        .await
        .expect("stored");
    let weights = [0, 1].map(|at| stored["tcp"][0]["route"][at]["weight"].clone());
    assert_eq!(weights, [80, 20]);
    let seen = versions(&mesh, 400).await;
    assert!((56..=104).contains(&seen["v2"]), "{seen:?}");
    assert_eq!(seen["v1"] + seen["v2"], 400, "{seen:?}");
}
