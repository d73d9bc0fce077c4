//! The command line: flags of Istio 1.1.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

/// Makes what authors of Mixer's adapters need.
#[derive(Debug, Parser)]
#[command(name = "mixgen")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes the resource that tells Mixer of an adapter.
    Adapter(AdapterArgs),
    /// Writes the handler service of a template, which its adapters serve.
    Api(ApiArgs),
    /// Makes the project of a new adapter, which builds and runs as it is.
    New(NewArgs),
    /// Writes the resource that tells Mixer of a template.
    Template(TemplateArgs),
    /// Prints the version.
    Version,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AdapterArgs {
    /// What describes the parameters: a .proto file, or a descriptor set with imports (`protoc --include_imports
    /// --descriptor_set_out`). Not given: the adapter has none.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// What it does.
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    pub(crate) description: String,

    /// Whether it serves InfrastructureBackend and is sent ids of sessions instead of parameters.
    #[arg(
        short,
        long = "session_based",
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set
    )]
    pub(crate) session_based: bool,

    /// Name of a template that it serves; repeatable.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) templates: Vec<String>,

    #[command(flatten)]
    pub(crate) protos: ProtoArgs,

    #[command(flatten)]
    pub(crate) resource: ResourceArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ApiArgs {
    /// What describes the template: a .proto file, or a descriptor set with imports (`protoc --include_imports
    /// --include_source_info --descriptor_set_out`).
    #[arg(short, long, value_name = "FILE")]
    pub(crate) template: PathBuf,

    /// File to write.
    #[arg(
        long = "proto_out",
        value_name = "FILE",
        default_value = "./generated_template.proto"
    )]
    pub(crate) proto_out: PathBuf,

    /// Taken for the sake of scripts of Istio 1.1. No Go is written.
    #[arg(long = "go_out", value_name = "FILE")]
    pub(crate) go_out: Option<PathBuf>,

    /// As `--go_out`.
    #[arg(short = 'm', long, value_name = "PROTO:PACKAGE")]
    pub(crate) importmapping: Vec<String>,

    #[command(flatten)]
    pub(crate) protos: ProtoArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TemplateArgs {
    /// What describes the handler service that `mixgen api` made: a .proto file, or a descriptor set with imports
    /// (`protoc --include_imports --descriptor_set_out`).
    #[arg(short, long, value_name = "FILE")]
    pub(crate) descriptor: PathBuf,

    #[command(flatten)]
    pub(crate) protos: ProtoArgs,

    #[command(flatten)]
    pub(crate) resource: ResourceArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// Name of the adapter.
    pub(crate) name: String,

    /// Language to write it in.
    #[arg(long, value_enum)]
    pub(crate) lang: Language,

    /// The built-in template that it serves.
    #[arg(short, long, value_name = "NAME", default_value = "metric")]
    pub(crate) template: String,

    /// Namespace of its resources.
    #[arg(long, default_value = "istio-system")]
    pub(crate) namespace: String,

    /// Folder to make. Default: one of the adapter's name.
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
}

/// In which language a project is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    Rust,
    Python,
}

/// How .proto files are read.
#[derive(Debug, clap::Args)]
pub(crate) struct ProtoArgs {
    /// Folder in which imports of a .proto file are found, as protoc's; repeatable. Default: the file's own. Files of
    /// Mixer's own model are found without.
    #[arg(short = 'I', long = "proto_path", value_name = "FOLDER")]
    pub(crate) proto_path: Vec<PathBuf>,
}

/// What a resource is called and where it is written.
#[derive(Debug, clap::Args)]
pub(crate) struct ResourceArgs {
    /// Name of the resource.
    #[arg(short, long)]
    pub(crate) name: String,

    /// Namespace of the resource.
    #[arg(long, default_value = "istio-system")]
    pub(crate) namespace: String,

    /// File to write, or folder in which NAME.yaml is written. Default: standard output.
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        let session_based = |flags: &[&str]| {
            let args = Args::try_parse_from([&["mixgen", "adapter", "-n", "a"], flags].concat()).unwrap();
            let Command::Adapter(args) = args.command else {
                panic!("not an adapter");
            };
            args.session_based
        };
        assert!(session_based(&[]));
        assert!(session_based(&["-s"]));
        assert!(!session_based(&["-s=false"]));
        assert!(!session_based(&["--session_based=false"]));
    }
}
