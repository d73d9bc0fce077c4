//! Parameters as what is written where.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mesh_api::adapter::stdio::config::Params;
use mesh_api::adapter::stdio::config::params::{Level as LevelParam, Stream};
use mesh_runtime::rotate::Rotation;
use mixer_adapter::ConfigErrors;

const MEGABYTE: u64 = 1024 * 1024;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What severities mean unless it is said.
const SEVERITIES: [(&[&str], LevelParam); 3] = [
    (
        &["INFORMATIONAL", "informational", "INFO", "info"],
        LevelParam::Info,
    ),
    (&["WARNING", "warning", "WARN", "warn"], LevelParam::Warning),
    (
        &["ERROR", "error", "ERR", "err", "FATAL", "fatal"],
        LevelParam::Error,
    ),
];

/// A handler's parameters.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) target: Target,
    pub(super) severities: BTreeMap<String, Level>,
    pub(super) metrics: Level,
    pub(super) lowest: Level,
    pub(super) json: bool,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Stdout,
    Stderr,
    File(PathBuf, Option<Rotation>),
}

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Info,
    Warning,
    Error,
}

/// Parameters that nobody gave.
pub(super) fn defaults() -> Params {
    let severities = SEVERITIES
        .iter()
        .flat_map(|(names, level)| names.iter().map(|name| ((*name).to_owned(), i32::from(*level))));
    Params {
        severity_levels: severities.collect(),
        output_as_json: true,
        max_megabytes_before_rotation: 100,
        max_days_before_rotation: 30,
        max_rotated_files: 1000,
        ..Params::default()
    }
}

// === impl Config ===

impl Config {
    /// Reads parameters; all that is wrong with them is told.
    pub(super) fn new(params: &Params) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let stream = Stream::try_from(params.log_stream).unwrap_or_else(|_| {
            errors.push("logStream", "it is none that is known");
            Stream::Stdout
        });
        let is_file = matches!(stream, Stream::File | Stream::RotatedFile);
        if is_file && params.output_path.is_empty() {
            errors.push("outputPath", "it is required for FILE and ROTATED_FILE");
        } else if !is_file && !params.output_path.is_empty() {
            errors.push("outputPath", "it is for FILE and ROTATED_FILE only");
        }
        let mut limit = |field: &str, number: i32| {
            u64::try_from(number).unwrap_or_else(|_| {
                errors.push(field, "it is negative");
                0
            })
        };
        let size = limit("maxMegabytesBeforeRotation", params.max_megabytes_before_rotation);
        let days = limit("maxDaysBeforeRotation", params.max_days_before_rotation);
        let files = limit("maxRotatedFiles", params.max_rotated_files);
        let rotation = Rotation {
            // 0 is the default of 1.1, too.
            size: if size == 0 { 100 } else { size } * MEGABYTE,
            age: (days > 0).then(|| DAY * u32::try_from(days).unwrap_or(u32::MAX)),
            files: usize::try_from(files).ok().filter(|files| *files > 0),
        };
        let mut level = |field: &str, number: i32| {
            Level::of(number).unwrap_or_else(|| {
                errors.push(field, format!("{number} is no level"));
                Level::Info
            })
        };
        let severities = params
            .severity_levels
            .iter()
            .map(|(name, number)| (name.clone(), level(&format!("severityLevels[{name}]"), *number)))
            .collect();
        let metrics = level("metricLevel", params.metric_level);
        let lowest = level("outputLevel", params.output_level);
        if !errors.is_empty() {
            return Err(errors);
        }
        let path = || PathBuf::from(&params.output_path);
        Ok(Self {
            target: match stream {
                Stream::Stdout => Target::Stdout,
                Stream::Stderr => Target::Stderr,
                Stream::File => Target::File(path(), None),
                Stream::RotatedFile => Target::File(path(), Some(rotation)),
            },
            severities,
            metrics,
            lowest,
            json: params.output_as_json,
        })
    }
}

// === impl Level ===

impl Level {
    /// `None` for a number that stands for nothing, which 1.1 took for INFO.
    fn of(number: i32) -> Option<Self> {
        LevelParam::try_from(number).ok().map(|level| match level {
            LevelParam::Info => Self::Info,
            LevelParam::Warning => Self::Warning,
            LevelParam::Error => Self::Error,
        })
    }

    /// As it is written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warn",
            Self::Error => "error",
        }
    }
}
