//! A sample: an adapter that is linked into Mixer and writes metrics to a file (`spec 02` §11.2).
//!
//! A line for each instance: its name, its value, and its dimensions in the order of their names.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use mixer_adapter::{
    Adapter, Answer, BuildError, ConfigErrors, Env, Handle, HandleMetric, Handler, HandlerError, Inferred,
    Info,
};
use mixer_attribute::Value;
use mixer_template::{Metric, Template};
use prost_reflect::DescriptorPool;

#[allow(missing_docs, unreachable_pub, reason = "generated")]
pub mod config {
    //! The parameters.
    include!(concat!(env!("OUT_DIR"), "/sampleprint.config.rs"));
}

static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let descriptors: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/config.bin"));
    // Written by our own build; were it damaged, the parameters would be unknown.
    DescriptorPool::decode(descriptors).unwrap_or_default()
});

/// The adapter.
#[derive(Clone, Copy, Debug, Default)]
pub struct SamplePrint;

/// A handler: one file.
#[derive(Debug)]
struct Printer(Arc<File>);

impl Adapter for SamplePrint {
    type Params = config::Params;

    const INFO: Info = Info {
        name: "sampleprint",
        description: "Writes metrics to a file",
        templates: &[Template::Metric],
    };

    fn descriptors() -> &'static DescriptorPool {
        &DESCRIPTORS
    }

    fn validate(params: &config::Params, _: &Inferred) -> ConfigErrors {
        let mut errors = ConfigErrors::default();
        if params.file_path.is_empty() {
            errors.push("filePath", "is missing");
        }
        errors
    }

    async fn build(&self, params: config::Params, _: &Inferred, _: Env) -> Result<Handler, BuildError> {
        let path = &params.file_path;
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| BuildError(format!("cannot open {path}: {error}")))?;
        let printer = Arc::new(Printer(Arc::new(file)));
        Ok(Handler::default().with(Handle::Metric(printer)))
    }
}

impl HandleMetric for Printer {
    /// Makes the lines at once, since instances are lent for the call, and leaves the writing to a thread that may wait.
    fn handle_metric(&self, instances: &[Metric<'_>]) -> Answer<()> {
        let lines: String = instances.iter().map(line).collect();
        let file = Arc::clone(&self.0);
        // One write of whole lines, which the system appends as they are, whoever else writes.
        let write = tokio::task::spawn_blocking(move || (&*file).write_all(lines.as_bytes()));
        Answer::Later(Box::pin(async move {
            let written = write.await.map_err(|_| HandlerError::new("Mixer ends"))?;
            written.map_err(|error| HandlerError::new(format!("cannot write: {error}")))
        }))
    }
}

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
