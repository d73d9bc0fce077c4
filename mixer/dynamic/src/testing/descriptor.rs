//! Descriptors as objects have them.

use std::error::Error;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver};

/// Where the .proto files of Istio are.
const PROTOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/proto");

/// The descriptor of a file of ours, such as `mixer/template/metric/template_handler_service.proto`, with all of its
/// imports.
///
/// # Panics
///
/// When there is no such file.
#[must_use]
pub fn built_in(file: &str) -> String {
    compile(Path::new(PROTOS), file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The descriptor of a file with this text, with all of its imports.
///
/// # Panics
///
/// When the text does not compile.
#[must_use]
pub fn compiled(name: &str, text: &str) -> String {
    written(name, text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn written(name: &str, text: &str) -> Result<String, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join(name), text)?;
    compile(folder.path(), name)
}

fn compile(folder: &Path, file: &str) -> Result<String, Box<dyn Error>> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(folder.to_owned()));
    resolver.add(IncludeFileResolver::new(PROTOS.into()));
    // What others have written, such as Google's; the descriptors of our own files know nothing of templates.
    let known = mesh_api::descriptors().encode_to_vec();
    resolver.add(DescriptorSetFileResolver::decode(known.as_slice())?);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file(file)?;
    Ok(STANDARD.encode(compiler.encode_file_descriptor_set()))
}
