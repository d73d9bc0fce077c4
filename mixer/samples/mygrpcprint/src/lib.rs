//! A sample: an adapter in a process of its own that writes what it is sent to a file, and refuses some users
//! (`spec 02` §11.3).

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::time::Duration;

use mixer_sdk::{
    Adapter, CheckResult, Code, HandleMetric, Inferred, Status, Value, metric, permitted, refused, value,
};

#[allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
pub mod protos {
    //! What is generated out of `proto`.
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

use protos::mygrpcprint::config::Params;
use protos::permit;

/// The descriptor of the parameters: base64 of this is `config` of the object `adapter`.
pub const CONFIG_DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/config.bin"));

mixer_sdk::template! {
    /// Template `permit`, which is this adapter's own: a decision about a user.
    pub trait HandlePermit {
        fn handle_permit(instance: permit::InstanceMsg) -> CheckResult;
    }
    serves permit::handle_permit_service_server::HandlePermitService, sent permit::HandlePermitRequest
}

/// The adapter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Print;

/// One configuration of it.
#[derive(Debug)]
pub struct Printer {
    file: File,
    refused: Vec<String>,
}

impl Adapter for Print {
    type Config = Params;
    type Handler = Printer;

    fn validate(&self, params: &Params, _: &Inferred) -> Result<(), Status> {
        match params.file_path.as_str() {
            "" => Err(Status::invalid_argument("filePath is missing")),
            _ => Ok(()),
        }
    }

    async fn build(&self, params: Params, _: &Inferred) -> Result<Printer, Status> {
        let Params { file_path, refused } = params;
        let file = OpenOptions::new().create(true).append(true).open(&file_path);
        match file {
            Ok(file) => Ok(Printer { file, refused }),
            Err(error) => Err(Status::failed_precondition(format!(
                "cannot open {file_path}: {error}"
            ))),
        }
    }
}

impl HandleMetric for Printer {
    async fn handle_metric(&self, instances: Vec<metric::InstanceMsg>) -> Result<(), Status> {
        self.write(&instances.iter().map(line).collect::<String>())
    }
}

impl HandlePermit for Printer {
    async fn handle_permit(&self, instance: permit::InstanceMsg) -> Result<CheckResult, Status> {
        let permit::InstanceMsg { name, user, .. } = instance;
        self.write(&format!("{name} {user}\n"))?;
        Ok(match self.refused.contains(&user) {
            true => refused(
                Code::PermissionDenied,
                format!("{user} is not permitted anything"),
            ),
            false => permitted(Duration::ZERO, 0),
        })
    }
}

impl Printer {
    /// One write of whole lines, which the system appends as they are, whoever else writes.
    fn write(&self, lines: &str) -> Result<(), Status> {
        (&self.file)
            .write_all(lines.as_bytes())
            .map_err(|error| Status::internal(format!("cannot write: {error}")))
    }
}

/// Its name, its value, and its dimensions in the order of their names.
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
