//! `google.protobuf.Any` with a shared body.

use bytes::Bytes;
use prost::{Message, Name};

/// `google.protobuf.Any` whose body is [`Bytes`]: an encoded resource is packed many times without being copied.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Any {
    /// `type.googleapis.com/<full message name>`.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Any {
    /// Packs a message under its own type URL.
    pub fn pack<M: Name>(message: &M) -> Self {
        Self {
            type_url: type_url_of(&M::full_name()),
            value: message.encode_to_vec().into(),
        }
    }

    /// The full name of the packed message: what follows the last `/` of the type URL.
    pub fn message_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }

    /// Decodes the body as `M`.
    ///
    /// # Errors
    ///
    /// When the body is another message or does not decode.
    pub fn unpack<M: Name + Default>(&self) -> Result<M, prost::DecodeError> {
        if self.message_name() != M::full_name() {
            return Err(prost::DecodeError::new_unexpected_type_url(
                &self.type_url,
                M::full_name(),
            ));
        }
        M::decode(self.value.clone())
    }
}

impl Name for Any {
    const NAME: &'static str = "Any";
    const PACKAGE: &'static str = "google.protobuf";
}

/// The type URL of a message by its full name.
pub(crate) fn type_url_of(full_name: &str) -> String {
    format!("type.googleapis.com/{full_name}")
}
