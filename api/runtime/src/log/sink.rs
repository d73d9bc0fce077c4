//! Where log lines go: standard output, standard error or files, one or several at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

use super::LogError;

/// The opened targets of `--log_target`.
#[derive(Debug)]
pub(super) struct Sinks(Vec<Sink>);

#[derive(Debug)]
enum Sink {
    Stdout,
    Stderr,
    File(File),
}

// === impl Sinks ===

impl Sinks {
    pub(super) fn open(targets: &[String]) -> Result<Self, LogError> {
        targets
            .iter()
            .map(|target| Sink::open(target))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl<'a> MakeWriter<'a> for Sinks {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// The subscriber writes each line with one call, which keeps the lines of several threads whole.
impl Write for &Sinks {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let results = self.0.iter().map(|sink| sink.write_line(line));
        // A target that is gone must not take the others along.
        results.fold(Ok(()), Result::and).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Sink ===

impl Sink {
    fn open(target: &str) -> Result<Self, LogError> {
        match target {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            path => OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map(Self::File)
                .map_err(|source| LogError::Open {
                    path: path.to_owned(),
                    source,
                }),
        }
    }

    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().write_all(line),
            Self::Stderr => io::stderr().write_all(line),
            Self::File(file) => {
                let mut file = file;
                file.write_all(line)
            }
        }
    }
}
