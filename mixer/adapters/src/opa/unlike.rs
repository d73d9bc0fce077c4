//! What the engine takes and OPA does not, or takes for something else.

use std::collections::BTreeMap;

use regorus::CompiledPolicy;
use regorus::unstable::{Expr, Module, Rule, RuleHead};

use super::ast::{beginning, each, each_query, head, package};

/// What rules of one name have to have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Complete,
    Set,
    Object,
    Function,
}

/// What has to be written otherwise, each with its place.
pub(super) fn wrong(policy: &CompiledPolicy) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    let mut defaults: BTreeMap<String, usize> = BTreeMap::new();
    for module in policy.get_modules() {
        for rule in &module.policy {
            let name = name(module, rule);
            let mut refuse = |reason: &str| wrong.push(rule.span().error(reason).to_string());
            match rule.as_ref() {
                Rule::Default { value, .. } => {
                    let count = defaults.entry(name.clone()).or_default();
                    *count += 1;
                    if *count == 2 {
                        refuse(&format!("{name} has another default already"));
                    }
                    if !is_constant(value) {
                        refuse(&format!("the default of {name} depends on something"));
                    }
                }
                Rule::Spec { head, .. } => {
                    let kind = kind(head);
                    if *kinds.entry(name.clone()).or_insert(kind) != kind {
                        refuse(&format!("{name} is a rule of another kind already"));
                    }
                }
            }
            of_rule(rule, &mut wrong);
        }
    }
    wrong
}

fn name(module: &Module, rule: &Rule) -> String {
    format!("{}.{}", package(module), beginning(head(rule)).join("."))
}

fn kind(head: &RuleHead) -> Kind {
    match head {
        RuleHead::Func { .. } => Kind::Function,
        RuleHead::Set { .. } => Kind::Set,
        RuleHead::Compr { refr, .. } => match refr.as_ref() {
            Expr::RefBrack { .. } => Kind::Object,
            _ => Kind::Complete,
        },
    }
}

fn is_constant(value: &Expr) -> bool {
    match value {
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().all(|item| is_constant(item)),
        Expr::Object { fields, .. } => fields
            .iter()
            .all(|(_, key, value)| is_constant(key) && is_constant(value)),
        Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } | Expr::Call { .. } => false,
        _ => true,
    }
}

fn of_rule(rule: &Rule, wrong: &mut Vec<String>) {
    each_query(rule, &mut |query| {
        for statement in query.stmts.iter().filter(|stmt| !stmt.with_mods.is_empty()) {
            // The engine's own changes the input of rules that were asked before.
            let reason = "`with` is not there";
            wrong.push(statement.span.error(reason).to_string());
        }
    });
    each(rule, &mut |expr| {
        let (span, reason) = match expr {
            Expr::ArrayCompr { span, term, .. } | Expr::SetCompr { span, term, .. }
                if has(term, is_comprehension) =>
            {
                (
                    span,
                    "a comprehension in what another one collects: give it a variable",
                )
            }
            Expr::AssignExpr { span, lhs, .. } if has(lhs, is_object) => {
                (span, "a pattern of an object would fit objects with more members")
            }
            _ => return,
        };
        wrong.push(span.error(reason).to_string());
    });
}

fn is_comprehension(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::ArrayCompr { .. } | Expr::SetCompr { .. } | Expr::ObjectCompr { .. }
    )
}

fn is_object(expr: &Expr) -> bool {
    matches!(expr, Expr::Object { .. })
}

/// Whether there is something in a collection, however deep.
fn has(expr: &Expr, what: fn(&Expr) -> bool) -> bool {
    what(expr)
        || match expr {
            Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().any(|item| has(item, what)),
            Expr::Object { fields, .. } => fields.iter().any(|(_, _, value)| has(value, what)),
            _ => false,
        }
}
