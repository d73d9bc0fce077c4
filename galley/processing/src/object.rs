//! What every source does with an object that it has read.

use mesh_config::{Config, ConfigError, Location, validation};

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
    config.meta.version = config.content_version();
    Ok(config)
}
