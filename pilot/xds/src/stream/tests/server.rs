//! The server's side of a stream, with its responses in a readable form.

use std::collections::BTreeMap;

use mesh_api::envoy::service::discovery::v3::Resource;
use mesh_api::{Any, type_url};
use pilot_networking::XdsType;
use prost::Message;

use super::mesh::Mesh;
use crate::stream::{Impact, Outgoing, Protocol, Request, Step, StreamState};

/// A stream and what is published.
pub(super) struct Server {
    pub(super) state: StreamState,
    pub(super) mesh: Mesh,
    pub(super) protocol: Protocol,
    generation: u32,
}

/// A response.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) xds_type: XdsType,
    pub(super) version: String,
    pub(super) nonce: String,
    /// Text by name.
    pub(super) resources: BTreeMap<String, String>,
    /// Versions by name (delta).
    pub(super) versions: BTreeMap<String, String>,
    pub(super) removed: Vec<String>,
}

impl Server {
    pub(super) fn new(protocol: Protocol, mesh: Mesh) -> Self {
        Self {
            state: StreamState::new(protocol),
            mesh,
            protocol,
            generation: 1,
        }
    }

    /// A server whose client has asked for everything, got it and accepted it.
    pub(super) fn settled(protocol: Protocol, mesh: Mesh) -> Self {
        let mut server = Self::new(protocol, mesh);
        let mesh = server.mesh.clone();
        let eds = mesh
            .clusters
            .iter()
            .filter(|(_, text)| text.starts_with("eds"))
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>();
        let routes: Vec<&str> = mesh.routes.keys().map(String::as_str).collect();
        for (xds_type, names) in [
            (XdsType::Cluster, &[][..]),
            (XdsType::Endpoint, &eds),
            (XdsType::Listener, &[]),
            (XdsType::Route, &routes),
        ] {
            assert_eq!(server.ask(xds_type, names), Step::Respond);
            let sent = server.only();
            assert_eq!(sent.xds_type, xds_type);
            assert_eq!(server.ack(&sent), Step::Ack);
        }
        assert!(server.state.is_settled());
        server
    }

    /// A first request, or one that adds names in delta.
    pub(super) fn ask(&mut self, xds_type: XdsType, names: &[&str]) -> Step {
        self.request(
            xds_type,
            &Request {
                subscribe: owned(names).into_iter().collect(),
                ..Request::default()
            },
        )
    }

    /// The answer to a response, with other names than before (state of the world).
    pub(super) fn ack_with(&mut self, sent: &Sent, names: &[&str]) -> Step {
        self.request(
            sent.xds_type,
            &Request {
                nonce: sent.nonce.clone(),
                subscribe: owned(names).into_iter().collect(),
                ..Request::default()
            },
        )
    }

    pub(super) fn ack(&mut self, sent: &Sent) -> Step {
        let names = self.names(sent.xds_type);
        self.request(
            sent.xds_type,
            &Request {
                nonce: sent.nonce.clone(),
                subscribe: names.into_iter().collect(),
                ..Request::default()
            },
        )
    }

    pub(super) fn nack(&mut self, sent: &Sent) -> Step {
        let names = self.names(sent.xds_type);
        self.request(
            sent.xds_type,
            &Request {
                nonce: sent.nonce.clone(),
                error: Some((3, "bad".to_owned())),
                subscribe: names.into_iter().collect(),
                ..Request::default()
            },
        )
    }

    pub(super) fn request(&mut self, xds_type: XdsType, request: &Request) -> Step {
        self.state.on_request(xds_type, request)
    }

    pub(super) fn publish(&mut self, change: impl FnOnce(Mesh) -> Mesh) {
        let former = std::mem::take(&mut self.mesh);
        self.mesh = change(former.clone());
        self.generation += 1;
        let is_incremental = Mesh {
            endpoints: former.endpoints.clone(),
            ..self.mesh.clone()
        } == former;
        self.state.on_publish(if is_incremental {
            Impact::Endpoints
        } else {
            Impact::Everything
        });
    }

    /// The next response.
    pub(super) fn next(&mut self) -> Option<Sent> {
        let mesh = &self.mesh;
        let version = self.generation.to_string();
        let outgoing = self
            .state
            .advance(&version, &mut |xds_type, names| mesh.plan(xds_type, names))?;
        Some(read(self.protocol, outgoing))
    }

    /// The only response that is due.
    #[track_caller]
    pub(super) fn only(&mut self) -> Sent {
        let sent = self.next().expect("a response");
        self.nothing();
        sent
    }

    #[track_caller]
    pub(super) fn nothing(&mut self) {
        let next = self.next();
        assert!(next.is_none(), "unexpected {next:?}");
    }

    /// All responses until the client has to answer, each in short.
    pub(super) fn all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next().map(|sent| sent.short())).collect()
    }

    /// Names are repeated in every request of state of the world, never in delta.
    fn names(&self, xds_type: XdsType) -> Vec<String> {
        let subscription = self.state.subscription(xds_type);
        match self.protocol {
            Protocol::Delta => Vec::new(),
            Protocol::StateOfTheWorld => subscription
                .into_iter()
                .flat_map(|subscription| subscription.names())
                .map(ToString::to_string)
                .collect(),
        }
    }
}

impl Sent {
    /// `type +text +text -removed`.
    pub(super) fn short(&self) -> String {
        let mut short = self.xds_type.to_string();
        for (name, text) in &self.resources {
            short += &format!(" +{name} {text}");
        }
        for name in &self.removed {
            short += &format!(" -{name}");
        }
        short
    }
}

fn read(protocol: Protocol, outgoing: Outgoing) -> Sent {
    let Outgoing {
        xds_type,
        version,
        nonce,
        resources,
        removed,
    } = outgoing;
    let mut sent = Sent {
        xds_type,
        version,
        nonce,
        resources: BTreeMap::new(),
        versions: BTreeMap::new(),
        removed,
    };
    for body in resources.bodies().expect("framed by us") {
        let any = match protocol {
            Protocol::StateOfTheWorld => Any::decode(body).expect("encoded by us"),
            Protocol::Delta => {
                let resource = Resource::decode(body).expect("encoded by us");
                sent.versions.insert(resource.name, resource.version);
                resource.resource.expect("has a body")
            }
        };
        assert_eq!(any.type_url, xds_type.type_url());
        assert_ne!(any.type_url, type_url::SECRET);
        let text = std::str::from_utf8(&any.value).expect("text");
        let (name, text) = text.split_once(' ').expect("a name and a text");
        let former = sent.resources.insert(name.to_owned(), text.to_owned());
        assert!(former.is_none(), "{name} is sent twice in one response");
    }
    sent
}

pub(super) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
