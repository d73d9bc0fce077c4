//! The source of the synthetic mesh: Galley's place is taken by an MCP server in this process, so that its cost is in
//! no figure.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use mesh_config::{Config, Kind};
use mesh_mcp::metrics::McpMetrics;
use mesh_mcp::{Entry, Snapshot, SnapshotCache, Source, SourceOptions};
use mesh_runtime::grpc::{self, GrpcMetrics, GrpcOptions};
use mesh_runtime::{Drain, Metrics, Spawner};
use tokio::net::TcpListener;
use tonic::service::Routes;

use super::workload::{self, Service};

/// The kinds that make up the mesh.
const KINDS: [Kind; 3] = [Kind::ServiceEntry, Kind::DestinationRule, Kind::VirtualService];

/// The mesh as it is now, served to whoever asks.
#[derive(Debug)]
pub(crate) struct MeshSource {
    snapshots: SnapshotCache,
    current: Snapshot,
    service_entries: Vec<Arc<Entry>>,
    destination_rules: Vec<Arc<Entry>>,
    virtual_services: Vec<Arc<Entry>>,
    /// Counts changes; the version of what changed.
    version: u64,
    /// Counts the markers that were handed out.
    generation: u32,
    /// Collections that differ from what is published.
    changed: BTreeSet<Kind>,
}

// === impl MeshSource ===

impl MeshSource {
    /// A mesh of so many services.
    pub(crate) fn new(services: u32) -> Self {
        let mut source = Self {
            snapshots: SnapshotCache::new(),
            current: Snapshot::default(),
            service_entries: Vec::new(),
            destination_rules: Vec::new(),
            virtual_services: Vec::new(),
            version: 0,
            generation: 0,
            changed: BTreeSet::new(),
        };
        source.resend();
        for index in 0..services {
            source.push(Service(index), 0);
        }
        source.publish();
        source
    }

    /// Serves the mesh on a port of loopback; other collections are empty.
    pub(crate) async fn serve(&self, spawner: &Spawner) -> Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let metrics = Metrics::new();
        let source = Source::new(
            self.snapshots.clone(),
            SourceOptions {
                incremental: true,
                ..SourceOptions::default()
            },
            McpMetrics::register(&metrics, "source")?,
            Drain::never(),
        );
        let server = grpc::serve(
            "mcp",
            listener,
            Routes::new(source.service()),
            GrpcOptions::default(),
            GrpcMetrics::register(&metrics)?,
            spawner.clone(),
            Drain::never(),
        );
        spawner.spawn("mcp source", server);
        Ok(address)
    }

    /// How many services there are.
    pub(crate) fn services(&self) -> u32 {
        u32::try_from(self.virtual_services.len()).unwrap_or(u32::MAX)
    }

    // Changes take effect with the next `publish`.

    /// Changes the marked path of one VirtualService; returns the new one.
    pub(crate) fn change_virtual_service(&mut self, service: Service) -> String {
        let generation = self.next();
        let changed = service.virtual_service(generation, self.version);
        replace(&mut self.virtual_services, service, &changed);
        self.changed.insert(Kind::VirtualService);
        workload::marker(generation)
    }

    /// Moves the first endpoint of a service; returns its new address.
    pub(crate) fn move_endpoint(&mut self, service: Service) -> String {
        let address = workload::moved_address(self.next());
        let changed = service.service_entry(Some(address), self.version);
        replace(&mut self.service_entries, service, &changed);
        self.changed.insert(Kind::ServiceEntry);
        address.to_string()
    }

    /// Adds a service; returns its host.
    pub(crate) fn add_service(&mut self) -> String {
        let generation = self.next();
        let service = Service(self.services());
        self.push(service, generation);
        self.changed.extend(KINDS);
        service.host()
    }

    /// Sends all services again, as after a restart of the source: nothing changed.
    pub(crate) fn resend(&mut self) {
        self.version += 1;
        self.changed.extend(KINDS);
    }

    fn next(&mut self) -> u32 {
        self.version += 1;
        self.generation += 1;
        self.generation
    }

    fn push(&mut self, service: Service, generation: u32) {
        let version = self.version;
        self.service_entries
            .push(entry(&service.service_entry(None, version)));
        self.destination_rules
            .push(entry(&service.destination_rule(version)));
        self.virtual_services
            .push(entry(&service.virtual_service(generation, version)));
    }

    /// Hands the changes to whoever is subscribed. Collections without change stay shared with what was published.
    pub(crate) fn publish(&mut self) {
        let mut builder = self.current.builder();
        for kind in std::mem::take(&mut self.changed) {
            let entries = match kind {
                Kind::ServiceEntry => &self.service_entries,
                Kind::DestinationRule => &self.destination_rules,
                _ => &self.virtual_services,
            };
            builder.set(
                kind.collection(),
                self.version.to_string(),
                entries.iter().cloned(),
            );
        }
        self.current = builder.build();
        self.snapshots.publish(self.current.clone());
    }
}

fn entry(config: &Config) -> Arc<Entry> {
    Arc::new(Entry::new(config))
}

fn replace(entries: &mut [Arc<Entry>], service: Service, config: &Config) {
    if let Some(slot) = usize::try_from(service.0)
        .ok()
        .and_then(|index| entries.get_mut(index))
    {
        *slot = entry(config);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(source: &mut MeshSource) -> [(String, usize); 3] {
        source.publish();
        KINDS.map(|kind| {
            let collection = source.current.collection(kind.collection()).unwrap();
            (collection.version().to_owned(), collection.entries().len())
        })
    }

    #[test]
    fn a_change_touches_its_own_collection_only() {
        let mut source = MeshSource::new(20);
        assert_eq!(versions(&mut source), ["1", "1", "1"].map(|v| (v.to_owned(), 20)));
        assert_eq!(source.change_virtual_service(Service(3)), "/gen-000001/");
        assert_eq!(versions(&mut source), ["1", "1", "2"].map(|v| (v.to_owned(), 20)));
        assert_eq!(source.move_endpoint(Service(3)), "10.250.0.3");
        assert_eq!(versions(&mut source), ["3", "1", "2"].map(|v| (v.to_owned(), 20)));
        assert_eq!(source.add_service(), "svc-00020.ns-002.svc.cluster.local");
        assert_eq!(versions(&mut source), ["4", "4", "4"].map(|v| (v.to_owned(), 21)));
    }

    #[test]
    fn a_change_replaces_one_object() {
        let mut source = MeshSource::new(20);
        let before = source.current.clone();
        source.change_virtual_service(Service(3));
        source.publish();
        let entries = |snapshot: &Snapshot| {
            let collection = snapshot.collection(Kind::VirtualService.collection()).unwrap();
            collection.entries().to_vec()
        };
        let changed: Vec<_> = entries(&before)
            .iter()
            .zip(entries(&source.current))
            .filter(|(old, new)| !Arc::ptr_eq(old, new))
            .map(|(_, new)| new.name().to_owned())
            .collect();
        assert_eq!(changed, ["ns-000/svc-00003"]);
    }

    #[test]
    fn sending_again_changes_the_version_and_no_object() {
        let mut source = MeshSource::new(2);
        source.resend();
        source.publish();
        let collection = source
            .current
            .collection(Kind::VirtualService.collection())
            .unwrap();
        assert_eq!(collection.version(), "2");
        assert!(collection.entries().iter().all(|entry| entry.version() == "1"));
    }
}
