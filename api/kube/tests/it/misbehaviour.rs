//! An API server that misbehaves: whatever it does, in the end everything is known, and nothing was told twice.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use mesh_kube::{State, WatchOptions};
use mesh_testing::eventually;
use mesh_testing::kube::{ApiProxy, ApiServer, Fault};

use crate::support::{ConfigMaps, PATIENCE, View, colour, config_maps, create, delete, eager, paint};

const MAPS: &str = "configmaps";

/// A namespace of the shared server with a map `same`, and a view of it through a proxy.
struct Scene {
    proxy: ApiProxy,
    api: ConfigMaps,
    namespace: String,
}

// === impl Scene ===

impl Scene {
    async fn new(prefix: &str) -> Self {
        let server = ApiServer::shared().await.unwrap();
        let namespace = server.namespace(prefix).await.unwrap();
        let api: Api<ConfigMap> = Api::namespaced(server.client().await.unwrap(), &namespace);
        create(&api, "same", "red").await;
        let proxy = ApiProxy::start(server.admin()).await.unwrap();
        Self {
            proxy,
            api,
            namespace,
        }
    }

    /// A view of the namespace, not yet followed.
    async fn view(&self, options: WatchOptions) -> View<ConfigMap> {
        let client = self.proxy.access().client().await.unwrap();
        config_maps(client, &self.namespace, options)
    }

    /// A view that knows everything and is told of changes.
    async fn following(&self, options: WatchOptions) -> View<ConfigMap> {
        let mut view = self.view(options).await;
        view.until(|view| view.synced == 1).await;
        view.during(self.counted(|watches| watches >= 1)).await;
        view
    }

    /// Waits for a number of watches that arrived.
    async fn counted(&self, enough: impl Fn(usize) -> bool) {
        let counted = eventually(PATIENCE, async || {
            let counts = self.proxy.counts(MAPS);
            if enough(counts.watches) {
                Ok(())
            } else {
                Err(format!("{counts:?}"))
            }
        });
        counted.await.unwrap();
    }

    /// The last change: by its arrival all before have arrived.
    async fn ends_well(&self, view: &mut View<ConfigMap>) {
        self.proxy.end(MAPS);
        create(&self.api, "last", "white").await;
        view.until(|view| view.objects.contains_key("last")).await;
        let truth = self.api.list(&Default::default()).await.unwrap().items;
        let truth: Vec<_> = truth
            .iter()
            .map(|map| (map.metadata.name.clone().unwrap(), colour(map).to_owned()))
            .collect();
        let told: Vec<_> = view
            .objects
            .iter()
            .map(|(name, map)| (name.clone(), colour(map).to_owned()))
            .collect();
        assert_eq!(told, truth);
        assert_eq!(view.applied["last"], 1);
        assert_eq!(view.applied["same"], 1, "nothing is told twice");
        assert_eq!(view.synced, 1);
    }
}

fn is_failing(state: &State) -> bool {
    matches!(state, State::Failing(_))
}

#[tokio::test]
async fn g4_watches_that_are_dropped_go_on_where_they_were() {
    let scene = Scene::new("dropped").await;
    let mut view = scene.following(eager()).await;
    create(&scene.api, "map", "0").await;
    view.until(|view| view.objects.contains_key("map")).await;
    for number in 1..=10 {
        scene.proxy.drop_watches(MAPS);
        paint(&scene.api, "map", &number.to_string()).await;
        view.until(|view| colour(&view.objects["map"]) == number.to_string())
            .await;
    }
    delete(&scene.api, "map").await;
    scene.ends_well(&mut view).await;
    assert_eq!(view.applied["map"], 11);
    assert_eq!(view.deleted, 1);
    assert_eq!(scene.proxy.counts(MAPS).lists, 1, "nothing was missed");
}

#[tokio::test]
async fn g4_after_410_only_what_differs_is_told() {
    let scene = Scene::new("gone").await;
    create(&scene.api, "changed", "red").await;
    create(&scene.api, "deleted", "red").await;
    let mut view = scene.following(eager()).await;
    scene.proxy.begin(MAPS, Fault::Gone);
    paint(&scene.api, "changed", "blue").await;
    delete(&scene.api, "deleted").await;
    create(&scene.api, "new", "red").await;
    view.until(|view| view.objects.contains_key("new")).await;
    view.until_status(|status| status.lists >= 3).await;
    scene.ends_well(&mut view).await;
    assert_eq!(view.applied["changed"], 2);
    assert_eq!((view.applied["new"], view.deleted), (1, 1));
}

#[tokio::test]
async fn g4_slow_lists_are_waited_for() {
    let scene = Scene::new("slow").await;
    scene.proxy.begin(MAPS, Fault::HoldRequests);
    let mut view = scene.view(eager()).await;
    view.during(async {
        let asked = eventually(PATIENCE, async || match scene.proxy.counts(MAPS).lists {
            0 => Err("not asked"),
            _ => Ok(()),
        });
        asked.await.unwrap();
        create(&scene.api, "meanwhile", "red").await;
    })
    .await;
    assert_eq!((view.synced, view.objects.len()), (0, 0));
    scene.proxy.end(MAPS);
    view.until(|view| view.synced == 1).await;
    assert_eq!(view.objects.len(), 2);
    scene.ends_well(&mut view).await;
    assert_eq!(scene.proxy.counts(MAPS).lists, 1);
}

