//! Whatever is published and however a client behaves, it ends with what is published, and its routes never lead to
//! clusters that it does not have.

use std::collections::BTreeSet;

use pilot_networking::XdsType;
use proptest::prelude::*;

use super::client::{Client, POISON};
use super::mesh::Mesh;
use super::server::Server;
use crate::stream::{Protocol, StreamState};

const CLUSTERS: [&str; 5] = ["a", "b", "c", "d", "inbound"];
const LISTENERS: [&str; 3] = ["80", "81", "inbound"];
const ROUTES: [&str; 3] = ["http", "http-alt", "other"];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// These changes are published together.
    Publish(Vec<Change>),
    /// The server sends its next response, if it has one.
    Send,
    /// The client takes its next response.
    Take,
    /// The server reads the next request.
    Read,
    /// An operator asks for everything to be sent again.
    Resend,
    /// The server loses its patience.
    GiveUp,
    /// The stream breaks and the client opens another.
    Reconnect,
    /// The client asks again for something that it has.
    AskAgain(XdsType),
}

/// One change of the mesh. Positions beyond the end of a list mean its start.
#[derive(Clone, Debug)]
struct Change {
    what: Subject,
    version: u8,
    /// One bit for each name that is referred to.
    refers: u8,
    poisoned: bool,
}

#[derive(Clone, Copy, Debug)]
enum Subject {
    Cluster(usize),
    NoCluster(usize),
    Endpoints(usize),
    Listener(usize),
    NoListener(usize),
    Route(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let what = prop_oneof![
        3 => (0..CLUSTERS.len()).prop_map(Subject::Cluster),
        3 => (0..CLUSTERS.len()).prop_map(Subject::NoCluster),
        2 => (0..CLUSTERS.len()).prop_map(Subject::Endpoints),
        2 => (0..LISTENERS.len()).prop_map(Subject::Listener),
        1 => (0..LISTENERS.len()).prop_map(Subject::NoListener),
        4 => (0..ROUTES.len()).prop_map(Subject::Route),
    ];
    (what, 0..3u8, any::<u8>(), prop::bool::weighted(0.1)).prop_map(|(what, version, refers, poisoned)| {
        Change {
            what,
            version,
            refers,
            poisoned,
        }
    })
}

/// What happens while nothing is wrong.
fn ordinary_event() -> impl Strategy<Value = Event> {
    let change = change().prop_map(|change| Change {
        poisoned: false,
        ..change
    });
    prop_oneof![
        4 => prop::collection::vec(change, 1..4).prop_map(Event::Publish),
        12 => Just(Event::Send),
        12 => Just(Event::Take),
        12 => Just(Event::Read),
        1 => Just(Event::AskAgain(XdsType::Endpoint)),
        1 => Just(Event::AskAgain(XdsType::Route)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => prop::collection::vec(change(), 1..4).prop_map(Event::Publish),
        12 => Just(Event::Send),
        12 => Just(Event::Take),
        12 => Just(Event::Read),
        1 => Just(Event::Resend),
        1 => Just(Event::GiveUp),
        1 => Just(Event::Reconnect),
        1 => Just(Event::AskAgain(XdsType::Endpoint)),
        1 => Just(Event::AskAgain(XdsType::Route)),
    ]
}

/// A stream with both of its ends.
struct Stream {
    server: Server,
    client: Client,
    strict: bool,
    /// Clusters that were bad at some time: routes may lead to them although the client never had them.
    ever_poisoned: BTreeSet<String>,
    /// A client of state of the world that comes back does not say what it has, so it loses at once what is gone.
    is_coming_back: bool,
}

impl Stream {
    fn new(protocol: Protocol, strict: bool) -> Self {
        Self {
            server: Server::new(protocol, Mesh::sample()),
            client: Client::new(protocol, strict),
            strict,
            ever_poisoned: BTreeSet::new(),
            is_coming_back: false,
        }
    }

    fn play(&mut self, event: &Event) {
        match event {
            Event::Publish(changes) => {
                let mut mesh = self.server.mesh.clone();
                for change in changes {
                    mesh = self.change(mesh, change);
                }
                self.server.publish(|_| mesh);
            }
            Event::Send => {
                self.send();
            }
            Event::Take => self.client.take(),
            Event::Read => {
                self.read();
            }
            Event::Resend => self.server.state.resend_all(),
            Event::GiveUp => self.server.state.give_up_waiting(),
            Event::Reconnect => {
                self.server.state = StreamState::new(self.server.protocol);
                self.client.connect();
                self.is_coming_back = self.server.protocol == Protocol::StateOfTheWorld;
            }
            Event::AskAgain(xds_type) => self.client.ask_again(*xds_type),
        }
    }

    fn change(&mut self, mesh: Mesh, change: &Change) -> Mesh {
        let &Change {
            what,
            version,
            refers,
            poisoned,
        } = change;
        let poison = if poisoned {
            format!(" {POISON}")
        } else {
            String::new()
        };
        let refer = |names: &[&str]| -> String {
            let chosen = names
                .iter()
                .enumerate()
                .filter(|(bit, _)| refers & (1 << bit) != 0);
            chosen.map(|(_, name)| format!(" {name}")).collect()
        };
        match what {
            Subject::Cluster(position) => {
                let name = CLUSTERS[position];
                let eds = if refers & 1 == 0 { "eds " } else { "" };
                // A client that takes nothing of a bad response has no new cluster either.
                let poison = if self.strict { "" } else { &*poison };
                if !poison.is_empty() {
                    self.ever_poisoned.insert(name.to_owned());
                }
                mesh.cluster(name, &format!("{eds}{version}{poison}"))
            }
            Subject::NoCluster(position) => {
                let name = CLUSTERS[position];
                let mut mesh = mesh.without(XdsType::Cluster, name);
                for text in mesh.routes.values_mut() {
                    *text = text
                        .split(' ')
                        .filter(|word| *word != name)
                        .collect::<Vec<_>>()
                        .join(" ");
                }
                mesh
            }
            Subject::Endpoints(position) => {
                mesh.endpoints(CLUSTERS[position], &format!("10.0.0.{version}{poison}"))
            }
            // Route names follow the version, so no poison can be mistaken for one.
            Subject::Listener(position) => {
                let routes = refer(&ROUTES);
                let version = if poisoned {
                    format!("{version}-{POISON}")
                } else {
                    version.to_string()
                };
                mesh.listener(LISTENERS[position], &format!("{version}{routes}"))
            }
            Subject::NoListener(position) => mesh.without(XdsType::Listener, LISTENERS[position]),
            Subject::Route(position) => {
                let known: Vec<&str> = CLUSTERS
                    .into_iter()
                    .filter(|name| mesh.clusters.contains_key(*name))
                    .collect();
                let clusters = refer(&known);
                mesh.route(ROUTES[position], &format!("{version}{clusters}{poison}"))
            }
        }
    }

    fn send(&mut self) -> bool {
        let sent = self.server.next();
        let sends = sent.is_some();
        self.client.inbox.extend(sent);
        sends
    }

    fn read(&mut self) -> bool {
        let request = self.client.outbox.pop_front();
        if let Some((xds_type, request)) = &request {
            self.server.request(*xds_type, request);
        }
        request.is_some()
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let dangling = self.client.dangling();
        let dangling: Vec<_> = dangling.difference(&self.ever_poisoned).collect();
        prop_assert!(
            self.is_coming_back || dangling.is_empty(),
            "routes lead to {:?}, which the client does not have",
            dangling
        );
        Ok(())
    }

    /// Lets everybody do everything that is left to do.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..1000 {
            let sends = self.send();
            self.client.take();
            self.check()?;
            if !self.read() && !sends && self.client.inbox.is_empty() {
                prop_assert!(
                    self.server.state.is_settled(),
                    "nothing happens, but something is open"
                );
                // A route that was rejected may lead to what was lost for longer.
                self.is_coming_back &= !self.client.dangling().is_empty();
                return Ok(());
            }
        }
        Err(TestCaseError::fail("the stream does not come to rest"))
    }
}

