//! The image table: which command of this machine plays a container image.
//!
//! A pod of the standalone mesh has no container runtime. `images.yaml` says, per image pattern, what a
//! Dockerfile would say (`entrypoint`, `cmd`, `env`), and which programs of the image's file system have a
//! stand-in (`programs`). From there the rules are Kubernetes' own: a container's `command` replaces the
//! entry point and the default words, its `args` replace the default words only.
//!
//! The module is pure: text in, command out.

mod pattern;
#[cfg(test)]
mod samples;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::pattern::{Captures, Pattern, Reference};
use self::table::Entry;

/// The table of this repository, `e2e/images.yaml`.
pub const BUILT_IN: &str = include_str!("../images.yaml");

/// The parsed image table: the first entry whose pattern matches an image decides.
#[derive(Debug, Clone)]
pub struct Images {
    entries: Vec<Entry>,
}

/// What to run for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments, never empty. A program without a slash is looked up beside the running `mesh`
    /// binary first and in `PATH` second; the two are the caller's to search.
    pub argv: Vec<String>,
    /// The image's own environment: the weakest layer, a variable of the container wins over it.
    pub env: BTreeMap<String, String>,
}

/// Why an image table was refused. `entry` counts from 1.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// The text is not YAML of the documented shape.
    #[error("image table: {0}")]
    Yaml(String),
    /// A pattern that can match nothing, or that captures one name twice.
    #[error("image table entry {entry}: pattern {pattern:?}: {reason}")]
    Pattern {
        /// Position in the table.
        entry: usize,
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A template names something that the pattern does not capture.
    #[error("image table entry {entry} ({pattern:?}): {field}: {{{name}}} is not captured by the pattern")]
    Capture {
        /// Position in the table.
        entry: usize,
        /// The pattern as written.
        pattern: String,
        /// Where the template stands, e.g. `cmd[1]`.
        field: String,
        /// The unknown name.
        name: String,
    },
    /// A container without a command of its own would have nothing to run.
    #[error("image table entry {entry} ({pattern:?}): entrypoint and cmd are both empty")]
    Empty {
        /// Position in the table.
        entry: usize,
        /// The pattern as written.
        pattern: String,
    },
    /// A stand-in without a program of its own.
    #[error("image table entry {entry} ({pattern:?}): programs.{program}: no program to run")]
    Program {
        /// Position in the table.
        entry: usize,
        /// The pattern as written.
        pattern: String,
        /// The program of the image that has such a stand-in.
        program: String,
    },
}

// === impl Images ===

impl Images {
    /// Reads the table from YAML; the format is the head comment of `e2e/images.yaml`.
    pub fn parse(yaml: &str) -> Result<Self, ImagesError> {
        table::parse(yaml).map(|entries| Self { entries })
    }

    /// The command for a container with this `image`, `command` and `args` (both as in the container's spec,
    /// empty when absent); `None` when no pattern of the table matches the image.
    pub fn resolve(&self, image: &str, command: &[String], args: &[String]) -> Option<Command> {
        let reference = Reference::parse(image);
        self.entries.iter().find_map(|entry| {
            let captures = entry.pattern.matches(&reference)?;
            Some(entry.command(&captures, command, args))
        })
    }
}

// === impl Entry ===

impl Entry {
    fn command(&self, captures: &Captures<'_>, command: &[String], args: &[String]) -> Command {
        let fill =
            |words: &[table::Template]| words.iter().map(|word| word.fill(captures)).collect::<Vec<_>>();
        let argv = match command.split_first() {
            Some((program, own)) => {
                let words = [own, args].concat();
                match self.programs.get(program) {
                    Some(stand_in) => stand_in.argv(captures, &words),
                    None => [std::slice::from_ref(program), &words].concat(),
                }
            }
            None => {
                let mut argv = fill(&self.entrypoint);
                if args.is_empty() {
                    argv.extend(fill(&self.cmd));
                } else {
                    argv.extend_from_slice(args);
                }
                argv
            }
        };
        let env = self
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.fill(captures)))
            .collect();
        Command { argv, env }
    }
}
