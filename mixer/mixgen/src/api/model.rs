//! What a template declares.

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, Syntax};

use crate::descriptors::{Descriptors, MODEL, Variety, is_template_name};
use crate::error::Invalid;

/// The message whose values may be of any type.
const VALUE: &str = "istio.policy.v1beta1.Value";

/// Where our protos of Mixer's model are.
pub(super) const MODEL_FOLDER: &str = "istio/mixer/adapter/model/v1beta1";

/// Where our protos of policies' values are.
pub(super) const POLICY_FOLDER: &str = "istio/policy/v1beta1";

/// The other messages that stand for a type of values.
const TYPED: &[&str] = &[
    "istio.policy.v1beta1.TimeStamp",
    "istio.policy.v1beta1.Duration",
    "istio.policy.v1beta1.IPAddress",
    "istio.policy.v1beta1.DNSName",
    "istio.policy.v1beta1.EmailAddress",
    "istio.policy.v1beta1.Uri",
];

/// A template, read from its proto.
pub(super) struct Model {
    /// Package in lower case, which is that of the handler service.
    pub(super) package: String,
    /// Name of the template, in lower case.
    pub(super) name: String,
    /// The name within `Handle<Name>Service`.
    pub(super) interface: String,
    pub(super) variety: Variety,
    /// Folder of Mixer's model as the template's proto imports it, such as `istio/mixer/adapter/model/v1beta1`.
    pub(super) model_folder: String,
    /// Folder of `type.proto` and `value_type.proto`, likewise.
    pub(super) policy_folder: String,
    /// What is handed to adapters.
    pub(super) instance: Message,
    /// What they return; empty if the variety has no output.
    pub(super) output: Message,
    /// Messages of the same package that fields are made of.
    pub(super) resources: Vec<Message>,
}

/// A message of the template's package.
#[derive(Default)]
pub(super) struct Message {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) fields: Vec<Field>,
}

pub(super) struct Field {
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) comment: String,
    pub(super) repeated: bool,
    pub(super) kind: Type,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Type {
    /// `string`, `int64`, `double`, `bool`.
    Scalar(&'static str),
    /// A value of any type.
    Value,
    /// One of [`TYPED`].
    Typed(String),
    /// A message of the template's package, by its name there.
    Resource(String),
    /// A map from text.
    Map(Box<Type>),
}

// === impl Model ===

impl Model {
    /// # Errors
    ///
    /// The first thing that keeps it from being a template, with its file.
    pub(super) fn read(descriptors: &Descriptors) -> Result<Self, Invalid> {
        let template = descriptors.template()?;
        let file = &template.file;
        let invalid = |reason: String| descriptors.invalid(format!("{}: {reason}", file.name()));
        if file.syntax() != Syntax::Proto3 {
            return Err(invalid("is not written in proto3".to_owned()));
        }
        let package = file.package_name();
        let last = package.rsplit('.').next().unwrap_or_default();
        if last.is_empty() {
            return Err(invalid("has no package".to_owned()));
        }
        let name = template.name.as_deref().unwrap_or(last);
        if !is_template_name(name) {
            return Err(invalid(format!(
                "the last part of package {package} is not made of letters only: set the option ({MODEL}.template_name)"
            )));
        }
        let values_allowed = template.variety != Variety::AttributeGenerator;
        let reader = Reader {
            package,
            values_allowed,
            invalid: &|reason: String| descriptors.invalid(reason),
        };
        let declared = |name: &str| {
            let message = file.messages().find(|message| message.name() == name);
            message.ok_or_else(|| invalid(format!("has no message {name}")))
        };
        let instance = reader.message(&declared("Template")?)?;
        let output = if template.variety.has_output() {
            let output = reader.message(&declared("OutputTemplate")?)?;
            if let Some(field) = output.fields.iter().find(|field| !field.may_be_output()) {
                return Err(invalid(format!(
                    "OutputTemplate.{}: a field of an output is text, a number, a bool, map<string, string> or a type of \
                     istio.policy.v1beta1 other than Value",
                    field.name
                )));
            }
            output
        } else {
            Message::default()
        };
        let mut resources = Vec::new();
        for file in descriptors
            .pool
            .files()
            .filter(|file| file.package_name() == package)
        {
            let others = file
                .messages()
                .filter(|message| !["Template", "OutputTemplate"].contains(&message.name()));
            for message in others {
                resources.push(reader.message(&message)?);
            }
        }
        Ok(Self {
            package: package.to_ascii_lowercase(),
            name: name.to_ascii_lowercase(),
            interface: capitalized(name),
            variety: template.variety,
            model_folder: folder_of(
                &descriptors.pool,
                &format!("{MODEL}.TemplateVariety"),
                MODEL_FOLDER,
            ),
            policy_folder: folder_of(&descriptors.pool, VALUE, POLICY_FOLDER),
            instance,
            output,
            resources,
        })
    }
}

/// Where a message or an enum is declared: protos of 1.1 are imported from other folders than ours.
fn folder_of(pool: &DescriptorPool, name: &str, default: &str) -> String {
    let message = pool
        .get_message_by_name(name)
        .map(|message| message.parent_file());
    let file = message.or_else(|| Some(pool.get_enum_by_name(name)?.parent_file()));
    let folder = file.and_then(|file| Some(file.name().rsplit_once('/')?.0.to_owned()));
    folder.unwrap_or_else(|| default.to_owned())
}

fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

struct Reader<'a> {
    package: &'a str,
    values_allowed: bool,
    invalid: &'a dyn Fn(String) -> Invalid,
}

