//! What was built: version and revision, as logs, `/version` and the `istio_build` gauge show them.

use serde::Serialize;

/// The version of this workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The revision that was built, from `BUILD_GIT_REVISION` at build time.
pub const REVISION: &str = match option_env!("BUILD_GIT_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Identity of a running binary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildInfo {
    /// Name of the component, such as `pilot-discovery`.
    pub component: String,
    /// Version of the workspace.
    pub version: &'static str,
    /// Source revision, `unknown` when the build did not say.
    pub revision: &'static str,
}

// === impl BuildInfo ===

impl BuildInfo {
    /// The build information of `component`.
    #[must_use]
    pub fn of(component: impl Into<String>) -> Self {
        Self {
            component: component.into(),
            version: VERSION,
            revision: REVISION,
        }
    }
}
