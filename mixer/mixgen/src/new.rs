//! `mixgen new`: the project of an adapter, which builds and runs as it is.

mod language;
mod template;

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use self::template::Template;
use crate::adapter;
use crate::args::{AdapterArgs, NewArgs, ProtoArgs, ResourceArgs};
use crate::descriptors::Descriptors;
use crate::error::Invalid;
use crate::protos;
use crate::resource;

/// Served by adapters with sessions; comes along for those who want them.
const SESSIONS: &str = "istio/mixer/adapter/model/v1beta1/infrastructure_backend.proto";

/// Writes the project.
///
/// # Errors
///
/// A name that is none, an unknown template, or a folder that is there or cannot be written.
pub(crate) fn run(args: &NewArgs) -> Result<(), Invalid> {
    check_name(&args.name)?;
    resource::check_label("--namespace", &args.namespace)?;
    let template = Template::read(&args.template)?;
    let folder = args.output.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    if folder.exists() {
        return Err(Invalid::file(&folder, "is there already"));
    }
    for (name, text) in files(args, &template)? {
        let path = folder.join(&name);
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(Invalid::io(parent))?;
        resource::write_file(&path, &text)?;
    }
    Ok(())
}

/// Names become packages of protos and crates.
fn check_name(name: &str) -> Result<(), Invalid> {
    resource::check_label("NAME", name)?;
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Invalid::new("NAME", format!("{name:?} begins with a digit")));
    }
    Ok(())
}

/// All files of a project, by their paths in it.
fn files(args: &NewArgs, template: &Template) -> Result<Vec<(String, String)>, Invalid> {
    let NewArgs { name, namespace, .. } = args;
    let package = name.replace('-', "_");
    let call = match template.calls {
        template::Calls::Report => "mixc report".to_owned(),
        template::Calls::Check => "mixc check".to_owned(),
        template::Calls::Quota => format!("mixc check -q {name}=1"),
    };
    let adapter_command = format!(
        "adapter -c proto/config.proto -n {name} --namespace {namespace} -t {} -s=false -o config/adapter.yaml",
        template.name
    );
    let values = [
        ("__NAME__", name.clone()),
        ("__NAMESPACE__", namespace.clone()),
        ("__PACKAGE__", package),
        ("__TEMPLATE__", template.name.clone()),
        ("__PARAMS__", template.params.trim_end().to_owned()),
        (
            "__CALL__",
            format!("{call} -s destination.namespace=default,source.name=me,request.path=/hello"),
        ),
        ("__ADAPTER__", format!("mixgen {adapter_command}")),
    ];
    let mut files = language::files(args.lang, template);
    files.extend(
        [
            (
                "proto/config.proto",
                include_str!("../project/proto/config.proto"),
            ),
            (
                "config/handler.yaml",
                include_str!("../project/config/handler.yaml"),
            ),
            (
                "config/instance.yaml",
                include_str!("../project/config/instance.yaml"),
            ),
            ("config/rule.yaml", include_str!("../project/config/rule.yaml")),
            (
                "config/local/attributes.yaml",
                include_str!("../project/config/local/attributes.yaml"),
            ),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned())),
    );
    for (_, text) in &mut files {
        *text = filled(text, &values);
    }

    let config = files.iter().find(|(name, _)| name == "proto/config.proto");
    let config = config.map(|(_, text)| &**text).unwrap_or_default();
    let config = Descriptors::of_texts(&[("config.proto", config)])?;
    files.push((
        "config/adapter.yaml".to_owned(),
        adapter_resource(args, &config.bytes, &adapter_command)?,
    ));
    files.push((
        "config/template.yaml".to_owned(),
        template_resource(namespace, template)?,
    ));

    let service = Descriptors::of_texts(&[(&*template.proto, ""), (SESSIONS, "")])?;
    for file in service.pool.files() {
        // Whatever compiles protos has those of google.protobuf.
        if let Some(text) = protos::text(file.name()) {
            files.push((format!("proto/{}", file.name()), text.to_owned()));
        }
    }
    Ok(files)
}

fn filled(text: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (placeholder, value)| {
        text.replace(placeholder, value)
    })
}

fn resource_args(name: &str, namespace: &str) -> ResourceArgs {
    ResourceArgs {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        output: None,
    }
}

fn adapter_resource(args: &NewArgs, config: &[u8], command: &str) -> Result<String, Invalid> {
    let adapter = AdapterArgs {
        config: None,
        description: String::new(),
        session_based: false,
        templates: vec![args.template.clone()],
        protos: ProtoArgs {
            proto_path: Vec::new(),
        },
        resource: resource_args(&args.name, &args.namespace),
    };
    adapter::text(&adapter, config, command)
}

fn template_resource(namespace: &str, template: &Template) -> Result<String, Invalid> {
    let service = Descriptors::of_texts(&[(&*template.proto, "")])?;
    let command = format!(
        "template -d proto/{} -I proto -n {} --namespace {namespace} -o config/template.yaml",
        template.proto, template.name
    );
    let head = resource::head("template", &resource_args(&template.name, namespace), &command)?;
    Ok(format!(
        "{head}  descriptor: \"{}\"\n---\n",
        STANDARD.encode(service.bytes)
    ))
}