#[tokio::test]
async fn g4_events_of_objects_may_overtake_each_other() {
    let scene = Scene::new("order").await;
    for name in ["late", "early"] {
        create(&scene.api, name, "red").await;
    }
    let mut view = scene.following(eager()).await;
    scene.proxy.begin(MAPS, Fault::HoldObject("late".to_owned()));
    for name in ["late", "early"] {
        paint(&scene.api, name, "blue").await;
    }
    view.until(|view| colour(&view.objects["early"]) == "blue").await;
    assert_eq!(colour(&view.objects["late"]), "red");
    scene.proxy.end(MAPS);
    view.until(|view| colour(&view.objects["late"]) == "blue").await;
    // The version that the view is at went back: what it asks for again it knows.
    scene.proxy.drop_watches(MAPS);
    scene.ends_well(&mut view).await;
    assert_eq!((view.applied["late"], view.applied["early"]), (2, 2));
}

#[tokio::test]
async fn g4_repeated_events_are_told_once() {
    let scene = Scene::new("repeated").await;
    let mut view = scene.following(eager()).await;
    scene.proxy.begin(MAPS, Fault::Repeat(1000));
    create(&scene.api, "map", "red").await;
    paint(&scene.api, "map", "blue").await;
    view.until(|view| view.applied.get("map") == Some(&2)).await;
    delete(&scene.api, "map").await;
    view.until(|view| view.deleted == 1).await;
    // Those of the first two events came before the third.
    assert!(scene.proxy.counts(MAPS).lines > 2000);
    scene.ends_well(&mut view).await;
    assert_eq!((view.applied["map"], view.deleted), (2, 1));
}

/// Whoever does not read holds nothing: what is unread waits at the server.
#[tokio::test]
async fn g4_a_flood_of_events_takes_no_memory() {
    let scene = Scene::new("flood").await;
    let mut view = scene.following(eager()).await;
    const FLOOD: usize = 200_000;
    scene.proxy.begin(MAPS, Fault::Repeat(FLOOD));
    create(&scene.api, "map", &"x".repeat(1000)).await;
    let mut before = usize::MAX;
    eventually(PATIENCE, async || {
        let lines = scene.proxy.counts(MAPS).lines;
        let stands = lines > 0 && lines == before;
        before = lines;
        if stands {
            Ok(())
        } else {
            Err(format!("{lines} lines"))
        }
    })
    .await
    .unwrap();
    assert!(before < FLOOD, "{before} events are somewhere");
    scene.ends_well(&mut view).await;
    assert_eq!(view.applied["map"], 1);
    assert_eq!((view.status().objects, view.status().lists), (3, 1));
}

#[tokio::test]
async fn g4_a_watch_that_breaks_in_the_middle_of_a_line_loses_nothing() {
    let scene = Scene::new("cut").await;
    let mut view = scene.following(eager()).await;
    scene.proxy.begin(MAPS, Fault::CutEvents);
    create(&scene.api, "map", "red").await;
    view.during(scene.counted(|watches| watches >= 4)).await;
    assert!(!view.objects.contains_key("map"));
    scene.proxy.end(MAPS);
    view.until(|view| view.objects.contains_key("map")).await;
    scene.ends_well(&mut view).await;
    assert_eq!(view.applied["map"], 1);
    assert_eq!(scene.proxy.counts(MAPS).lists, 1, "nothing was missed");
}

/// Lines that are no events take the place of events, and the connection goes on as if nothing had happened.
#[tokio::test]
async fn g4_events_that_are_damaged_are_found_by_a_list() {
    let scene = Scene::new("garbage").await;
    let mut view = scene.following(eager()).await;
    scene.proxy.begin(MAPS, Fault::Garbage);
    create(&scene.api, "map", "red").await;
    view.until_state(is_failing).await;
    let lists = || scene.proxy.counts(MAPS).lists;
    view.during(async {
        let listed = eventually(PATIENCE, async || match lists() {
            0..4 => Err("not yet asked again"),
            _ => Ok(()),
        });
        listed.await.unwrap();
    })
    .await;
    assert_eq!(view.objects.len(), 1, "a page of HTML is no empty list");
    scene.proxy.end(MAPS);
    view.until(|view| view.objects.contains_key("map")).await;
    scene.ends_well(&mut view).await;
    assert_eq!((view.applied["map"], view.deleted), (1, 0));
}

