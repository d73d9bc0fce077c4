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

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;

use self::scopes::{DEFAULT_SCOPE, ScopeTable};
pub use self::scopes::{LogHandle, Scope, ScopeInfo, UnknownScope};

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
    /// A file of `--log_target` could not be opened.
    #[error("--log_target: cannot open {path}")]
    Open {
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
        let writer = BoxMakeWriter::new(sink::Sinks::open(&self.log_target)?);
        let (subscriber, handle) = self.subscriber(scopes, writer);
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)?;
        Ok(handle)
    }

    fn subscriber(
        &self,
        scopes: &[Scope],
        writer: BoxMakeWriter,
    ) -> (impl Subscriber + Send + Sync + use<>, LogHandle) {
        let Self {
            log_output_level,
            log_target: _,
            log_as_json,
            log_caller,
            log_stacktrace_level: _,
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
