//! Templates as their descriptors say (`spec 02` §6.1, §10.2, §10.3).

use std::fmt;
use std::sync::Arc;

use http::uri::PathAndQuery;
use mesh_api::istio::mixer::adapter::model::v1beta1::TemplateVariety;
use mixer_attribute::ValueType;
use mixer_template::Variety;
use prost_reflect::{Cardinality, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};

use crate::descriptor::{DescriptorError, FileOptions, Files};
use crate::encode::wrapped;

/// The message that instances are.
const INSTANCE: &str = "InstanceMsg";
/// The message of what an adapter puts out.
const OUTPUT: &str = "OutputMsg";
/// The message of the types of fields that may be of any.
const TYPE: &str = "Type";
/// How the service begins that adapters serve.
const SERVICE_PREFIX: &str = "Handle";

/// A template that is known by its descriptor.
#[derive(Clone)]
pub struct Template {
    name: Arc<str>,
    variety: Variety,
    path: PathAndQuery,
    pub(crate) instance: MessageDescriptor,
    pub(crate) types: Option<MessageDescriptor>,
    pub(crate) output: Option<MessageDescriptor>,
    /// What of the output is an attribute.
    pub(crate) outputs: Vec<(FieldDescriptor, ValueType)>,
}

// === impl Template ===

impl Template {
    /// Reads the descriptor of an object `template`; `name` is the full name of the object.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being one template that can be used.
    pub fn read(name: &str, descriptor: &str) -> Result<Self, DescriptorError> {
        let files = Files::read(descriptor)?;
        let mut templates = files
            .options
            .iter()
            .filter(|(_, options)| options.template_variety.is_some());
        let (file, options) = templates.next().ok_or(DescriptorError::NoTemplate)?;
        if let Some((other, _)) = templates.next() {
            return Err(DescriptorError::Templates(file.clone(), other.clone()));
        }
        let described = files.pool.get_file_by_name(file);
        let described = described.ok_or(DescriptorError::NoTemplate)?;
        Self::of(name, &described, options)
    }

    /// A template that is built in, for adapters that run in a process of their own.
    #[must_use]
    pub fn built_in(template: mixer_template::Template) -> Option<Self> {
        let name = template.name();
        let file = format!("mixer/template/{name}/template_handler_service.proto");
        let file = mesh_api::descriptors().get_file_by_name(&file)?;
        let variety = match template.variety() {
            Variety::Check => TemplateVariety::Check,
            Variety::Report => TemplateVariety::Report,
            Variety::Quota => TemplateVariety::Quota,
            Variety::AttributeGenerator => TemplateVariety::AttributeGenerator,
            Variety::CheckWithOutput => TemplateVariety::CheckWithOutput,
        };
        let options = FileOptions {
            template_variety: Some(variety.into()),
            template_name: Some(name.to_owned()),
        };
        Self::of(name, &file, &options).ok()
    }

    fn of(name: &str, file: &FileDescriptor, options: &FileOptions) -> Result<Self, DescriptorError> {
        let at = || file.name().to_owned();
        let number = options.template_variety.unwrap_or_default();
        let variety = match TemplateVariety::try_from(number) {
            Ok(TemplateVariety::Check) => Variety::Check,
            Ok(TemplateVariety::Report) => Variety::Report,
            Ok(TemplateVariety::Quota) => Variety::Quota,
            Ok(TemplateVariety::AttributeGenerator) => Variety::AttributeGenerator,
            Ok(TemplateVariety::CheckWithOutput) => Variety::CheckWithOutput,
            Err(_) => return Err(DescriptorError::Variety(at(), number)),
        };
        let title = options.template_name.as_deref().unwrap_or_default();
        if title.is_empty() || !title.bytes().all(|letter| letter.is_ascii_alphabetic()) {
            return Err(DescriptorError::Name(at()));
        }
        let missing = |what: String| DescriptorError::Incomplete(at(), what);
        let service = file
            .services()
            .find(|service| service.name().starts_with(SERVICE_PREFIX))
            .ok_or_else(|| missing(format!("the service {SERVICE_PREFIX}…")))?;
        let method = service
            .methods()
            .next()
            .ok_or_else(|| missing(format!("the method of {}", service.name())))?;
        let path = format!("/{}/{}", service.full_name(), method.name());
        let path = PathAndQuery::try_from(path)
            .map_err(|error| DescriptorError::Shape(at(), format!("{}: {error}", service.name())))?;
        let package = file.package_name();
        let message = |name: &str| {
            let full = match package {
                "" => name.to_owned(),
                package => format!("{package}.{name}"),
            };
            file.parent_pool().get_message_by_name(&full)
        };
        let output = match variety {
            Variety::AttributeGenerator | Variety::CheckWithOutput => {
                Some(message(OUTPUT).ok_or_else(|| missing(format!("the message {OUTPUT}")))?)
            }
            Variety::Check | Variety::Report | Variety::Quota => None,
        };
        let outputs = output.iter().flat_map(|output| {
            let fields: Vec<_> = output.fields().collect();
            fields
                .into_iter()
                .filter_map(|field| output_type(&field).map(|value_type| (field, value_type)))
        });
        Ok(Self {
            name: name.into(),
            variety,
            path,
            instance: message(INSTANCE).ok_or_else(|| missing(format!("the message {INSTANCE}")))?,
            types: message(TYPE),
            outputs: outputs.collect(),
            output,
        })
    }

    /// What it is called: the full name of its object, or that of a template that is built in.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it is used.
    #[must_use]
    pub fn variety(&self) -> Variety {
        self.variety
    }

    /// The method that adapters serve. Templates that have it in common are one to an adapter.
    #[must_use]
    pub fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// What of the output is an attribute: name of the field, and its type.
    pub fn outputs(&self) -> impl Iterator<Item = (String, ValueType)> {
        self.outputs
            .iter()
            .map(|(field, value_type)| (field.name().to_owned(), *value_type))
    }
}

/// The type that a field of an output has in expressions; `None` where it is none.
fn output_type(field: &FieldDescriptor) -> Option<ValueType> {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else {
            return None;
        };
        let text = |kind: Kind| kind == Kind::String;
        let of_text = text(entry.map_entry_key_field().kind()) && text(entry.map_entry_value_field().kind());
        return of_text.then_some(ValueType::StringMap);
    }
    if field.cardinality() == Cardinality::Repeated {
        return None;
    }
    Some(match field.kind() {
        Kind::String => ValueType::String,
        Kind::Bool => ValueType::Bool,
        Kind::Double | Kind::Float => ValueType::Double,
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64
        | Kind::Enum(_) => ValueType::Int64,
        Kind::Message(message) => return wrapped(&message),
        Kind::Bytes => return None,
    })
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("name", &self.name)
            .field("variety", &self.variety)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
