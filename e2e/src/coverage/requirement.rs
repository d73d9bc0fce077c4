//! The list of requirements.

use anyhow::{Context as _, Result, ensure};

const LIST: &str = include_str!("../../coverage/requirements.txt");

/// What the specification asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Its id, such as `R-VS-11` or `P12.3`.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// Why no test bears its id.
    pub excuse: Option<&'static str>,
}

/// All requirements, in the order of the specification.
///
/// # Errors
///
/// When a line of the list is not of the form `ID title [! excuse]`.
pub fn requirements() -> Result<Vec<Requirement>> {
    parse(LIST)
}

/// Reads a list of ids.
pub(super) fn parse(list: &'static str) -> Result<Vec<Requirement>> {
    let lines = list.lines().map(str::trim);
    let mut requirements: Vec<Requirement> = Vec::new();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (id, rest) = line
            .split_once(' ')
            .with_context(|| format!("{line:?} has no title"))?;
        let (title, excuse) = match rest.split_once('!') {
            Some((title, excuse)) => (title.trim(), Some(excuse.trim())),
            None => (rest.trim(), None),
        };
        ensure!(
            requirements.iter().all(|other| other.id != id),
            "{id} is listed twice"
        );
        requirements.push(Requirement { id, title, excuse });
    }
    Ok(requirements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_well_formed() {
        let requirements = requirements().expect("well-formed");
        assert!(requirements.len() > 100);
        let excused = requirements
            .iter()
            .find(|requirement| requirement.id == "R-S-10")
            .expect("listed");
        assert_eq!(excused.title, "labels app and version");
        assert_eq!(excused.excuse, Some("a recommendation to users"));
    }
}
