//! The Kubernetes API as the services use it.
//!
//! [`KubeArgs`] makes a client, [`foreign_client`] one for a cluster that somebody else describes. [`Watch`] follows the objects of one kind and tells what changed, [`config::watch`] does so
//! for the kinds of configuration, [`ClusterSecrets`] for the Secrets that name other clusters. [`Election`] lets one replica of many do what only one may do. [`patch`] writes.
//!
//! kube's own watcher lists, resumes and lists again. What this package adds is what every user of it needs: after a new
//! list only differences are told, an object that cannot be read harms nobody else, and a kind that is not served or not
//! allowed is one that has no objects.

mod backoff;
mod client;
mod clusters;
pub mod config;
mod foreign;
mod lease;
pub mod patch;
mod ready;
mod served;
mod watch;

pub use self::client::{ClientError, KubeArgs};
pub use self::clusters::{ClusterEvent, ClusterSecret, ClusterSecrets};
pub use self::foreign::{ForeignError, foreign_client};
pub use self::lease::{Election, Leadership, LeaseParams};
pub use self::ready::until_ready;
pub use self::served::Served;
pub use self::watch::{Event, ObjectName, State, Status, Watch, WatchOptions, strip};

pub use kube::{Client, Error, Resource};
