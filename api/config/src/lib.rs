//! What the components agree on about configuration: the kinds of objects, how their text is read and checked, and
//! the algebra of hosts, labels, ports and protocols.
//!
//! Pure: no files, sockets, clocks or environment. Whoever reads a file hands over its text.

pub mod decode;
mod error;
mod gateway;
mod host;
pub mod ingress;
mod kind;
mod labels;
pub mod mesh;
mod meta;
mod path;
mod port;
pub mod re2;
pub mod validation;
pub mod yaml;

pub use error::{ConfigError, Location};
pub use gateway::{MESH_GATEWAY, resolve_gateway};
pub use host::{Host, most_specific_first};
pub use kind::{Body, Kind, Schema, Scope};
pub use labels::Labels;
pub use meta::{Config, ConfigKey, Meta, Timestamp};
pub use port::{ParseProtocolError, Port, Protocol};

/// A shared immutable string: names, hosts and label values are held in many places at once.
pub type Str = std::sync::Arc<str>;
