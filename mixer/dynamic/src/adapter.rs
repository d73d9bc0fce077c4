//! Adapters as their objects say (`spec 02` §5.7).

use mesh_api::Any;
use mesh_api::istio::mixer::adapter::model::v1beta1::Info;
use mesh_config::decode::{self, MessageError};
use prost_reflect::MessageDescriptor;
use serde_json::{Map, Value};

use crate::descriptor::{DescriptorError, Files};

/// The message of the parameters.
const PARAMS: &str = "Params";

/// An adapter that runs in a process of its own.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Whether it wants sessions.
    pub session_based: bool,
    /// The templates that it serves, as it names them.
    pub templates: Vec<String>,
    params: Option<MessageDescriptor>,
}

// === impl Adapter ===

impl Adapter {
    /// Reads an object `adapter`.
    ///
    /// # Errors
    ///
    /// When the descriptor of its parameters cannot be used.
    pub fn read(info: Info) -> Result<Self, DescriptorError> {
        let params = match info.config.trim() {
            "" => None,
            config => Some(params(&Files::read(config)?)?),
        };
        Ok(Self {
            session_based: info.session_based,
            templates: info.templates,
            params,
        })
    }

    /// Its parameters, as they are sent. Fields may be spelled as in the .proto file or in JSON.
    ///
    /// # Errors
    ///
    /// Unknown fields and values of a wrong type; any parameter, if it has none.
    pub fn params(&self, given: &Value) -> Result<Option<Any>, MessageError> {
        let nothing = Value::Object(Map::new());
        let given = if given.is_null() { &nothing } else { given };
        match &self.params {
            Some(descriptor) => decode::described(descriptor, given).map(Some),
            None => match given.as_object().and_then(|given| given.keys().next()) {
                None => Ok(None),
                Some(field) => Err(MessageError {
                    field: field.clone(),
                    reason: "the adapter has no parameters".to_owned(),
                }),
            },
        }
    }
}

/// The first message called `Params`, as in 1.1.
fn params(files: &Files) -> Result<MessageDescriptor, DescriptorError> {
    let mut of_files = files
        .options
        .iter()
        .filter_map(|(name, _)| files.pool.get_file_by_name(name));
    of_files
        .find_map(|file| file.messages().find(|message| message.name() == PARAMS))
        .ok_or_else(|| DescriptorError::Incomplete("config".to_owned(), format!("the message {PARAMS}")))
}
