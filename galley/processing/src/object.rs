//! What every source does with an object that it has read.

use mesh_config::{Config, ConfigError, Location, validation};
use sha2::{Digest as _, Sha256};

/// Checks an object by the rules of part V, and gives it its content's digest as version. `locate` says where a field
/// stands.
///
/// # Errors
///
/// Every rule that it breaks.
pub(crate) fn checked(
    mut config: Config,
    locate: impl Fn(&str) -> Option<Location>,
) -> Result<Config, Vec<ConfigError>> {
    let broken: Vec<_> = validation::validate(&config)
        .into_iter()
        .map(|problem| ConfigError {
            location: locate(&problem.field),
            object: config.meta.key.to_string(),
            field: problem.field,
            reason: problem.reason,
        })
        .collect();
    if !broken.is_empty() {
        return Err(broken);
    }
    config.meta.version = digest(&config);
    Ok(config)
}

/// Identifies what is said of an object: the same when Galley starts again, and when only its status was written.
fn digest(config: &Config) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        // The length keeps neighbours apart.
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    part(config.body.type_url.as_bytes());
    part(&config.body.value);
    for map in [&config.meta.labels, &config.meta.annotations] {
        part(&map.len().to_le_bytes());
        for (name, value) in map {
            part(name.as_bytes());
            part(value.as_bytes());
        }
    }
    part(&config.meta.created.seconds.to_le_bytes());
    part(&config.meta.created.nanos.to_le_bytes());
    hexadecimal(&hash.finalize())
}

/// Identifies some content.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
