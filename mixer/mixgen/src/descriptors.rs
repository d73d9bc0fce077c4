//! Reads what describes messages and services: a descriptor set, or .proto files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_reflect::{DescriptorPool, ExtensionDescriptor, FileDescriptor};
use prost_types::FileDescriptorSet;
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

use crate::error::Invalid;
use crate::protos::Bundled;

/// Package of Mixer's model of adapters.
pub(crate) const MODEL: &str = "istio.mixer.adapter.model.v1beta1";

/// All that one file given by somebody describes, imports included.
pub(crate) struct Descriptors {
    path: PathBuf,
    /// The descriptor set, as it goes into a resource.
    pub(crate) bytes: Vec<u8>,
    /// The same, looked up.
    pub(crate) pool: DescriptorPool,
}

/// The file that declares a template.
pub(crate) struct Template {
    pub(crate) file: FileDescriptor,
    /// Such as `TEMPLATE_VARIETY_REPORT`.
    pub(crate) variety: Variety,
    /// The option `template_name`, if it is set.
    pub(crate) name: Option<String>,
}

/// When a template is used and what its adapters answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variety {
    Check,
    Report,
    Quota,
    AttributeGenerator,
    CheckWithOutput,
}

// === impl Descriptors ===

impl Descriptors {
    /// Reads a file: one whose name ends with `.proto` is compiled, any other one is a descriptor set.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, does not compile, is no descriptor set, or is one without its imports.
    pub(crate) fn read(path: &Path, proto_path: &[PathBuf]) -> Result<Self, Invalid> {
        if path.extension().is_some_and(|extension| extension == "proto") {
            return Self::compile(path, proto_path);
        }
        let bytes = fs::read(path).map_err(Invalid::io(path))?;
        let set = FileDescriptorSet::decode(&*bytes)
            .map_err(|error| Invalid::file(path, format!("is no descriptor set: {error}")))?;
        if set.file.is_empty() {
            return Err(Invalid::file(path, "is a descriptor set without files"));
        }
        let names: BTreeSet<&str> = set.file.iter().map(|file| file.name()).collect();
        for file in &set.file {
            if let Some(missing) = file.dependency.iter().find(|name| !names.contains(&***name)) {
                return Err(Invalid::file(
                    path,
                    format!(
                        "{} imports {missing}, which is not in the descriptor set: run protoc with --include_imports",
                        file.name()
                    ),
                ));
            }
        }
        let pool = DescriptorPool::decode(&*bytes).map_err(Invalid::io(path))?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            pool,
        })
    }

    fn compile(path: &Path, proto_path: &[PathBuf]) -> Result<Self, Invalid> {
        let mut includes = ChainFileResolver::new();
        for folder in proto_path {
            includes.add(IncludeFileResolver::new(folder.clone()));
        }
        if proto_path.is_empty() {
            let own = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            includes.add(IncludeFileResolver::new(own.unwrap_or(Path::new(".")).to_owned()));
        }
        includes.add(Bundled);
        includes.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(includes);
        compiler
            .include_imports(true)
            .include_source_info(true)
            .open_file(path)
            // Its alternate form is one line with the place.
            .map_err(|error| Invalid::file(path, format!("{error:?}")))?;
        Ok(Self {
            path: path.to_owned(),
            bytes: compiler.encode_file_descriptor_set(),
            pool: compiler.descriptor_pool(),
        })
    }

    /// What files describe that are not on disk: texts, or names of [`Bundled`] ones with no text. Without comments.
    ///
    /// # Errors
    ///
    /// One does not compile.
    pub(crate) fn of_texts(files: &[(&str, &str)]) -> Result<Self, Invalid> {
        let mut includes = ChainFileResolver::new();
        includes.add(Texts(
            files
                .iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
        ));
        includes.add(Bundled);
        includes.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(includes);
        compiler.include_imports(true);
        for (name, _) in files {
            compiler
                .open_file(name)
                .map_err(|error| Invalid::new(*name, format!("{error:?}")))?;
        }
        Ok(Self {
            path: files.iter().map(|(name, _)| name).collect(),
            bytes: compiler.encode_file_descriptor_set(),
            pool: compiler.descriptor_pool(),
        })
    }

    /// What somebody gave is wrong.
    pub(crate) fn invalid(&self, reason: impl Into<String>) -> Invalid {
        Invalid::file(&self.path, reason)
    }

    /// The one file that declares a template.
    ///
    /// # Errors
    ///
    /// No file does, or two do, or the variety is none.
    pub(crate) fn template(&self) -> Result<Template, Invalid> {
        let none = || {
            self.invalid(format!(
                "no file has the option ({MODEL}.template_variety), which makes it a template"
            ))
        };
        let option = |name: &str| self.pool.get_extension_by_name(&format!("{MODEL}.{name}"));
        let variety = option("template_variety").ok_or_else(none)?;
        let mut files = self
            .pool
            .files()
            .filter(|file| file.options().has_extension(&variety));
        let file = files.next().ok_or_else(none)?;
        if let Some(second) = files.next() {
            return Err(self.invalid(format!(
                "{} and {} both have the option ({MODEL}.template_variety): only one may",
                file.name(),
                second.name()
            )));
        }
        let number = file
            .options()
            .get_extension(&variety)
            .as_enum_number()
            .unwrap_or_default();
        let variety = Variety::from_number(number)
            .ok_or_else(|| self.invalid(format!("{}: there is no template variety {number}", file.name())))?;
        let text = |option: ExtensionDescriptor| {
            let options = file.options();
            let set = options.has_extension(&option);
            set.then(|| {
                options
                    .get_extension(&option)
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
        };
        let name = option("template_name").and_then(text);
        if let Some(name) = &name
            && !is_template_name(name)
        {
            return Err(self.invalid(format!(
                "{}: the option ({MODEL}.template_name) is {name:?}: only letters make a name",
                file.name()
            )));
        }
        Ok(Template { file, variety, name })
    }
}

/// Finds imports among texts by name.
pub(crate) struct Texts(pub(crate) BTreeMap<String, String>);

// === impl Texts ===

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

// === impl Variety ===

impl Variety {
    fn from_number(number: i32) -> Option<Self> {
        [
            Self::Check,
            Self::Report,
            Self::Quota,
            Self::AttributeGenerator,
            Self::CheckWithOutput,
        ]
        .get(usize::try_from(number).ok()?)
        .copied()
    }

    /// The name in the proto.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Check => "TEMPLATE_VARIETY_CHECK",
            Self::Report => "TEMPLATE_VARIETY_REPORT",
            Self::Quota => "TEMPLATE_VARIETY_QUOTA",
            Self::AttributeGenerator => "TEMPLATE_VARIETY_ATTRIBUTE_GENERATOR",
            Self::CheckWithOutput => "TEMPLATE_VARIETY_CHECK_WITH_OUTPUT",
        }
    }

    /// Whether adapters answer with values.
    pub(crate) fn has_output(self) -> bool {
        matches!(self, Self::AttributeGenerator | Self::CheckWithOutput)
    }
}

/// Whether this may be the name of a template: `^[a-zA-Z]+$`.
pub(crate) fn is_template_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic())
}
