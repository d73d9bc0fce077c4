//! What is said of objects, and of which nothing is said.

mod mistakes;
mod properties;
mod samples;

use galley_analysis::{KINDS, Known};
use mesh_config::{Config, Kind, decode, yaml};

/// The objects of a file that are of our kinds.
fn objects(text: &str) -> Vec<Config> {
    yaml::documents("objects", text)
        .iter()
        .map(|document| document.as_ref().unwrap_or_else(|error| panic!("{error}")))
        .filter(|document| matches!(decode::classify(document), decode::Class::Known(_)))
        .map(|document| decode::object(document).unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

/// All of these kinds are known, and there are these objects.
fn known(kinds: &[Kind], text: &str) -> Known {
    let mut known = Known::new("cluster.local");
    for object in objects(text) {
        known.apply(&object);
    }
    for &kind in kinds {
        known.synced(kind);
    }
    known
}

fn everything(text: &str) -> Known {
    known(KINDS, text)
}
