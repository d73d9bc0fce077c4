//! `mixgen api`: the handler service of a template.

mod model;
mod print;

use std::io::{Write, stderr};

use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver, GoogleFileResolver};

use self::model::{MODEL_FOLDER, Model, POLICY_FOLDER};
use crate::args::ApiArgs;
use crate::descriptors::{Descriptors, Texts};
use crate::error::Invalid;
use crate::protos::{self, Bundled};
use crate::resource;

/// # Errors
///
/// The template is wrong, what is made of it does not compile, or the file cannot be written.
pub(crate) fn run(args: &ApiArgs) -> Result<(), Invalid> {
    if args.go_out.is_some() || !args.importmapping.is_empty() {
        // Scripts of 1.1 pass both; they must go on, and whoever reads along must know.
        let _ = writeln!(
            stderr(),
            "--go_out and --importmapping: no Go is written, since adapters are processes of their own here; \
             run protoc-gen-go and protoc-gen-go-grpc on {}",
            args.proto_out.display()
        );
    }
    let descriptors = Descriptors::read(&args.template, &args.protos.proto_path)?;
    let model = Model::read(&descriptors)?;
    let text = print::handler_service(&model);
    compile(&descriptors, &model, &text)?;
    resource::write_file(&args.proto_out, &text)
}

/// Whether protoc will take it: names that are made of others may meet.
fn compile(descriptors: &Descriptors, model: &Model, text: &str) -> Result<(), Invalid> {
    const NAME: &str = "template_handler_service.generated.proto";

    let invalid = |error: String| descriptors.invalid(format!("does not make a handler service: {error}"));
    let imports =
        DescriptorSetFileResolver::decode(&*descriptors.bytes).map_err(|error| invalid(error.to_string()))?;
    let mut files = ChainFileResolver::new();
    files.add(Texts([(NAME.to_owned(), text.to_owned())].into()));
    files.add(imports);
    // A template need not import all that its service does.
    files.add(Elsewhere([
        (model.model_folder.clone(), MODEL_FOLDER),
        (model.policy_folder.clone(), POLICY_FOLDER),
    ]));
    files.add(Bundled);
    files.add(GoogleFileResolver::new());
    Compiler::with_file_resolver(files)
        .open_file(NAME)
        .map_err(|error| invalid(format!("{error:?}")))?;
    Ok(())
}

/// Finds Mixer's own protos in the folders that a template imports them from.
struct Elsewhere([(String, &'static str); 2]);

// === impl Elsewhere ===

impl FileResolver for Elsewhere {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let text = self.0.iter().find_map(|(folder, ours)| {
            let file = name.strip_prefix(&**folder)?.strip_prefix('/')?;
            protos::text(&format!("{ours}/{file}"))
        });
        let text = text.ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}
