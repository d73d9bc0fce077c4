//! Makes instances of attributes (`spec 02` §6.2): the expressions of an object, compiled once for its template.

mod bindings;
mod common;
mod field;
mod templates;

use std::collections::BTreeMap;

use mesh_api::Any;
use mixer_attribute::{Bag, Track, Untracked, Vocabulary};
use mixer_expr::EvalError;
use prost::{Message, Name};
use serde_json::Value;

use crate::instance::{
    ApiKey, Authorization, CheckNothing, Edge, Kubernetes, KubernetesOutput, ListEntry, LogEntry, Metric,
    Quota, ReportNothing, TraceSpan,
};
use crate::kind::Template;
pub use bindings::{Bindings, Outputs};
pub use common::Common;
use field::{Compiler, FieldMaps, Reader};
use templates::{
    ApiKeyFields, AuthorizationFields, CheckNothingFields, EdgeFields, KubernetesFields, ListEntryFields,
    LogEntryFields, MetricFields, QuotaFields, ReportNothingFields, TraceSpanFields,
};

/// Something is wrong with a field of an instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// Path of the field in its JSON spelling, such as `dimensions[source]`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// An instance cannot be made of a request's attributes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field}: {error}")]
pub struct BuildError {
    /// Path of the field.
    pub field: Box<str>,
    /// Why its expression has no value.
    #[source]
    pub error: EvalError,
}

/// Writes what there is one of for every template: instances, and what makes them.
macro_rules! per_template {
    ($($template:ident $fields:ident $param:path;)*) => {
        /// An instance of some template.
        #[derive(Clone, Debug)]
        #[allow(missing_docs, reason = "they are called after their templates")]
        pub enum Instance<'a> { $($template($template<'a>)),* }

        /// The fields of an instance by template.
        #[derive(Debug)]
        enum Body { $($template(Box<$fields>)),* }

        impl Instance<'_> {
            /// Its template.
            #[must_use]
            pub fn template(&self) -> Template {
                match self { $(Self::$template(_) => Template::$template),* }
            }
        }

        impl Body {
            fn compile(
                template: Template,
                params: &Value,
                compiler: &mut Compiler<'_>,
            ) -> Result<(Self, Any), FieldError> {
                Ok(match template {
                    $(Template::$template => {
                        let fields = $fields::compile(&read::<$param>(params)?, compiler);
                        let inferred = Any::pack(&fields.types());
                        (Self::$template(Box::new(fields)), inferred)
                    })*
                })
            }

            fn build<'r>(&'r self, read: &mut Reader<'_, 'r, impl Track>) -> Result<Instance<'r>, BuildError> {
                Ok(match self {
                    $(Self::$template(fields) => Instance::$template(fields.build(read)?)),*
                })
            }
        }
    };
}

per_template! {
    ApiKey ApiKeyFields mesh_api::apikey::InstanceParam;
    Authorization AuthorizationFields mesh_api::authorization::InstanceParam;
    CheckNothing CheckNothingFields mesh_api::checknothing::InstanceParam;
    Edge EdgeFields mesh_api::edge::InstanceParam;
    Kubernetes KubernetesFields mesh_api::adapter::template::kubernetes::InstanceParam;
    ListEntry ListEntryFields mesh_api::listentry::InstanceParam;
    LogEntry LogEntryFields mesh_api::logentry::InstanceParam;
    Metric MetricFields mesh_api::metric::InstanceParam;
    Quota QuotaFields mesh_api::quota::InstanceParam;
    ReportNothing ReportNothingFields mesh_api::reportnothing::InstanceParam;
    TraceSpan TraceSpanFields mesh_api::tracespan::InstanceParam;
}

/// Compiles the instances of one configuration. What several of them have in common is compiled once, and evaluated once
/// for a request that is reported.
#[derive(Debug)]
pub struct InstanceCompiler<'v> {
    vocabulary: &'v Vocabulary,
    maps: FieldMaps,
}

/// Makes the instances of one object.
#[derive(Debug)]
pub struct InstanceBuilder {
    name: Box<str>,
    template: Template,
    body: Body,
    bindings: Bindings,
    inferred: Any,
}

// === impl InstanceCompiler ===

