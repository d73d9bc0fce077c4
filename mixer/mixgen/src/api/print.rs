//! A handler service as a proto.

use std::fmt::Write as _;

use super::model::{Field, Message, Model, Type};
use crate::descriptors::{MODEL, Variety};

/// Number of the field with the instance's name.
const NAME: u32 = 72_295_727;
/// Number of the field with the bindings of generated attributes.
const BINDINGS: u32 = 72_295_728;

const VALUE: &str = "istio.policy.v1beta1.Value";
const VALUE_TYPE: &str = "istio.policy.v1beta1.ValueType";

/// Which of a template's messages is made of another one.
#[derive(Clone, Copy)]
enum Made {
    /// What adapters are sent.
    Msg,
    /// Types of the values that operators choose.
    Type,
    /// Expressions.
    InstanceParam,
}

/// The proto of the handler service (`spec 02` §10.2).
pub(super) fn handler_service(model: &Model) -> String {
    let mut body = Body::default();
    body.service(model);
    body.messages(model);
    let text = body.0;

    let mut imports = vec![
        "google/protobuf/any.proto".to_owned(),
        format!("{}/extensions.proto", model.model_folder),
    ];
    match model.variety {
        Variety::Check | Variety::CheckWithOutput => {
            imports.push(format!("{}/check.proto", model.model_folder))
        }
        Variety::Report => imports.push(format!("{}/report.proto", model.model_folder)),
        Variety::Quota => imports.push(format!("{}/quota.proto", model.model_folder)),
        Variety::AttributeGenerator => {}
    }
    // What is named in the text must be imported, and nothing else, or compilers complain.
    let types = text.replace(VALUE_TYPE, "");
    if types.contains("istio.policy.v1beta1.") {
        imports.push(format!("{}/type.proto", model.policy_folder));
    }
    if text.contains(VALUE_TYPE) {
        imports.push(format!("{}/value_type.proto", model.policy_folder));
    }
    imports.sort();

    let mut file = format!(
        "// Made by mixgen of the template {}. Do not edit: change the template instead.\n\nsyntax = \"proto3\";\n\n\
         package {};\n\n",
        model.name, model.package
    );
    for import in imports {
        line(&mut file, &format!("import \"{import}\";"));
    }
    line(
        &mut file,
        &format!("\noption ({MODEL}.template_name) = \"{}\";", model.name),
    );
    line(
        &mut file,
        &format!("option ({MODEL}.template_variety) = {};", model.variety.name()),
    );
    file.push_str(&text);
    file
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[derive(Default)]
struct Body(String);

// === impl Body ===

impl Body {
    fn service(&mut self, model: &Model) {
        let Model { name, interface, .. } = model;
        let response = match model.variety {
            Variety::Check => format!("{MODEL}.CheckResult"),
            Variety::Report => format!("{MODEL}.ReportResult"),
            Variety::Quota => format!("{MODEL}.QuotaResult"),
            Variety::AttributeGenerator => "OutputMsg".to_owned(),
            Variety::CheckWithOutput => format!("Handle{interface}Response"),
        };
        self.comment("", &format!("Served by adapters of the template `{name}`."));
        self.line(&format!("service Handle{interface}Service {{"));
        self.comment("  ", "Called by Mixer with what a rule sends to the adapter.");
        self.line(&format!(
            "  rpc Handle{interface}(Handle{interface}Request) returns ({response});\n}}"
        ));

        self.comment("", "One call.");
        self.line(&format!("message Handle{interface}Request {{"));
        let mut fields = vec![
            if model.variety == Variety::Report {
                ("What it is about.", "repeated InstanceMsg instances", 1)
            } else {
                ("What it is about.", "InstanceMsg instance", 1)
            },
            (
                "Parameters of the handler; for an adapter with sessions the id of the session.",
                "google.protobuf.Any adapter_config",
                2,
            ),
            ("The same for a call that is made again.", "string dedup_id", 3),
        ];
        let quota_request = format!("{MODEL}.QuotaRequest quota_request");
        if model.variety == Variety::Quota {
            fields.push(("How much is asked for.", &quota_request, 4));
        }
        self.fields(fields);

        if model.variety == Variety::CheckWithOutput {
            self.comment("", "The answer.");
            self.line(&format!("message Handle{interface}Response {{"));
            let result = format!("{MODEL}.CheckResult result");
            self.fields([
                ("The decision.", &*result, 1),
                ("Values that header operations can use.", "OutputMsg output", 2),
            ]);
        }
    }

    fn messages(&mut self, model: &Model) {
        for made in [Made::Msg, Made::Type, Made::InstanceParam] {
            for resource in &model.resources {
                let comment = match made {
                    Made::Msg => resource.comment.clone(),
                    Made::Type => format!("Types of the values of a {}.", resource.name),
                    Made::InstanceParam => format!("Expressions of a {}.", resource.name),
                };
                let name = format!("{}{}", resource.name, made.suffix());
                self.message(&comment, &name, resource, made, &[]);
            }
            match made {
                Made::Msg => {
                    let own = ("Name of the instance: name.kind.namespace.", "string name", NAME);
                    self.message(
                        &model.instance.comment,
                        "InstanceMsg",
                        &model.instance,
                        made,
                        &[own],
                    );
                    if model.variety.has_output() {
                        let comment = format!(
                            "{}What is not set counts as absent.",
                            spaced(&model.output.comment)
                        );
                        self.message(&comment, "OutputMsg", &model.output, made, &[]);
                    }
                }
                Made::Type => {
                    let comment = "Types of the values that operators choose.";
                    self.message(comment, "Type", &model.instance, made, &[]);
                }
                Made::InstanceParam => {
                    let bindings = (
                        "Attribute to the expression over the output that fills it.",
                        "map<string, string> attribute_bindings",
                        BINDINGS,
                    );
                    let generates = model.variety == Variety::AttributeGenerator;
                    let own: &[_] = if generates { &[bindings] } else { &[] };
                    self.message(
                        "Expressions of an instance.",
                        "InstanceParam",
                        &model.instance,
                        made,
                        own,
                    );
                }
            }
        }
    }

    fn message(
        &mut self,
        comment: &str,
        name: &str,
        message: &Message,
        made: Made,
        own: &[(&str, &str, u32)],
    ) {
        self.comment("", comment);
        self.line(&format!("message {name} {{"));
        let fields: Vec<(&str, String, u32)> = message
            .fields
            .iter()
            .filter(|field| !matches!(made, Made::Type) || field.kind.is_inferred())
            .map(|field| {
                let declared = format!("{} {}", made.field(field), field.name);
                (&*field.comment, declared, field.number)
            })
            .collect();
        let fields = fields
            .iter()
            .map(|(comment, declared, number)| (*comment, &**declared, *number));
        self.fields(fields.chain(own.iter().copied()));
    }

    fn fields<'a>(&mut self, fields: impl IntoIterator<Item = (&'a str, &'a str, u32)>) {
        for (index, (comment, declared, number)) in fields.into_iter().enumerate() {
            if index > 0 {
                self.line("");
            }
            self.comment_lines("  ", comment);
            self.line(&format!("  {declared} = {number};"));
        }
        self.line("}");
    }

    /// A comment after an empty line.
    fn comment(&mut self, indent: &str, comment: &str) {
        if indent.is_empty() {
            self.line("");
        }
        self.comment_lines(indent, comment);
    }

    fn comment_lines(&mut self, indent: &str, comment: &str) {
        for text in comment.trim_end().lines() {
            let text = text.trim();
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a string does not fail.
            let _ = writeln!(self.0, "{indent}//{space}{text}");
        }
    }

    fn line(&mut self, text: &str) {
        line(&mut self.0, text);
    }
}

/// A comment that another sentence follows.
fn spaced(comment: &str) -> String {
    let comment = comment.trim();
    if comment.is_empty() {
        String::new()
    } else {
        format!("{comment} ")
    }
}

// === impl Made ===

impl Made {
    fn suffix(self) -> &'static str {
        match self {
            Self::Msg => "Msg",
            Self::Type => "Type",
            Self::InstanceParam => "InstanceParam",
        }
    }

    /// The type of a field.
    fn field(self, field: &Field) -> String {
        let kind = self.kind(&field.kind);
        if field.repeated {
            format!("repeated {kind}")
        } else {
            kind
        }
    }

    fn kind(self, kind: &Type) -> String {
        match (self, kind) {
            (_, Type::Resource(name)) => format!("{name}{}", self.suffix()),
            (_, Type::Map(value)) => format!("map<string, {}>", self.kind(value)),
            (Self::InstanceParam, _) => "string".to_owned(),
            (Self::Type, _) => VALUE_TYPE.to_owned(),
            (Self::Msg, Type::Scalar(name)) => (*name).to_owned(),
            (Self::Msg, Type::Value) => VALUE.to_owned(),
            (Self::Msg, Type::Typed(name)) => name.clone(),
        }
    }
}
