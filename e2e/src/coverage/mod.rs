//! Which tests bear the ids of the specification.
//!
//! An id stands in the name of a test (`r_vs_11_weights_sum_up`), in its documentation (`R-VS-11`), or in the name or a
//! comment of a golden case. What nobody bears is listed as well.

mod example;
mod requirement;
mod source;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

pub use self::example::{borne, examples};
pub use self::requirement::{Requirement, requirements};
pub use self::source::{Bearer, bearers};

/// A table of all requirements, each with the tests that bear its id.
///
/// # Errors
///
/// When the sources cannot be read.
pub fn table(workspace: &Path) -> Result<String> {
    let requirements = requirements()?;
    let ids: Vec<&str> = requirements.iter().map(|requirement| requirement.id).collect();
    let bearers = bearers(workspace, &ids)?;
    let mut table = String::new();
    let mut missing = Vec::new();
    for requirement in &requirements {
        let Requirement { id, title, excuse } = requirement;
        writeln!(table, "{id}  {title}")?;
        let tests = bearers.iter().filter(|bearer| bearer.ids.contains(*id));
        let count = tests
            .map(|test| writeln!(table, "    {}: {}", test.file.display(), test.name))
            .collect::<Result<Vec<()>, _>>()?
            .len();
        match excuse {
            _ if count > 0 => {}
            Some(excuse) => writeln!(table, "    none: {excuse}")?,
            None => {
                writeln!(table, "    NONE")?;
                missing.push(*id);
            }
        }
    }
    let found = requirements.len() - missing.len();
    writeln!(table, "\n{found} of {} requirements", requirements.len())?;
    if !missing.is_empty() {
        writeln!(table, "without a test: {}", missing.join(", "))?;
    }
    Ok(table)
}
