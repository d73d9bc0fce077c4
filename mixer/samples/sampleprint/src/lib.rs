//! A sample: an adapter that is linked into Mixer, writes what it is sent to a file, and refuses some list entries
//! (`spec 02` §11.2).

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use mixer_adapter::{
    Adapter, Answer, BuildError, CheckResult, Code, ConfigErrors, Env, Handle, HandleListEntry, HandleMetric,
    Handler, HandlerError, Inferred, Info,
};
use mixer_attribute::Value;
use mixer_template::{ListEntry, Metric, Template};
use prost_reflect::DescriptorPool;

#[allow(missing_docs, unreachable_pub, reason = "generated")]
pub mod config {
    //! The parameters.
    include!(concat!(env!("OUT_DIR"), "/sampleprint.config.rs"));
}

use config::Params;

static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let descriptors: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/config.bin"));
    // Written by our own build; were it damaged, the parameters would be unknown.
    DescriptorPool::decode(descriptors).unwrap_or_default()
});

/// The adapter.
#[derive(Clone, Copy, Debug, Default)]
pub struct SamplePrint;

/// One configuration of it.
#[derive(Debug)]
struct Printer {
    file: Arc<File>,
    refused: Vec<String>,
}

impl Adapter for SamplePrint {
    type Params = Params;

    const INFO: Info = Info {
        name: "sampleprint",
        description: "Writes what it is sent to a file, and refuses some list entries",
        templates: &[Template::ListEntry, Template::Metric],
    };

    fn descriptors() -> &'static DescriptorPool {
        &DESCRIPTORS
    }

    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        let mut errors = ConfigErrors::default();
        if params.file_path.is_empty() {
            errors.push("filePath", "is missing");
        }
        errors
    }

    async fn build(&self, params: Params, _: &Inferred, _: Env) -> Result<Handler, BuildError> {
        let Params { file_path, refused } = params;
        let file = OpenOptions::new().create(true).append(true).open(&file_path);
        let file = file.map_err(|error| BuildError(format!("cannot open {file_path}: {error}")))?;
        let printer = Arc::new(Printer {
            file: Arc::new(file),
            refused,
        });
        Ok(Handler::default()
            .with(Handle::ListEntry(Arc::clone(&printer) as _))
            .with(Handle::Metric(printer)))
    }
}

impl HandleMetric for Printer {
    fn handle_metric(&self, instances: &[Metric<'_>]) -> Answer<()> {
        self.write(instances.iter().map(line).collect())
    }
}

impl HandleListEntry for Printer {
    fn handle_list_entry(&self, instance: &ListEntry<'_>) -> Answer<CheckResult> {
        let entry = match &instance.value {
            Some(Value::String(text)) => text.to_string(),
            _ => String::new(),
        };
        let result = match self.refused.contains(&entry) {
            true => CheckResult::refused(Code::PermissionDenied, format!("{entry} is refused")),
            false => CheckResult::default(),
        };
        self.write(format!("{} {entry}\n", instance.name))
            .map(|()| result)
    }
}

impl Printer {
    /// Instances are lent for the call: the lines are made of them at once, and written by a thread that may wait.
    fn write(&self, lines: String) -> Answer<()> {
        let file = Arc::clone(&self.file);
        // One write of whole lines, which the system appends as they are, whoever else writes.
        let write = tokio::task::spawn_blocking(move || (&*file).write_all(lines.as_bytes()));
        Answer::Later(Box::pin(async move {
            let written = write.await.map_err(|_| HandlerError::new("Mixer ends"))?;
            written.map_err(|error| HandlerError::new(format!("cannot write: {error}")))
        }))
    }
}

/// Its name, its value, and its dimensions in the order of their names.
fn line(metric: &Metric<'_>) -> String {
    let mut line = metric.name.to_owned();
    if let Some(value) = &metric.value {
        put(&mut line, "value", value);
    }
    for (name, value) in &metric.dimensions {
        put(&mut line, name, value);
    }
    line.push('\n');
    line
}

fn put(line: &mut String, name: &str, value: &Value<'_>) {
    // Writing to text does not fail.
    let _never = match value {
        Value::String(text) => write!(line, " {name}={text}"),
        Value::Int64(number) => write!(line, " {name}={number}"),
        Value::Double(number) => write!(line, " {name}={number}"),
        Value::Bool(flag) => write!(line, " {name}={flag}"),
        other => write!(line, " {name}={other:?}"),
    };
}
