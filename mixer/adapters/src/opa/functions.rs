//! Calls of functions that are not there, or with too few or too many arguments. The engine finds out when a decision gets to
//! such a call, which is too late for whoever wrote the policy, and lets requests pass where it does not fail closed.

use std::collections::BTreeMap;

use regorus::unstable::{Expr, Module, Rule, RuleHead};
use regorus::{CompiledPolicy, Engine};

use super::ast::{each, head, package, path};
use super::extensions;

/// How many arguments a function has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Function {
    Unknown,
    /// One of the policy, by its rules.
    Own(Vec<usize>),
    /// One of the language; `None` if it takes any number.
    BuiltIn(Option<usize>),
}

/// What is wrong with calls, each with its place. The engine finds functions of other modules by their full names only.
pub(super) fn wrong(policy: &CompiledPolicy) -> Vec<String> {
    let modules = policy.get_modules();
    let mut own: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for module in modules {
        functions(module, &mut own);
    }
    let mut known: BTreeMap<String, Function> = BTreeMap::new();
    let mut wrong = Vec::new();
    for module in modules {
        let package = package(module);
        let mut check = |expr: &Expr| {
            let Expr::Call {
                span, fcn, params, ..
            } = expr
            else {
                return;
            };
            let Some(name) = path(fcn) else { return };
            let of_module = own.get(&name).or_else(|| own.get(&format!("{package}.{name}")));
            let function = match of_module {
                Some(numbers) => Function::Own(numbers.clone()),
                None => known
                    .entry(name.clone())
                    .or_insert_with(|| built_in(&name))
                    .clone(),
            };
            let numbers = match function {
                Function::Unknown => {
                    wrong.push(span.error(&format!("there is no function {name}")).to_string());
                    return;
                }
                Function::BuiltIn(None) => return,
                Function::BuiltIn(Some(number)) => vec![number],
                Function::Own(numbers) => numbers,
            };
            // What it returns may be taken by one more argument.
            let given = params.len();
            if !numbers
                .iter()
                .any(|number| given == *number || given == number + 1)
            {
                let reason = format!("function {name} has {} arguments, not {given}", numbers[0]);
                wrong.push(span.error(&reason).to_string());
            }
        };
        for rule in &module.policy {
            each(rule, &mut check);
        }
    }
    wrong
}

/// The engine says which function it does not find, whatever it is called with, and how many arguments one has.
fn built_in(name: &str) -> Function {
    if let Some(arguments) = extensions::arguments(name) {
        return Function::BuiltIn(Some(arguments));
    }
    let mut engine = Engine::new();
    engine.set_rego_v0(true);
    match engine.eval_query(format!("{name}()"), false) {
        Ok(_) => Function::BuiltIn(None),
        Err(error) => {
            let error = error.to_string();
            if error.contains("could not find function") {
                return Function::Unknown;
            }
            let expected = error.split(" expects ").nth(1);
            let number = expected.and_then(|expected| expected.split(' ').next()?.parse().ok());
            Function::BuiltIn(number)
        }
    }
}

/// Adds the functions of a module by their full names.
fn functions(module: &Module, own: &mut BTreeMap<String, Vec<usize>>) {
    let package = package(module);
    for rule in &module.policy {
        let arguments = match rule.as_ref() {
            Rule::Spec {
                head: RuleHead::Func { args, .. },
                ..
            } => args.len(),
            Rule::Default { args, .. } if !args.is_empty() => args.len(),
            Rule::Spec { .. } | Rule::Default { .. } => continue,
        };
        if let Some(name) = path(head(rule)) {
            own.entry(format!("{package}.{name}"))
                .or_default()
                .push(arguments);
        }
    }
}