#[tokio::test]
async fn g4_bookmarks_tell_nothing_and_skip_nothing() {
    let scene = Scene::new("bookmarks").await;
    let mut view = scene.following(eager()).await;
    let lines = scene.proxy.counts(MAPS).lines;
    scene.proxy.begin(MAPS, Fault::Bookmarks);
    for number in 0..5 {
        create(&scene.api, &format!("map-{number}"), "red").await;
    }
    view.during(async {
        let arrived = eventually(PATIENCE, async || match scene.proxy.counts(MAPS).lines - lines {
            0..5 => Err("too few bookmarks"),
            _ => Ok(()),
        });
        arrived.await.unwrap();
    })
    .await;
    assert_eq!(view.objects.len(), 1);
    // The next watch begins where the last bookmark was.
    scene.proxy.drop_watches(MAPS);
    scene.ends_well(&mut view).await;
    assert_eq!(view.objects.len(), 7);
    assert_eq!(scene.proxy.counts(MAPS).lists, 1);
}

#[tokio::test]
async fn g4_a_connection_that_died_unnoticed_is_replaced() {
    let scene = Scene::new("silent").await;
    let options = WatchOptions {
        timeout: Duration::from_secs(1),
        ..eager()
    };
    let mut view = scene.following(options).await;
    scene.proxy.begin(MAPS, Fault::HoldEvents);
    create(&scene.api, "map", "red").await;
    let watches = scene.proxy.counts(MAPS).watches;
    view.during(scene.counted(|now| now >= watches + 2)).await;
    scene.proxy.end(MAPS);
    view.until(|view| view.objects.contains_key("map")).await;
    scene.ends_well(&mut view).await;
    assert_eq!(view.applied["map"], 1);
}

/// A pause would take an hour.
#[tokio::test]
async fn g4_a_watch_that_was_well_until_it_broke_is_asked_for_at_once() {
    let scene = Scene::new("once").await;
    let hour = Duration::from_secs(3600);
    let options = WatchOptions {
        initial_pause: hour,
        longest_pause: hour,
        ..WatchOptions::default()
    };
    let mut view = scene.following(options).await;
    create(&scene.api, "map", "red").await;
    view.until(|view| view.objects.contains_key("map")).await;
    scene.proxy.drop_watches(MAPS);
    scene.ends_well(&mut view).await;
}

/// What is known stays known while a kind is refused, but for one that is not served.
#[tokio::test]
async fn g4_a_kind_that_is_refused_for_a_while_is_followed_afterwards() {
    let scene = Scene::new("refused").await;
    create(&scene.api, "map", "0").await;
    let mut view = scene.following(eager()).await;
    for (number, code) in [403, 429, 500, 503, 410].into_iter().enumerate() {
        scene.proxy.begin(MAPS, Fault::Status(code));
        scene.proxy.drop_watches(MAPS);
        let failures = view.status().failures;
        view.until_status(|status| status.failures >= failures + 2).await;
        match (code, view.status().state) {
            (403, State::Forbidden(reason)) => assert!(reason.contains("the test says 403"), "{reason}"),
            (429 | 500 | 503, State::Failing(reason)) => {
                assert!(reason.contains(&format!("the test says {code}")), "{reason}");
            }
            (410, State::Following | State::Failing(_)) => {}
            (_, state) => panic!("{code}: {state:?}"),
        }
        assert_eq!(view.objects.len(), 2, "{code}");
        let number = (number + 1).to_string();
        paint(&scene.api, "map", &number).await;
        scene.proxy.end(MAPS);
        view.until(|view| colour(&view.objects["map"]) == number).await;
    }
    scene.ends_well(&mut view).await;
    assert_eq!((view.applied["map"], view.deleted), (6, 0));

    scene.proxy.begin(MAPS, Fault::Status(404));
    scene.proxy.drop_watches(MAPS);
    view.until(|view| view.objects.is_empty()).await;
    view.until_state(|state| *state == State::NotServed).await;
    scene.proxy.end(MAPS);
    view.until(|view| view.objects.len() == 3).await;
}

/// Pauses grow: while somebody else makes hundreds of requests, a watch that fails makes a few.
#[tokio::test]
async fn g4_whatever_fails_is_asked_for_less_and_less() {
    let faults = [
        Fault::Status(500),
        Fault::Status(404),
        Fault::Status(403),
        Fault::Garbage,
        Fault::Gone,
        Fault::EndWatches,
        Fault::CutEvents,
    ];
    let scene = Scene::new("pauses").await;
    for fault in faults {
        let options = WatchOptions {
            initial_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(3600),
            ..WatchOptions::default()
        };
        let mut view = scene.following(options).await;
        let before = scene.proxy.counts(MAPS);
        scene.proxy.begin(MAPS, fault.clone());
        scene.proxy.drop_watches(MAPS);
        paint(&scene.api, "same", &format!("{fault:?}")).await;
        let requests = || {
            let now = scene.proxy.counts(MAPS);
            now.lists + now.watches - before.lists - before.watches
        };
        view.during(async {
            let failing = eventually(PATIENCE, async || match requests() {
                0..6 => Err(format!("{} requests", requests())),
                _ => Ok(()),
            });
            failing.await.unwrap();
            for _ in 0..300 {
                scene.api.get("same").await.unwrap();
            }
        })
        .await;
        // A list and a watch for each pause: 36 of these would take an hour.
        assert!(requests() < 80, "{fault:?}: {} requests", requests());
        scene.proxy.end(MAPS);
    }
}
