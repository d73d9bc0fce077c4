//! The protos that adapters are written against.

use protox::Error;
use protox::file::{File, FileResolver};

/// Name for imports, and text, ordered by name: Mixer's model of adapters, policies' values, the built-in templates with
/// their handler services, and what those import beyond `google.protobuf`.
pub(crate) const PROTOS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/protos.rs"));

/// The text of a file of [`PROTOS`].
pub(crate) fn text(name: &str) -> Option<&'static str> {
    let index = PROTOS.binary_search_by_key(&name, |(name, _)| name).ok()?;
    PROTOS.get(index).map(|(_, text)| *text)
}

/// Finds imports among [`PROTOS`].
#[derive(Debug)]
pub(crate) struct Bundled;

// === impl Bundled ===

impl FileResolver for Bundled {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        let text = text(name).ok_or_else(|| Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_compiles_from_what_is_taken_along() {
        let mut chain = protox::file::ChainFileResolver::new();
        chain.add(Bundled);
        chain.add(protox::file::GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(chain);
        for (name, _) in PROTOS {
            compiler.open_file(name).unwrap();
        }
        assert!(text("mixer/template/metric/template_handler_service.proto").is_some());
        assert!(text("mixer/template/nothing.proto").is_none());
    }
}
