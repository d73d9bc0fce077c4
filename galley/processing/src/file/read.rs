//! One file to objects and problems.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mesh_config::decode::{self, Class};
use mesh_config::yaml::{self, Document};
use mesh_config::{Config, ConfigError, Location, Str};

use crate::event::Problem;
use crate::object;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Valid objects in their order.
    pub(super) objects: Vec<Object>,
    /// Why other documents are left out.
    pub(super) problems: Vec<Problem>,
    /// Documents that are somebody else's, by `apiVersion` and `kind`.
    pub(super) foreign: BTreeMap<(String, String), usize>,
    /// Whether some document is not even YAML, so that it is not known which objects it held.
    pub(super) broken: bool,
}

/// One valid object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// With the digest of its content as version. Without a time of creation unless it names one.
    pub(super) config: Config,
    pub(super) location: Location,
}

/// Reads the text of a file. `file` is its name in errors.
///
/// A fault in our reading costs this file only: a configuration server must not be brought down by a document.
pub(super) fn contents(file: &str, text: &str) -> Contents {
    catch_unwind(AssertUnwindSafe(|| read(file, text))).unwrap_or_else(|_| Contents {
        problems: vec![whole_file(
            file,
            "cannot be read because of a defect of this program".to_owned(),
        )],
        broken: true,
        ..Contents::default()
    })
}

/// The problem that concerns a whole file.
pub(super) fn whole_file(file: &str, reason: String) -> Problem {
    let location = Location {
        file: file.into(),
        document: 1,
        line: 1,
    };
    let error = ConfigError {
        location: Some(location),
        object: String::new(),
        field: String::new(),
        reason,
    };
    Problem {
        kind: None,
        namespace: None,
        errors: vec![error],
    }
}

fn read(file: &str, text: &str) -> Contents {
    let mut contents = Contents::default();
    for document in yaml::documents(file, text) {
        match document {
            Ok(document) => contents.take(&document),
            Err(error) => {
                contents.broken = true;
                contents.problems.push(Problem {
                    kind: None,
                    namespace: None,
                    errors: vec![error],
                });
            }
        }
    }
    contents
}

// === impl Contents ===

impl Contents {
    /// Whether the file says nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.problems.is_empty() && self.foreign.is_empty()
    }

    fn take(&mut self, document: &Document) {
        let kind = match decode::classify(document) {
            Class::Known(kind) => kind,
            Class::Foreign { api_version, kind } => {
                *self.foreign.entry((api_version, kind)).or_default() += 1;
                return;
            }
            Class::Invalid(error) => {
                self.problems.push(Problem {
                    kind: None,
                    namespace: None,
                    errors: vec![error],
                });
                return;
            }
        };
        match object(document) {
            Ok(object) => self.objects.push(object),
            Err(errors) => self.problems.push(Problem {
                kind: Some(kind),
                namespace: None,
                errors,
            }),
        }
    }
}

fn object(document: &Document) -> Result<Object, Vec<ConfigError>> {
    let config = decode::object(document).map_err(|error| vec![error])?;
    let config = object::checked(config, |field| Some(document.locate(field)))?;
    Ok(Object {
        config,
        location: document.location.clone(),
    })
}

/// The name of a file in locations.
pub(super) fn display_name(path: &std::path::Path) -> Str {
    path.display().to_string().into()
}
