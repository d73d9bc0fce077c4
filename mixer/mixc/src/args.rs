//! The command line: flags of Istio 1.1.

use std::num::NonZeroUsize;

use clap::{ArgAction, Parser, Subcommand};
use mesh_runtime::args::HostPort;
use mixer_attribute::encode::Attributes;

use crate::attributes::{self, InvalidAttribute};

/// Calls a running Mixer.
#[derive(Debug, Parser)]
#[command(name = "mixc")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Asks whether a request may pass, and allocates quotas.
    Check(CheckArgs),
    /// Tells of requests, as proxies do for telemetry.
    Report(ReportArgs),
    /// Shows what each rule makes of a request: whether it matches, its instances, handlers and what those say.
    Explain(ExplainArgs),
    /// Prints the version.
    Version,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,

    #[command(flatten)]
    pub(crate) attributes: AttributeArgs,

    /// Quotas to allocate, as many of each as there are: name1=amount1,name2=amount2,...
    #[arg(short, long, value_name = "LIST", overrides_with = "quotas")]
    pub(crate) quotas: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,

    #[command(flatten)]
    pub(crate) attributes: AttributeArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Where the ControlZ of the Mixer is. Handlers are asked, and quotas that are named are allocated.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9876")]
    pub(crate) ctrlz: HostPort,

    #[command(flatten)]
    pub(crate) attributes: AttributeArgs,

    /// Quotas to allocate, as many of each as there are: name1=amount1,name2=amount2,...
    #[arg(short, long, value_name = "LIST", overrides_with = "quotas")]
    pub(crate) quotas: Option<String>,
}

/// How often Mixer is called.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// The Mixer to call.
    #[arg(short, long, value_name = "HOST:PORT", default_value = "localhost:9091")]
    pub(crate) mixer: HostPort,

    /// How many requests each worker sends.
    #[arg(short, long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) repeat: usize,

    /// How many workers send requests at the same time.
    #[arg(short, long, value_name = "NUMBER", default_value = "1")]
    pub(crate) concurrency: NonZeroUsize,

    /// How many requests each worker sends in a second at most; as many as it can if this is not positive.
    #[arg(long, value_name = "NUMBER", default_value_t = -1, allow_hyphen_values = true)]
    pub(crate) rate: i64,

    /// Whether to print what Mixer answers. What fails is always printed.
    #[arg(
        long = "print_response",
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set
    )]
    pub(crate) print_response: bool,

    /// How many sets of attributes a report has at most.
    #[arg(long = "report_batch_size", value_name = "NUMBER", default_value = "1")]
    pub(crate) report_batch_size: NonZeroUsize,
}

/// What is known of the request. Of two flags for one attribute that of the later kind counts.
#[derive(Debug, clap::Args)]
pub(crate) struct AttributeArgs {
    /// Text: name1=value1,name2=value2,...
    #[arg(short, long = "string_attributes", value_name = "LIST")]
    string_attributes: Vec<String>,

    /// Whole numbers.
    #[arg(short, long = "int64_attributes", value_name = "LIST")]
    int64_attributes: Vec<String>,

    /// Numbers.
    #[arg(short, long = "double_attributes", value_name = "LIST")]
    double_attributes: Vec<String>,

    /// True or false.
    #[arg(short, long = "bool_attributes", value_name = "LIST")]
    bool_attributes: Vec<String>,

    /// Points in time, such as 2017-07-04T00:01:10Z.
    #[arg(short, long = "timestamp_attributes", value_name = "LIST")]
    timestamp_attributes: Vec<String>,

    /// Spans of time, such as 1m30s.
    #[arg(long = "duration_attributes", value_name = "LIST")]
    duration_attributes: Vec<String>,

    /// Bytes in hexadecimal, addresses for example: name1=b0:b1:b3,name2=b4:b5:b6,...
    #[arg(long = "bytes_attributes", value_name = "LIST")]
    bytes_attributes: Vec<String>,

    /// Maps of text: name1=k1:v1;k2:v2,name2=k3:v3,...
    #[arg(long = "stringmap_attributes", value_name = "LIST")]
    stringmap_attributes: Vec<String>,

    /// Values of the first of these types that they can be: whole number, number, true or false, point in time, span of
    /// time, bytes, map, text.
    #[arg(short, long, value_name = "LIST")]
    attributes: Vec<String>,
}

// === impl AttributeArgs ===

impl AttributeArgs {
    /// The attributes.
    pub(crate) fn parse(&self) -> Result<Attributes<'static>, InvalidAttribute> {
        let kinds: [(&[String], attributes::Parse); 9] = [
            (&self.string_attributes, attributes::string),
            (&self.int64_attributes, attributes::int64),
            (&self.double_attributes, attributes::double),
            (&self.bool_attributes, attributes::bool),
            (&self.timestamp_attributes, attributes::timestamp),
            (&self.duration_attributes, attributes::duration),
            (&self.bytes_attributes, attributes::bytes),
            (&self.stringmap_attributes, attributes::string_map),
            (&self.attributes, attributes::any),
        ];
        let mut all = Attributes::new();
        for (lists, parse) in kinds {
            for list in lists {
                attributes::list(list, parse, &mut all)?;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        let args =
            Args::try_parse_from(["mixc", "report", "--rate", "-1", "--print_response=false"]).unwrap();
        let Command::Report(args) = args.command else {
            panic!("not a report");
        };
        assert_eq!((args.load.rate, args.load.print_response), (-1, false));
    }

    /// Flags of 1.1 (`spec 02` §9.2): of both commands, long name, short one, default.
    const FLAGS: [(&str, Option<char>, Option<&str>); 15] = [
        ("mixer", Some('m'), Some("localhost:9091")),
        ("repeat", Some('r'), Some("1")),
        ("concurrency", Some('c'), Some("1")),
        ("rate", None, Some("-1")),
        ("print_response", None, Some("true")),
        ("report_batch_size", None, Some("1")),
        ("attributes", Some('a'), None),
        ("string_attributes", Some('s'), None),
        ("int64_attributes", Some('i'), None),
        ("double_attributes", Some('d'), None),
        ("bool_attributes", Some('b'), None),
        ("timestamp_attributes", Some('t'), None),
        ("duration_attributes", None, None),
        ("bytes_attributes", None, None),
        ("stringmap_attributes", None, None),
    ];

    #[test]
    fn m111_the_flags_are_those_of_istio() {
        let args = Args::command();
        for name in ["check", "report"] {
            let command = args.find_subcommand(name).unwrap();
            let mut found: Vec<_> = command
                .get_arguments()
                .map(|arg| {
                    let defaults = arg.get_default_values().first();
                    let default = defaults.and_then(|default| default.to_str()).map(str::to_owned);
                    (arg.get_long().unwrap().to_owned(), arg.get_short(), default)
                })
                .collect();
            let quotas = ("quotas".to_owned(), Some('q'), None);
            assert_eq!(found.contains(&quotas), name == "check");
            found.retain(|flag| *flag != quotas);
            found.sort();
            let mut expected: Vec<_> = FLAGS
                .iter()
                .map(|(long, short, default)| ((*long).to_owned(), *short, default.map(str::to_owned)))
                .collect();
            expected.sort();
            assert_eq!(found, expected, "{name}");
        }
    }
}
