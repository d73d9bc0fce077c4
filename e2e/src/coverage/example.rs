//! The examples of the specification.

use std::collections::BTreeSet;

use anyhow::Result;

use super::requirement::{Requirement, parse};

const LIST: &str = concat!(
    include_str!("../../coverage/examples.txt"),
    "\n",
    include_str!("../../coverage/mixer.txt")
);

/// All examples, in the order of the specification. Those with an excuse are not proven by requests.
///
/// # Errors
///
/// When a line of the list is not of the form `ID title [! excuse]`.
pub fn examples() -> Result<Vec<Requirement>> {
    parse(LIST)
}

/// The examples whose ids the name of a test bears: `ex_08_12_…` those of `EX08` and `EX12`, `ex_1103_…` that of
/// `EX-1103`, `m85_m120_…` those of Mixer's `M85` and `M120`.
#[must_use]
pub fn borne(test: &str) -> BTreeSet<String> {
    let function = test.rsplit("::").next().unwrap_or(test);
    let is_number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let words = || function.split(['_', '-']);
    let numbers = words()
        .skip_while(|word| *word != "ex")
        .skip(1)
        .take_while(is_number);
    let examples = numbers.filter_map(|number| match number.len() {
        2 => Some(format!("EX{number}")),
        4 => Some(format!("EX-{number}")),
        _ => None,
    });
    let numbers = words()
        .filter_map(|word| word.strip_prefix('m'))
        .filter(is_number);
    let of_mixer = numbers
        .filter(|number| (2..=3).contains(&number.len()))
        .map(|number| format!("M{number}"));
    examples.chain(of_mixer).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::coverage::bearers;
    use crate::mesh::programs::workspace;

    #[test]
    fn a_test_bears_all_ids_at_its_beginning() {
        let ids = |name: &str| borne(name).into_iter().collect::<Vec<_>>();
        assert_eq!(ids("routing::ex_08_12_north_sees_v2"), ["EX08", "EX12"]);
        assert_eq!(
            ids("practice::ex_1114_1115_a_timeout_of_10_seconds"),
            ["EX-1114", "EX-1115"]
        );
        assert_eq!(ids("ex-21-22-faults"), ["EX21", "EX22"]);
        assert!(ids("index_08").is_empty() && ids("r_vs_11").is_empty());
        assert_eq!(ids("mixer::m85_m120_both"), ["M120", "M85"]);
        assert_eq!(ids("pain_23_m115_what_is_dangling"), ["M115"]);
        assert!(ids("m_12").is_empty() && ids("m1_is_short").is_empty());
    }

    /// Tests that send requests through a mesh. Golden cases may bear any id besides.
    #[test]
    fn the_list_of_examples_and_the_tests_agree() {
        let examples = examples().unwrap();
        let listed: BTreeSet<&str> = examples.iter().map(|example| example.id).collect();
        let mut sent = BTreeSet::new();
        let mut problems = Vec::new();
        // Every test with the word `ex` in its name, and every one that could be of Mixer.
        let of_mixer = listed.iter().filter(|id| id.starts_with('M'));
        let wanted: Vec<&str> = of_mixer.chain([&"EX"]).copied().collect();
        for test in bearers(workspace(), &wanted).unwrap() {
            let ids = borne(&test.name);
            // Examples of other chapters have lists of their own.
            let here =
                |id: &&String| !id.starts_with("EX-") || id.starts_with("EX-10") || id.starts_with("EX-11");
            for id in ids.iter().filter(here) {
                if !listed.contains(id.as_str()) {
                    problems.push(format!(
                        "{}: {}: {id} is not listed",
                        test.file.display(),
                        test.name
                    ));
                }
            }
            let sends = test.file.starts_with(Path::new("e2e/tests/mesh"));
            sent.extend(ids.into_iter().filter(|id| sends || id.starts_with('M')));
        }
        for example in &examples {
            match (sent.contains(example.id), example.excuse) {
                (false, None) => problems.push(format!(
                    "no test{} bears {}: write one, or a reason behind `!`",
                    if example.id.starts_with('M') {
                        ""
                    } else {
                        " in e2e/tests/mesh"
                    },
                    example.id
                )),
                // Part of a row of Mixer may be proven while a reason says what is missing.
                (true, Some(_)) if example.id.starts_with('M') => {}
                (true, Some(_)) => problems.push(format!(
                    "a test bears {}: remove the reason behind `!`",
                    example.id
                )),
                (true, None) | (false, Some(_)) => {}
            }
        }
        assert!(
            problems.is_empty(),
            "e2e/coverage/examples.txt and mixer.txt:\n{}",
            problems.join("\n")
        );
    }
}
