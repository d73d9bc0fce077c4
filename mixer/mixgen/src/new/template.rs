//! What a project says about the template that its adapter serves.

use crate::descriptors::{Descriptors, Variety};
use crate::error::Invalid;

/// The built-in templates, and `params` of an instance that can be made of nearly any request.
const TEMPLATES: &[(&str, &str)] = &[
    (
        "apikey",
        "  params:
    api: '\"hello\"'
    api_operation: request.path | \"\"
    api_key: request.headers[\"x-api-key\"] | \"\"
",
    ),
    (
        "authorization",
        "  params:
    subject:
      user: source.name | \"\"
    action:
      namespace: destination.namespace | \"\"
      method: request.method | \"\"
      path: request.path | \"\"
",
    ),
    ("checknothing", "  params: {}\n"),
    (
        "edge",
        "  params:
    source_workload_name: source.name | \"unknown\"
    destination_workload_namespace: destination.namespace | \"unknown\"
",
    ),
    (
        "kubernetes",
        "  params:
    source_uid: source.uid | \"\"
    destination_uid: destination.uid | \"\"
  attribute_bindings:
    source.namespace: output.source_namespace
",
    ),
    ("listentry", "  params:\n    value: source.name | \"unknown\"\n"),
    (
        "logentry",
        "  params:
    severity: '\"info\"'
    variables:
      source: source.name | \"unknown\"
      path: request.path | \"\"
",
    ),
    (
        "metric",
        "  params:
    value: \"1\"
    dimensions:
      source: source.name | \"unknown\"
      path: request.path | \"\"
      code: response.code | 200
",
    ),
    (
        "quota",
        "  params:\n    dimensions:\n      source: source.name | \"unknown\"\n",
    ),
    ("reportnothing", "  params: {}\n"),
    (
        "tracespan",
        "  params:
    trace_id: request.headers[\"x-b3-traceid\"] | \"\"
    span_name: request.path | \"\"
    source_name: source.name | \"unknown\"
    httpStatusCode: response.code | 200
",
    ),
];

/// Which calls of proxies lead to the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    Report,
    Check,
    Quota,
}

/// A template that is built in.
pub(super) struct Template {
    pub(super) name: String,
    /// The handler service's proto.
    pub(super) proto: String,
    /// Its package.
    pub(super) package: String,
    /// The name within `Handle<Name>Service`.
    pub(super) interface: String,
    pub(super) variety: Variety,
    pub(super) calls: Calls,
    /// Fields of an instance's `spec`.
    pub(super) params: &'static str,
}

// === impl Template ===

impl Template {
    /// # Errors
    ///
    /// There is no such template.
    pub(super) fn read(name: &str) -> Result<Self, Invalid> {
        let Some((_, params)) = TEMPLATES.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = TEMPLATES.iter().map(|(known, _)| *known).collect();
            return Err(Invalid::new(
                "--template",
                format!("there is no template {name:?}, but {}", known.join(", ")),
            ));
        };
        let proto = format!("mixer/template/{name}/template_handler_service.proto");
        let descriptors = Descriptors::of_texts(&[(&*proto, "")])?;
        let template = descriptors.template()?;
        let service = template.file.services().next();
        let interface = service
            .as_ref()
            .and_then(|service| service.name().strip_prefix("Handle")?.strip_suffix("Service"))
            .ok_or_else(|| Invalid::new(&*proto, "has no handler service"))?;
        Ok(Self {
            name: name.to_owned(),
            package: template.file.package_name().to_owned(),
            interface: interface.to_owned(),
            variety: template.variety,
            calls: match template.variety {
                Variety::Report => Calls::Report,
                Variety::Quota => Calls::Quota,
                Variety::Check | Variety::AttributeGenerator | Variety::CheckWithOutput => Calls::Check,
            },
            params,
            proto,
        })
    }

    /// The interface's name as Rust spells it in functions.
    pub(super) fn snake(&self) -> String {
        let mut snake = String::new();
        for letter in self.interface.chars() {
            if letter.is_ascii_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        snake
    }
}
