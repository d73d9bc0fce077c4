//! Where log lines go: standard output, standard error or files, one or several at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use super::LogError;
use crate::rotate::{RotatingFile, Rotation};

/// The opened targets of `--log_target` and `--log_rotate`.
#[derive(Debug)]
pub(super) struct Sinks(Vec<Sink>);

#[derive(Debug)]
enum Sink {
    Stdout,
    Stderr,
    File(File),
    Rotating(Mutex<RotatingFile>),
}

// === impl Sinks ===

impl Sinks {
    pub(super) fn open(targets: &[String], rotating: Option<(&str, Rotation)>) -> Result<Self, LogError> {
        let rotating = rotating.map(|(path, rotation)| Sink::rotating(path, rotation));
        let targets = targets.iter().map(|target| Sink::open(target));
        targets.chain(rotating).collect::<Result<_, _>>().map(Self)
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
                    flag: "--log_target",
                    path: path.to_owned(),
                    source,
                }),
        }
    }

    fn rotating(path: &str, rotation: Rotation) -> Result<Self, LogError> {
        match RotatingFile::open(Path::new(path), Some(rotation)) {
            Ok(file) => Ok(Self::Rotating(Mutex::new(file))),
            Err(source) => Err(LogError::Open {
                flag: "--log_rotate",
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
            // What cannot be deleted stays: telling it would be another line.
            Self::Rotating(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write(line),
        }
    }
}
