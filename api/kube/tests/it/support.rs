//! What several tests need: a view that a watch keeps, a connection that can be cut, objects.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, PostParams};
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use mesh_kube::{Event, ObjectName, Watch, WatchOptions, patch};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than anything takes on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What is known by the events of a watch.
pub(crate) struct View<T> {
    watch: Watch<T>,
    pub(crate) objects: BTreeMap<String, T>,
    pub(crate) rejected: BTreeMap<String, String>,
    /// How often each was applied.
    pub(crate) applied: BTreeMap<String, usize>,
    /// How often any was deleted.
    pub(crate) deleted: usize,
    pub(crate) synced: usize,
}

impl<T: Send + 'static> View<T> {
    pub(crate) fn new(watch: Watch<T>) -> Self {
        Self {
            watch,
            objects: BTreeMap::new(),
            rejected: BTreeMap::new(),
            applied: BTreeMap::new(),
            deleted: 0,
            synced: 0,
        }
    }

    pub(crate) fn status(&self) -> mesh_kube::Status {
        self.watch.status().borrow().clone()
    }

    /// Follows events until the view is as it should be.
    pub(crate) async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let reached = timeout(PATIENCE, async {
            while !done(self) {
                let event = self.watch.next().await;
                self.take(event);
            }
        });
        if reached.await.is_err() {
            let names: Vec<_> = self.objects.keys().take(20).collect();
            panic!("not in time: {:?}, {names:?}, {:?}", self.status(), self.rejected);
        }
    }

    /// Waits for a state of the watch, in which it may have nothing to tell.
    pub(crate) async fn until_state(&mut self, is: impl Fn(&mesh_kube::State) -> bool) {
        self.until_status(|status| is(&status.state)).await;
    }

    /// Waits for a status of the watch, which may have nothing to tell.
    pub(crate) async fn until_status(&mut self, is: impl Fn(&mesh_kube::Status) -> bool) {
        let mut status = self.watch.status();
        let reached = timeout(PATIENCE, async {
            while !is(&status.borrow_and_update()) {
                tokio::select! {
                    event = self.watch.next() => self.take(event),
                    _ = status.changed() => {}
                }
            }
        });
        reached.await.unwrap();
    }

    /// Follows events while something else is done.
    pub(crate) async fn during<R>(&mut self, other: impl Future<Output = R>) -> R {
        let mut other = std::pin::pin!(timeout(PATIENCE, other));
        loop {
            tokio::select! {
                event = self.watch.next() => self.take(event),
                result = &mut other => return result.unwrap(),
            }
        }
    }

    fn take(&mut self, event: Event<T>) {
        match event {
            Event::Applied(name, value) => {
                let name = key(&name);
                self.rejected.remove(&name);
                *self.applied.entry(name.clone()).or_default() += 1;
                self.objects.insert(name, value);
            }
            Event::Deleted(name) => {
                self.deleted += 1;
                self.rejected.remove(&key(&name));
                self.objects.remove(&key(&name));
            }
            Event::Rejected(name, reason) => {
                self.rejected.insert(key(&name), reason);
            }
            Event::Synced => self.synced += 1,
        }
    }
}

fn key(name: &ObjectName) -> String {
    name.name.clone()
}

pub(crate) type ConfigMaps = Api<ConfigMap>;

/// ConfigMaps of a namespace, followed.
pub(crate) fn config_maps(client: Client, namespace: &str, options: WatchOptions) -> View<ConfigMap> {
    let api: Api<DeserializeGuard<ConfigMap>> = Api::namespaced(client, namespace);
    View::new(Watch::new(api, options))
}

/// Quick to try again, so that tests are quick.
pub(crate) fn eager() -> WatchOptions {
    WatchOptions {
        initial_pause: Duration::from_millis(50),
        longest_pause: Duration::from_millis(500),
        ..WatchOptions::default()
    }
}

pub(crate) fn config_map(name: &str, colour: &str) -> ConfigMap {
    ConfigMap {
        metadata: patch::named("", name),
        data: Some(BTreeMap::from([("colour".to_owned(), colour.to_owned())])),
        ..ConfigMap::default()
    }
}

pub(crate) fn colour(map: &ConfigMap) -> &str {
    &map.data.as_ref().unwrap()["colour"]
}

pub(crate) async fn create(api: &ConfigMaps, name: &str, colour: &str) {
    let map = config_map(name, colour);
    api.create(&PostParams::default(), &map).await.unwrap();
}

pub(crate) async fn paint(api: &ConfigMaps, name: &str, colour: &str) {
    patch::apply(api, "tests", &config_map(name, colour))
        .await
        .unwrap();
}

pub(crate) async fn delete(api: &ConfigMaps, name: &str) {
    api.delete(name, &DeleteParams::default()).await.unwrap();
}

/// A way to a port of loopback that can be cut and mended.
pub(crate) struct Link {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Link {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = watch::Sender::new(true);
        let state = open.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, port, state.clone()));
            }
        });
        Self { address, open }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Drops all connections; new ones are closed at once.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn carry(mut near: TcpStream, port: u16, mut open: watch::Receiver<bool>) {
    if !*open.borrow_and_update() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