// === impl Reader ===

impl Reader<'_> {
    fn message(&self, message: &MessageDescriptor) -> Result<Message, Invalid> {
        let file = message.parent_file();
        let comments = comments(&file);
        let invalid = |field: &str, reason: &str| {
            (self.invalid)(format!("{}: {}.{field}: {reason}", file.name(), message.name()))
        };
        let mut fields = Vec::new();
        // In the order of the file, which is that of the descriptor.
        for declared in &message.descriptor_proto().field {
            let number = u32::try_from(declared.number()).unwrap_or_default();
            let Some(field) = message.get_field(number) else {
                continue;
            };
            if field.name().eq_ignore_ascii_case("name") {
                return Err(invalid(
                    field.name(),
                    "is the name of the instance, which every instance has",
                ));
            }
            if field.containing_oneof().is_some() || declared.proto3_optional() {
                return Err(invalid(
                    field.name(),
                    "is optional or in a oneof, which a template cannot have",
                ));
            }
            let kind = self.kind(&field).ok_or_else(|| {
                let value = if self.values_allowed { "Value and " } else { "" };
                invalid(
                    field.name(),
                    &format!(
                        "is of a type that no template has: string, int64, double, bool, {value}the typed values of \
                         istio.policy.v1beta1, messages of {}, and map<string, any of them>",
                        self.package
                    ),
                )
            })?;
            fields.push(Field {
                name: field.name().to_owned(),
                number,
                comment: comments.get(field.path()).cloned().unwrap_or_default(),
                repeated: field.is_list(),
                kind,
            });
        }
        Ok(Message {
            name: message.name().to_owned(),
            comment: comments.get(message.path()).cloned().unwrap_or_default(),
            fields,
        })
    }

    fn kind(&self, field: &FieldDescriptor) -> Option<Type> {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else {
                return None;
            };
            if entry.map_entry_key_field().kind() != Kind::String {
                return None;
            }
            return Some(Type::Map(Box::new(self.kind(&entry.map_entry_value_field())?)));
        }
        match field.kind() {
            Kind::String => Some(Type::Scalar("string")),
            Kind::Int64 => Some(Type::Scalar("int64")),
            Kind::Double => Some(Type::Scalar("double")),
            Kind::Bool => Some(Type::Scalar("bool")),
            Kind::Message(message) if message.full_name() == VALUE => {
                self.values_allowed.then_some(Type::Value)
            }
            Kind::Message(message) if TYPED.contains(&message.full_name()) => {
                Some(Type::Typed(message.full_name().to_owned()))
            }
            // Nested messages have no name of their own in the package.
            Kind::Message(message)
                if message.package_name() == self.package && message.parent_message().is_none() =>
            {
                Some(Type::Resource(message.name().to_owned()))
            }
            _ => None,
        }
    }
}

// === impl Field ===

impl Field {
    fn may_be_output(&self) -> bool {
        !self.repeated
            && match &self.kind {
                Type::Scalar(_) | Type::Typed(_) => true,
                Type::Map(value) => **value == Type::Scalar("string"),
                Type::Value | Type::Resource(_) => false,
            }
    }
}

// === impl Type ===

impl Type {
    /// Whether the adapter must be told a type that an operator chose, here or further in.
    pub(super) fn is_inferred(&self) -> bool {
        match self {
            Self::Value | Self::Resource(_) => true,
            Self::Map(value) => value.is_inferred(),
            Self::Scalar(_) | Self::Typed(_) => false,
        }
    }
}

/// Comments of a file by path.
fn comments(file: &FileDescriptor) -> BTreeMap<Vec<i32>, String> {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let locations = info.into_iter().flat_map(|info| &info.location);
    locations
        .filter_map(|location| Some((location.path.clone(), location.leading_comments.clone()?)))
        .collect()
}
