//! Descriptors that stand in objects.

mod bounds;

use std::panic::catch_unwind;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorSet;

use self::bounds::bounded;

/// No descriptor is longer than this, in bytes of base64. An object of Kubernetes holds less.
const MAX_TEXT: usize = 4 << 20;

/// A descriptor cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// There is none.
    #[error("the descriptor is missing")]
    Missing,
    /// It is too long to be read.
    #[error("the descriptor has {0} letters, which is more than {MAX_TEXT}")]
    TooLong(usize),
    /// Its text is no base64.
    #[error("the descriptor is not base64: {0}")]
    Text(String),
    /// Its bytes are no set of files, or one whose imports are not all there.
    #[error("not a set of files with all of their imports: {0}")]
    Files(String),
    /// It is not what a compiler makes of files that somebody wrote.
    #[error("the descriptor is too large: {0}")]
    TooLarge(String),
    /// None of its files is a template.
    #[error("no file has the option template_variety")]
    NoTemplate,
    /// More than one of its files is a template.
    #[error("{0} and {1} both have the option template_variety")]
    Templates(String, String),
    /// The option has a value that stands for nothing.
    #[error("{0}: there is no template variety {1}")]
    Variety(String, i32),
    /// The template has no name, or one that is none.
    #[error("{0}: the option template_name must be letters")]
    Name(String),
    /// The template has no service, or no message that is needed.
    #[error("{0}: {1} is missing")]
    Incomplete(String, String),
    /// Something is not what it has to be.
    #[error("{0}: {1}")]
    Shape(String, String),
}

/// The files of a descriptor, with their options as they are on the wire.
pub(crate) struct Files {
    pub(crate) pool: DescriptorPool,
    pub(crate) options: Vec<(String, FileOptions)>,
}

/// The options that templates have (`spec 02` §6.1).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FileOptions {
    #[prost(int32, optional, tag = "72295727")]
    pub(crate) template_variety: Option<i32>,
    #[prost(string, optional, tag = "72295888")]
    pub(crate) template_name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct RawSet {
    #[prost(message, repeated, tag = "1")]
    files: Vec<RawFile>,
}

#[derive(Clone, PartialEq, Message)]
struct RawFile {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(message, optional, tag = "8")]
    options: Option<FileOptions>,
}

// === impl Files ===

impl Files {
    /// Reads base64 of a `FileDescriptorSet`, as objects have it.
    pub(crate) fn read(text: &str) -> Result<Self, DescriptorError> {
        if text.len() > MAX_TEXT {
            return Err(DescriptorError::TooLong(text.len()));
        }
        // YAML folds long lines.
        let text: String = text
            .chars()
            .filter(|letter| !letter.is_ascii_whitespace())
            .collect();
        if text.is_empty() {
            return Err(DescriptorError::Missing);
        }
        let encoded = STANDARD
            .decode(text)
            .map_err(|error| DescriptorError::Text(error.to_string()))?;
        Self::decode(&encoded)
    }

    pub(crate) fn decode(encoded: &[u8]) -> Result<Self, DescriptorError> {
        let unreadable = |error: prost::DecodeError| DescriptorError::Files(error.to_string());
        let raw = RawSet::decode(encoded).map_err(unreadable)?;
        let set = bounded(FileDescriptorSet::decode(encoded).map_err(unreadable)?)?;
        // The library was made for descriptors of compilers, and these are whatever somebody wrote.
        let pool = catch_unwind(|| DescriptorPool::from_file_descriptor_set(set))
            .map_err(|_| DescriptorError::Files("they cannot be understood".to_owned()))?
            .map_err(|error| DescriptorError::Files(error.to_string()))?;
        let options = raw
            .files
            .into_iter()
            .map(|file| (file.name.unwrap_or_default(), file.options.unwrap_or_default()))
            .collect();
        Ok(Self { pool, options })
    }
}
