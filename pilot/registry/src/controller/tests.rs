//! When the controller publishes, and what. Time is simulated: it moves when everybody waits.

use std::time::Duration;

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{Config, Kind};
use mesh_mcp::sink::{Apply, ApplyError, Change as McpChange, Content};
use pilot_model::{Builder, Visibility};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::{Controller, ControllerTask, Publication, SourceInput};
use crate::fixture::{object, objects, service};
use crate::{Debounce, Registries};

const QUIET: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(3600);
const KINDS: [Kind; 2] = [Kind::Service, Kind::Gateway];

struct Harness {
    controller: Controller,
    publications: mpsc::UnboundedReceiver<Publication>,
}

/// Plays a scenario against a controller of `sources` sources.
async fn play(sources: usize, scenario: impl AsyncFnOnce(Harness)) {
    let (controller, task) = controller(sources);
    let (sender, publications) = mpsc::unbounded_channel();
    let run = task.run(move |publication| {
        // The scenario may be over.
        let _ = sender.send(publication);
    });
    let harness = Harness {
        controller,
        publications,
    };
    tokio::select! {
        () = run => panic!("the controller ended before its scenario"),
        () = scenario(harness) => {}
    }
}

fn controller(sources: usize) -> (Controller, ControllerTask) {
    Controller::new(
        Builder::new("cluster.local", MeshConfig::default()),
        Registries::new("cluster.local", "cluster.local", Visibility::Public),
        Debounce::new(QUIET, MAX),
        sources,
        &KINDS,
    )
}

async fn send(source: &mut SourceInput, kind: Kind, resources: Vec<Config>) {
    let change = McpChange {
        collection: kind.collection(),
        kind,
        version: "1".to_owned(),
        content: Content::Full(resources),
        errors: Vec::new(),
    };
    source.apply(change).await.expect("the controller runs");
}

fn services(names: &[&str]) -> Vec<Config> {
    let services = names
        .iter()
        .map(|name| service(name, "{ports: [{name: http, port: 80}]}"));
    services.flat_map(|text| objects(&text)).collect()
}

fn broken(name: &str) -> Config {
    let mut config = object(&service(name, "{}"));
    config.body.value = vec![0xff].into();
    config
}

impl Harness {
    async fn next(&mut self) -> Publication {
        timeout(LONG, self.publications.recv())
            .await
            .expect("a publication comes")
            .expect("the controller runs")
    }

    async fn nothing(&mut self) {
        assert!(
            timeout(LONG, self.publications.recv()).await.is_err(),
            "an unexpected publication"
        );
    }

    /// A source that has delivered everything.
    async fn synced(&mut self) -> SourceInput {
        let mut source = self.controller.source(0);
        for kind in KINDS {
            send(&mut source, kind, Vec::new()).await;
        }
        assert_eq!(self.next().await.published.generation, 1);
        source
    }
}

#[tokio::test(start_paused = true)]
async fn p5_4_nothing_is_published_before_every_source_has_delivered_every_collection() {
    play(2, async |mut harness| {
        let [mut first, mut second] = [0, 1].map(|source| harness.controller.source(source));
        send(&mut first, Kind::Service, services(&["a"])).await;
        send(&mut second, Kind::Gateway, Vec::new()).await;
        send(&mut second, Kind::Service, services(&["b"])).await;
        send(&mut second, Kind::Service, services(&["b", "c"])).await;
        harness.nothing().await;
        send(&mut first, Kind::Gateway, Vec::new()).await;
        let publication = harness.next().await;
        assert_eq!(publication.published.generation, 1);
        assert_eq!(publication.published.snapshot.services.len(), 3);
        assert_eq!(publication.objects.len(), 3);
        harness.nothing().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn p9_2_changes_are_published_once_they_pause() {
    play(1, async |mut harness| {
        let mut source = harness.synced().await;
        let start = Instant::now();
        for names in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
            send(&mut source, Kind::Service, services(names)).await;
            tokio::time::sleep(QUIET / 2).await;
        }
        let publication = harness.next().await;
        assert_eq!(publication.published.snapshot.services.len(), 3);
        assert_eq!(
            start.elapsed(),
            QUIET * 2,
            "100 ms after the last of three changes"
        );
        harness.nothing().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn p9_2_changes_that_do_not_pause_are_published_after_the_longest_delay() {
    play(1, async |mut harness| {
        let mut source = harness.synced().await;
        let start = Instant::now();
        let mut published = 0;
        while start.elapsed() < 3 * MAX {
            let names = if published % 2 == 0 { ["a"] } else { ["b"] };
            send(&mut source, Kind::Service, services(&names)).await;
            send(&mut source, Kind::Service, Vec::new()).await;
            tokio::time::sleep(QUIET / 2).await;
            published += usize::from(harness.publications.try_recv().is_ok());
        }
        assert!((2..=3).contains(&published), "{published} in {:?}", 3 * MAX);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_again_is_not_published_and_delays_nothing() {
    play(1, async |mut harness| {
        let mut source = harness.synced().await;
        send(&mut source, Kind::Service, services(&["a"])).await;
        let start = Instant::now();
        for _ in 0..10 {
            tokio::time::sleep(QUIET / 5).await;
            send(&mut source, Kind::Service, services(&["a"])).await;
        }
        assert_eq!(harness.next().await.published.generation, 2);
        assert_eq!(start.elapsed(), QUIET * 2, "it was there already");
        harness.nothing().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_decode_is_left_out_and_reported() {
    play(1, async |mut harness| {
        let mut source = harness.synced().await;
        let mut all = services(&["a"]);
        send(&mut source, Kind::Service, all.clone()).await;
        assert_eq!(harness.next().await.published.generation, 2);

        all.push(broken("b"));
        send(&mut source, Kind::Service, all).await;
        let publication = harness.next().await;
        assert_eq!(
            publication.published.generation, 2,
            "proxies have nothing to look at"
        );
        let rejected: Vec<String> = publication.rejected.keys().map(ToString::to_string).collect();
        assert_eq!(rejected, ["Service weather/b"]);
        assert_eq!(publication.published.snapshot.services.len(), 1);
        assert_eq!(publication.objects.len(), 2);

        send(&mut source, Kind::Service, services(&["a", "b"])).await;
        let publication = harness.next().await;
        assert_eq!(publication.published.generation, 3);
        assert!(publication.rejected.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn mesh_configuration_is_published_like_everything_else() {
    play(1, async |mut harness| {
        harness.synced().await;
        let mesh = MeshConfig {
            root_namespace: "root".to_owned(),
            ..MeshConfig::default()
        };
        harness.controller.set_mesh(mesh.clone()).await;
        let publication = harness.next().await;
        assert_eq!(publication.published.snapshot.mesh.root_namespace, "root");
        assert!(publication.published.changes.mesh);
        harness.controller.set_mesh(mesh).await;
        harness.nothing().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_sources_the_mesh_configuration_alone_is_published() {
    play(0, async |mut harness| {
        assert_eq!(harness.next().await.published.generation, 1);
        harness.nothing().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_controller_ends_with_its_last_sender_and_sources_with_the_controller() {
    let (controller, task) = controller(1);
    let mut source = controller.source(0);
    drop(controller);
    drop(task);
    let change = McpChange {
        collection: Kind::Service.collection(),
        kind: Kind::Service,
        version: String::new(),
        content: Content::Full(Vec::new()),
        errors: Vec::new(),
    };
    assert_eq!(source.apply(change).await, Err(ApplyError::Closed));

    let (controller, task) = self::controller(1);
    drop(controller);
    timeout(LONG, task.run(|_| ())).await.expect("ends");
}
