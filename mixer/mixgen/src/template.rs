//! `mixgen template`: the resource of a template.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::args::TemplateArgs;
use crate::descriptors::Descriptors;
use crate::error::Invalid;
use crate::resource;

/// # Errors
///
/// The descriptor is not one of a handler service, or the resource cannot be written.
pub(crate) fn run(args: &TemplateArgs, command_line: &str) -> Result<(), Invalid> {
    let descriptors = Descriptors::read(&args.descriptor, &args.protos.proto_path)?;
    check(&descriptors)?;
    let head = resource::head("template", &args.resource, command_line)?;
    let descriptor = STANDARD.encode(&descriptors.bytes);
    resource::write(
        &args.resource,
        &format!("{head}  descriptor: \"{descriptor}\"\n---\n"),
    )
}

/// Whether Mixer can call adapters by this (§10.3).
fn check(descriptors: &Descriptors) -> Result<(), Invalid> {
    let template = descriptors.template()?;
    let file = template.file;
    let invalid = |reason: &str| descriptors.invalid(format!("{}: {reason}", file.name()));
    if template.name.is_none() {
        return Err(invalid("has no option template_name"));
    }
    let service = file
        .services()
        .find(|service| service.name().starts_with("Handle"));
    let Some(service) = service else {
        return Err(invalid(
            "has no service whose name begins with Handle: make the handler service with mixgen api",
        ));
    };
    if service.methods().len() == 0 {
        return Err(invalid("its service has no method"));
    }
    if !file.messages().any(|message| message.name() == "InstanceMsg") {
        return Err(invalid("has no message InstanceMsg"));
    }
    if template.variety.has_output() && !file.messages().any(|message| message.name() == "OutputMsg") {
        return Err(invalid("has no message OutputMsg, which its variety calls for"));
    }
    Ok(())
}
