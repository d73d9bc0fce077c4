//! The adapters that are built into Mixer (`spec 02` §7): each a folder, all under the contract of [`mixer_adapter`].

pub mod noop;

use mixer_adapter::SomeAdapter;

/// All adapters.
#[must_use]
pub fn all() -> Vec<Box<dyn SomeAdapter>> {
    vec![Box::new(noop::Noop)]
}
