//! `mixgen adapter`: the resource of an adapter.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::args::AdapterArgs;
use crate::descriptors::Descriptors;
use crate::error::Invalid;
use crate::resource::{self, scalar};

/// # Errors
///
/// The descriptor has no parameters, or the resource cannot be written.
pub(crate) fn run(args: &AdapterArgs, command_line: &str) -> Result<(), Invalid> {
    let config = match &args.config {
        Some(path) => {
            let descriptors = Descriptors::read(path, &args.protos.proto_path)?;
            check(&descriptors)?;
            descriptors.bytes
        }
        None => Vec::new(),
    };
    let text = text(args, &config, command_line)?;
    resource::write(&args.resource, &text)
}

/// The resource of an adapter whose parameters `config` describes; empty: it has none.
///
/// # Errors
///
/// A name that is none.
pub(crate) fn text(args: &AdapterArgs, config: &[u8], command_line: &str) -> Result<String, Invalid> {
    let mut text = resource::head("adapter", &args.resource, command_line)?;
    text.push_str(&format!(
        "  description: {}\n  session_based: {}\n  templates:\n",
        scalar(&args.description),
        args.session_based
    ));
    for template in &args.templates {
        if template.is_empty() || template.chars().any(char::is_whitespace) {
            return Err(Invalid::new("--templates", format!("{template:?} is no name")));
        }
        text.push_str(&format!("  - {}\n", scalar(template)));
    }
    if config.is_empty() {
        text.push_str("  config: \"\"\n---\n");
    } else {
        text.push_str(&format!("  config: {}\n---\n", STANDARD.encode(config)));
    }
    Ok(text)
}

/// Whether Mixer finds the parameters (§10.3).
fn check(descriptors: &Descriptors) -> Result<(), Invalid> {
    let files: Vec<String> = descriptors
        .pool
        .files()
        .filter(|file| file.messages().any(|message| message.name() == "Params"))
        .map(|file| file.name().to_owned())
        .collect();
    match files.as_slice() {
        [_] => Ok(()),
        [] => {
            Err(descriptors
                .invalid("no file has a message Params, which declares the parameters of an adapter"))
        }
        files => Err(descriptors.invalid(format!(
            "{} all have a message Params: only one may",
            files.join(" and ")
        ))),
    }
}