impl<'v> InstanceCompiler<'v> {
    /// A compiler for the attributes of `vocabulary`.
    #[must_use]
    pub fn new(vocabulary: &'v Vocabulary) -> Self {
        Self {
            vocabulary,
            maps: FieldMaps::default(),
        }
    }

    /// Compiles the parameters of an instance, in either spelling of their fields. `name` is its full name; `bindings` are
    /// attributes, and expressions over what an adapter gives, beside those that stand among the parameters.
    ///
    /// # Errors
    ///
    /// Everything that is wrong: unknown fields, expressions that do not compile or have another type than their field.
    pub fn compile(
        &mut self,
        template: Template,
        name: &str,
        params: &Value,
        bindings: &BTreeMap<String, String>,
    ) -> Result<InstanceBuilder, Vec<FieldError>> {
        let vocabulary = self.vocabulary;
        let mut compiler = Compiler::new(vocabulary, &mut self.maps);
        let (body, inferred) = Body::compile(template, params, &mut compiler).map_err(|error| vec![error])?;
        let mut bindings = bindings.clone();
        if let Body::Kubernetes(fields) = &body {
            bindings.extend(fields.attribute_bindings.clone());
        } else if !bindings.is_empty() {
            let reason = format!("template {template} gives no attributes");
            compiler.refuse("attributeBindings", reason);
        }
        let bindings = Bindings::compile(&bindings, bindings::kubernetes(), vocabulary);
        let mut errors = compiler.into_errors();
        let bindings = bindings.unwrap_or_else(|faults| {
            errors.extend(faults);
            Bindings::default()
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(InstanceBuilder {
            name: name.into(),
            template,
            body,
            bindings,
            inferred,
        })
    }
}

// === impl InstanceBuilder ===

impl InstanceBuilder {
    /// Compiles one instance alone, as [`InstanceCompiler::compile`] does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn compile(
        template: Template,
        name: &str,
        params: &Value,
        bindings: &BTreeMap<String, String>,
        vocabulary: &Vocabulary,
    ) -> Result<Self, Vec<FieldError>> {
        InstanceCompiler::new(vocabulary).compile(template, name, params, bindings)
    }

    /// Full name of its instances.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Their template.
    #[must_use]
    pub fn template(&self) -> Template {
        self.template
    }

    /// The message `Type` of the template: the types of the fields that may be of any.
    #[must_use]
    pub fn inferred(&self) -> &Any {
        &self.inferred
    }

    /// The instance for a request.
    ///
    /// # Errors
    ///
    /// When one of its expressions has no value.
    pub fn build<'r>(&'r self, bag: &Bag<'r>, track: &mut impl Track) -> Result<Instance<'r>, BuildError> {
        self.body.build(&mut Reader {
            name: &self.name,
            bag,
            track,
            common: None,
        })
    }

    /// The instance for a request that is reported. `common`: what is known of the instances that were made of the same bag
    /// before.
    ///
    /// # Errors
    ///
    /// When one of its expressions has no value.
    pub fn build_reported<'r>(
        &'r self,
        bag: &Bag<'r>,
        common: &mut Common<'r>,
    ) -> Result<Instance<'r>, BuildError> {
        self.body.build(&mut Reader {
            name: &self.name,
            bag,
            track: &mut Untracked,
            common: Some(common),
        })
    }

    /// Adds the attributes that an adapter's answer gives (`spec 02` §6.5). An attribute that is there already stays as it
    /// is; what the adapter did not put out counts as absent.
    ///
    /// # Errors
    ///
    /// When the expression of a binding has no value. Nothing is added then.
    pub fn bind<'r>(
        &'r self,
        output: &KubernetesOutput,
        bag: &mut Bag<'r>,
        track: &mut impl Track,
    ) -> Result<(), BuildError> {
        self.bindings.bind(bindings::values(output), bag, track)
    }
}

/// Reads parameters as the message that describes them.
fn read<M: Message + Name + Default>(params: &Value) -> Result<M, FieldError> {
    if params.is_null() {
        return Ok(M::default());
    }
    let any = mesh_config::decode::message(&M::full_name(), params).map_err(|error| FieldError {
        field: error.field,
        reason: error.reason,
    })?;
    M::decode(any.value).map_err(|error| FieldError {
        field: String::new(),
        reason: error.to_string(),
    })
}
