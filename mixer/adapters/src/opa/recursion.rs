//! Rules that need their own answer. The engine finds out when a decision gets there.

use std::collections::{BTreeMap, BTreeSet};

use regorus::CompiledPolicy;
use regorus::unstable::{Expr, Module, Rule};

use super::ast::{beginning, each, head, locals, package};

/// What rules need, by their full names.
type Needs = BTreeMap<String, BTreeSet<String>>;

/// A rule that needs itself, and by way of which others: `data.t.a -> data.t.b -> data.t.a`.
pub(super) fn circle(policy: &CompiledPolicy) -> Option<String> {
    let mut needs = Needs::new();
    for module in policy.get_modules() {
        for rule in &module.policy {
            let needed = references(module, rule);
            needs.entry(name(module, rule)).or_default().extend(needed);
        }
    }
    let rules: Vec<&str> = needs.keys().map(String::as_str).collect();
    let next: BTreeMap<&str, Vec<&str>> = needs
        .iter()
        .map(|(rule, references)| {
            let needed = rules
                .iter()
                .copied()
                .filter(|rule| references.iter().any(|reference| meets(reference, rule)));
            (rule.as_str(), needed.collect())
        })
        .collect();
    let mut done = BTreeSet::new();
    rules
        .iter()
        .copied()
        .find_map(|rule| follow(rule, &next, &mut Vec::new(), &mut done))
}

/// Goes on from a rule; `way` is how we came there.
fn follow<'n>(
    rule: &'n str,
    next: &BTreeMap<&'n str, Vec<&'n str>>,
    way: &mut Vec<&'n str>,
    done: &mut BTreeSet<&'n str>,
) -> Option<String> {
    if let Some(start) = way.iter().position(|passed| *passed == rule) {
        let circle = way[start..].iter().copied().chain([rule]);
        return Some(circle.collect::<Vec<_>>().join(" -> "));
    }
    if !done.insert(rule) {
        return None;
    }
    way.push(rule);
    let found = next
        .get(rule)
        .into_iter()
        .flatten()
        .copied()
        .find_map(|needed| follow(needed, next, way, done));
    way.pop();
    found
}

fn name(module: &Module, rule: &Rule) -> String {
    let names = beginning(head(rule));
    format!("{}.{}", package(module), names.join("."))
}

/// What a rule refers to, by full names. Names may be those of variables, which no rule has.
fn references(module: &Module, rule: &Rule) -> BTreeSet<String> {
    let package = package(module);
    let locals = locals(rule);
    let mut found = BTreeSet::new();
    let mut refer = |reference: &Expr| {
        let names = beginning(reference);
        let Some((first, rest)) = names.split_first() else {
            return;
        };
        if *first == "input" || locals.contains(first) {
            return;
        }
        let whole = match (*first, imported(module, first)) {
            ("data", _) => names.join("."),
            (_, Some(path)) => [&[path.as_str()][..], rest].concat().join("."),
            _ => format!("{package}.{}", names.join(".")),
        };
        found.insert(whole);
    };
    each(rule, &mut |expr| match expr {
        Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => refer(expr),
        Expr::Call { fcn, .. } => refer(fcn),
        _ => {}
    });
    found
}

/// What a module has imported under a name.
fn imported(module: &Module, name: &str) -> Option<String> {
    module.imports.iter().find_map(|import| {
        let path = beginning(&import.refr);
        let known_as = match &import.r#as {
            Some(alias) => alias.text(),
            None => path.last().copied()?,
        };
        (known_as == name).then(|| path.join("."))
    })
}

/// Whether a reference is to a rule, into what it gives, or to a package that it belongs to.
fn meets(reference: &str, rule: &str) -> bool {
    let within = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    within(rule, reference) || within(reference, rule)
}
