//! What a text says: terminals with commands and what they print, and files of this tree.
//!
//! A block `console` is a terminal. `$ ` begins a command, `> ` continues it, `^C` stops what runs, and all else is printed, where
//! `…` stands for anything. A second word is the name of another terminal than the first, and no reader sees it. A block of any
//! other language whose second word is a path shows that file whole.

use std::path::Path;

/// Something to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Which terminal; the first has no name.
    pub(crate) terminal: String,
    pub(crate) action: Action,
    /// Lines that are printed.
    pub(crate) printed: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A command is typed.
    Type(String),
    /// What runs is stopped.
    Stop,
    /// Nothing is done: something is there to be seen.
    Look,
}

/// A file that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Reads a text.
pub(crate) fn read(text: &str) -> (Vec<Step>, Vec<Shown>) {
    let mut steps = Vec::new();
    let mut files = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(words) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match words.split_once(' ') {
            None if words == "console" => terminal("", &block, &mut steps),
            Some(("console", name)) => terminal(name, &block, &mut steps),
            Some((_, path)) if Path::new(path).components().count() > 1 => files.push(Shown {
                path: path.to_owned(),
                text: block.iter().map(|line| format!("{line}\n")).collect(),
            }),
            _ => {}
        }
    }
    (steps, files)
}

fn terminal(name: &str, block: &[&str], steps: &mut Vec<Step>) {
    let before = steps.len();
    for line in block {
        let action = match line.strip_prefix("$ ") {
            Some(command) => Some(Action::Type(command.to_owned())),
            None if *line == "^C" => Some(Action::Stop),
            None if steps.len() == before => Some(Action::Look),
            None => None,
        };
        if let Some(action) = action {
            let look = action == Action::Look;
            steps.push(Step {
                terminal: name.to_owned(),
                action,
                printed: Vec::new(),
            });
            if !look {
                continue;
            }
        }
        let step = steps.last_mut().unwrap();
        match (line.strip_prefix('>'), &mut step.action) {
            (Some(more), Action::Type(command)) => {
                command.push('\n');
                command.push_str(more.strip_prefix(' ').unwrap_or(more));
            }
            _ => step.printed.push((*line).to_owned()),
        }
    }
}

/// Whether a line is one of which `…` stands for anything.
pub(crate) fn matches(wanted: &str, line: &str) -> bool {
    let mut parts = wanted.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else {
        return line == wanted;
    };
    let Some(mut rest) = line.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    parts.all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[test]
fn a_text_is_read_as_people_read_it() {
    let text = "# A\n\n```console\n$ one\n> two\nout …\n$ three\n```\n```console adapter\nseen\n```\n\
                ```console adapter\n^C\n```\n```rust a/b.rs\nfn main() {}\n```\n```yaml\na: b\n```\n";
    let step = |terminal: &str, action, printed: &[&str]| Step {
        terminal: terminal.to_owned(),
        action,
        printed: printed.iter().map(|line| (*line).to_owned()).collect(),
    };
    let (steps, files) = read(text);
    assert_eq!(
        steps,
        [
            step("", Action::Type("one\ntwo".to_owned()), &["out …"]),
            step("", Action::Type("three".to_owned()), &[]),
            step("adapter", Action::Look, &["seen"]),
            step("adapter", Action::Stop, &[]),
        ]
    );
    assert_eq!(files.len(), 1);
    assert_eq!((&*files[0].path, &*files[0].text), ("a/b.rs", "fn main() {}\n"));
    for (wanted, line, is) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a…", "ab", true),
        ("a…c", "abc", true),
        ("a…c", "abcd", false),
        ("a…c…}", "a}c}}", true),
        ("…b…", "abc", true),
        ("a…d…", "abc", false),
    ] {
        assert_eq!(matches(wanted, line), is, "{wanted} {line}");
    }
}
