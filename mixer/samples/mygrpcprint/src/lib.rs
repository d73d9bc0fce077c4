//! A sample: an adapter in a process of its own that writes metrics to a file (`spec 02` §11.3).
//!
//! A line for each instance: its name, its value, and its dimensions in the order of their names.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;

use mixer_sdk::{Adapter, HandleMetric, Inferred, Status, Value, metric, value};

#[allow(missing_docs, unreachable_pub, reason = "generated")]
pub mod config {
    //! The parameters.
    include!(concat!(env!("OUT_DIR"), "/mygrpcprint.config.rs"));
}

/// The descriptor of the parameters: base64 of this is `config` of the object `adapter`.
pub const CONFIG_DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/config.bin"));

/// The adapter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Print;

/// One file.
#[derive(Debug)]
pub struct Printer(File);

impl Adapter for Print {
    type Config = config::Params;
    type Handler = Printer;

    fn validate(&self, config: &config::Params, _: &Inferred) -> Result<(), Status> {
        match config.file_path.as_str() {
            "" => Err(Status::invalid_argument("filePath is missing")),
            _ => Ok(()),
        }
    }

    async fn build(&self, config: config::Params, _: &Inferred) -> Result<Printer, Status> {
        let path = &config.file_path;
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.map(Printer)
            .map_err(|error| Status::failed_precondition(format!("cannot open {path}: {error}")))
    }
}

impl HandleMetric for Printer {
    async fn handle_metric(&self, instances: Vec<metric::InstanceMsg>) -> Result<(), Status> {
        let lines: String = instances.iter().map(line).collect();
        // One write of whole lines, which the system appends as they are, whoever else writes.
        (&self.0)
            .write_all(lines.as_bytes())
            .map_err(|error| Status::internal(format!("cannot write: {error}")))
    }
}

fn line(instance: &metric::InstanceMsg) -> String {
    let mut line = format!("{} {}", instance.name, text(instance.value.as_ref()));
    for (name, value) in &instance.dimensions {
        // Writing to text does not fail.
        let _never = write!(line, " {name}={}", text(Some(value)));
    }
    line.push('\n');
    line
}

fn text(value: Option<&Value>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None => String::new(),
        Some(value::Value::StringValue(text)) => text.clone(),
        Some(value::Value::Int64Value(number)) => number.to_string(),
        Some(value::Value::DoubleValue(number)) => number.to_string(),
        Some(value::Value::BoolValue(flag)) => flag.to_string(),
        Some(other) => format!("{other:?}"),
    }
}