/// What a client of a mesh should hold.
fn wanted(mesh: &Mesh) -> [Vec<(String, String)>; 4] {
    let text = |xds_type, name: &String| {
        let text = mesh.text(xds_type, name).expect("named types always have one");
        (name.clone(), text.to_owned())
    };
    let eds = mesh.clusters.iter().filter(|(_, text)| text.starts_with("eds"));
    let routes: BTreeSet<String> = mesh
        .listeners
        .values()
        .flat_map(|text| text.split(' ').skip(1).map(str::to_owned))
        .collect();
    [
        mesh.clusters.clone().into_iter().collect(),
        eds.map(|(name, _)| text(XdsType::Endpoint, name)).collect(),
        mesh.listeners.clone().into_iter().collect(),
        routes.iter().map(|name| text(XdsType::Route, name)).collect(),
    ]
}

fn without_poison(mut mesh: Mesh) -> Mesh {
    let tables = [
        &mut mesh.clusters,
        &mut mesh.endpoints,
        &mut mesh.listeners,
        &mut mesh.routes,
    ];
    for text in tables.into_iter().flat_map(|table| table.values_mut()) {
        *text = text
            .replace(&format!(" {POISON}"), "")
            .replace(&format!("-{POISON}"), "");
    }
    mesh
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn clients_end_with_what_is_published_and_their_routes_never_dangle(
        events in prop::collection::vec(event(), 0..120),
        strict in any::<bool>(),
    ) {
        for protocol in [Protocol::StateOfTheWorld, Protocol::Delta] {
            let mut stream = Stream::new(protocol, strict);
            for event in &events {
                stream.play(event);
                stream.check()?;
            }
            stream.settle()?;
            stream.server.publish(without_poison);
            stream.settle()?;

            let wanted = wanted(&stream.server.mesh);
            for (xds_type, wanted) in XdsType::ALL.into_iter().zip(wanted) {
                let held = stream.client.held[xds_type as usize].clone();
                prop_assert_eq!(
                    held.into_iter().collect::<Vec<_>>(),
                    wanted,
                    "{} over {:?}",
                    xds_type,
                    protocol
                );
            }
            prop_assert_eq!(&stream.client.warming, &BTreeSet::new(), "clusters wait for endpoints");
            stream.server.publish(|mesh| mesh);
            prop_assert!(stream.server.next().is_none(), "nothing changed");
        }
    }

    /// Pain 5.
    #[test]
    fn a_route_that_a_client_has_never_comes_before_its_cluster_is_warm(
        events in prop::collection::vec(ordinary_event(), 0..120),
    ) {
        for protocol in [Protocol::StateOfTheWorld, Protocol::Delta] {
            let mut stream = Stream::new(protocol, true);
            stream.settle()?;
            for event in &events {
                stream.play(event);
            }
            stream.settle()?;
            prop_assert_eq!(&stream.client.overtaken, &BTreeSet::new(), "over {:?}", protocol);
        }
    }
}
