//! Logs with Istio's flags: scopes with levels that can be changed at run time, as text or JSON.
//!
//! A scope is a name for one or more tracing targets. A scope whose level was never set follows
//! `default`, so that `default:debug` alone shows everything of ours; the libraries underneath stay at
//! `info` until they are named.

mod format;
mod scopes;
mod sink;

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;

use self::scopes::{DEFAULT_SCOPE, ScopeTable};
pub use self::scopes::{LogHandle, Scope, ScopeInfo, UnknownScope};
use crate::rotate::Rotation;

const MEGABYTE: u64 = 1024 * 1024;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Istio's logging flags.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// Comma-separated minimum level per scope, as SCOPE:LEVEL,SCOPE:LEVEL,...
    /// where level is one of debug, info, warn, error, fatal or none.
    #[arg(
        long = "log_output_level",
        value_name = "LEVELS",
        default_value = "default:info"
    )]
    pub log_output_level: ScopeLevels,

    /// Where logs go: a path, stdout or stderr. May be repeated.
    #[arg(long = "log_target", value_name = "TARGET", default_value = "stdout")]
    pub log_target: Vec<String>,

    /// File that logs go to as well, and that is put aside when it is large; empty for none.
    #[arg(
        long = "log_rotate",
        value_name = "PATH",
        default_value = "",
        hide_default_value = true
    )]
    pub log_rotate: String,

    /// Days after which a file that was put aside is deleted; 0 for never.
    #[arg(long = "log_rotate_max_age", value_name = "DAYS", default_value_t = 30)]
    pub log_rotate_max_age: u32,

    /// Files that were put aside and are kept; 0 for all.
    #[arg(
        long = "log_rotate_max_backups",
        value_name = "NUMBER",
        default_value_t = 1000
    )]
    pub log_rotate_max_backups: usize,

    /// Megabytes beyond which the file is put aside. 1.1 has 104857600 where nobody says otherwise, with which it never is.
    #[arg(long = "log_rotate_max_size", value_name = "MEGABYTES", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub log_rotate_max_size: u64,

    /// Write one JSON object per line instead of text.
    #[arg(long = "log_as_json", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", action = clap::ArgAction::Set)]
    pub log_as_json: bool,

    /// Comma-separated scopes whose messages show the line of code they come from.
    #[arg(long = "log_caller", value_name = "SCOPES", value_delimiter = ',')]
    pub log_caller: Vec<String>,

    /// Accepted for compatibility: a panic shows its place always and its stack with RUST_BACKTRACE=1.
    #[arg(
        long = "log_stacktrace_level",
        value_name = "LEVELS",
        default_value = "default:none"
    )]
    pub log_stacktrace_level: ScopeLevels,
}

/// A minimum level, named as Istio names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Everything.
    Debug,
    /// Normal operation.
    Info,
    /// Something needs attention.
    Warn,
    /// Something failed.
    Error,
    /// The reason for which a process ends. Such messages have level error here, so this shows errors.
    Fatal,
    /// Nothing.
    None,
}

/// Levels by scope as one flag gives them, in the order of the flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeLevels(Vec<(String, Level)>);

/// Text that is not a level or a list of scopes with levels.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LevelError {
    /// Not one of the names of [`Level`].
    #[error("unknown level {0:?}: one of debug, info, warn, error, fatal, none is expected")]
    Unknown(String),
    /// A level without scope in front of its colon.
    #[error("the scope is missing in {0:?}: <scope>:<level> is expected")]
    NoScope(String),
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file could not be opened.
    #[error("{flag}: cannot open {path}")]
    Open {
        /// The flag that names it.
        flag: &'static str,
        /// The path as given.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something else in this process has set up logging before.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

// === impl LogArgs ===

impl Default for LogArgs {
    fn default() -> Self {
        let levels = |level| ScopeLevels(vec![(DEFAULT_SCOPE.to_owned(), level)]);
        Self {
            log_output_level: levels(Level::Info),
            log_target: vec!["stdout".to_owned()],
            log_rotate: String::new(),
            log_rotate_max_age: 30,
            log_rotate_max_backups: 1000,
            log_rotate_max_size: 100,
            log_as_json: false,
            log_caller: Vec::new(),
            log_stacktrace_level: levels(Level::None),
        }
    }
}

impl LogArgs {
    /// Sends the logs of this process where the flags say. To be called once, by the runtime.
    ///
    /// # Errors
    /// [`LogError`] when a target cannot be opened or when logging is set up already.
    pub(crate) fn install(&self, scopes: &[Scope]) -> Result<LogHandle, LogError> {
        let writer = BoxMakeWriter::new(sink::Sinks::open(&self.log_target, self.rotating())?);
        let (subscriber, handle) = self.subscriber(scopes, writer);
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)?;
        Ok(handle)
    }

    /// The file that is put aside when it is large.
    fn rotating(&self) -> Option<(&str, Rotation)> {
        let rotation = Rotation {
            size: self.log_rotate_max_size.saturating_mul(MEGABYTE),
            age: (self.log_rotate_max_age > 0).then(|| DAY * self.log_rotate_max_age),
            files: Some(self.log_rotate_max_backups).filter(|files| *files > 0),
        };
        (!self.log_rotate.is_empty()).then_some((self.log_rotate.as_str(), rotation))
    }

    fn subscriber(
        &self,
        scopes: &[Scope],
        writer: BoxMakeWriter,
    ) -> (impl Subscriber + Send + Sync + use<>, LogHandle) {
        let Self {
            log_output_level,
            log_as_json,
            log_caller,
            ..
        } = self;
        let table = Arc::new(ScopeTable::new(scopes, log_output_level, log_caller));
        let (filter, reload) = reload::Layer::<_, Registry>::new(table.filter());
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(writer)
            .with_ansi(false)
            .fmt_fields(format::Fields { json: *log_as_json })
            .event_format(format::Lines {
                json: *log_as_json,
                scopes: Arc::clone(&table),
            });
        let subscriber = tracing_subscriber::registry().with(filter).with(lines);
        (subscriber, LogHandle::new(table, Some(reload)))
    }
}

// === impl Level ===

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" => Self::Error,
            "fatal" => Self::Fatal,
            "none" => Self::None,
            _ => return Err(LevelError::Unknown(text.to_owned())),
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
            Self::None => "none",
        })
    }
}

// === impl ScopeLevels ===

impl FromStr for ScopeLevels {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut levels = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (scope, level) = match part.rsplit_once(':') {
                Some(("", _)) => return Err(LevelError::NoScope(part.to_owned())),
                Some((scope, level)) => (scope, level),
                None => (DEFAULT_SCOPE, part),
            };
            levels.push((scope.to_owned(), level.parse()?));
        }
        Ok(Self(levels))
    }
}

impl fmt::Display for ScopeLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (scope, level)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{scope}:{level}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
