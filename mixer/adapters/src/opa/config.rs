//! Compiles policies.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::adapter::opa::config::Params;
use mixer_adapter::ConfigErrors;
use regorus::utils::limits::{ExecutionTimerConfig, set_fallback_execution_timer_config};
use regorus::{CompiledPolicy, Engine};

use super::deciders::on_a_large_stack;
use super::{extensions, functions, recursion, unlike};

/// How long a decision may take. Rego always comes to an end, but products of large sets take their time.
const TIME_LIMIT: ExecutionTimerConfig = ExecutionTimerConfig {
    limit: Duration::from_secs(1),
    check_interval: NonZeroU32::MIN,
};

/// How deep brackets of a module may be in each other: the parser takes twice as long for each one more.
const MOST_BRACKETS: usize = 12;

/// Rules of all modules. Each may be called by the one before, for which there must be room on the stack.
const MOST_RULES: usize = 500;

/// The rule that is asked, in the language of OPA before 1.0, which is what policies for Istio 1.1 are written in.
pub(super) fn compile(params: &Params) -> Result<CompiledPolicy, ConfigErrors> {
    on_a_large_stack(|| read(params)).unwrap_or_else(|| {
        let mut errors = ConfigErrors::default();
        errors.push("policy", "cannot be compiled");
        Err(errors)
    })
}

fn read(params: &Params) -> Result<CompiledPolicy, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    // Nobody else in the process evaluates policies.
    set_fallback_execution_timer_config(Some(TIME_LIMIT));
    let mut engine = Engine::new();
    engine.set_rego_v0(true);
    // A function that fails is undefined, and with it what it stands in; all else is evaluated.
    engine.set_strict_builtin_errors(false);
    if let Err(reason) = extensions::add(&mut engine) {
        errors.push("policy", reason);
    }
    if params.policy.is_empty() {
        errors.push("policy", "at least one module must be given");
    }
    for (number, module) in params.policy.iter().enumerate() {
        let field = format!("policy[{number}]");
        if brackets(module) > MOST_BRACKETS {
            errors.push(field, format!("brackets are nested deeper than {MOST_BRACKETS}"));
        } else if let Err(error) = engine.add_policy(field.clone(), module.clone()) {
            errors.push(field, plain(&error.to_string()));
        }
    }
    let parts: Vec<&str> = params.check_method.split('.').collect();
    if parts.len() < 3 || parts[0] != "data" || parts.iter().any(|part| part.is_empty()) {
        errors.push(
            "checkMethod",
            format!("{:?} is not data.<package>.<rule>", params.check_method),
        );
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let policy = match engine.compile_with_entrypoint(&Arc::from(params.check_method.as_str())) {
        Ok(policy) => policy,
        Err(error) => {
            errors.push("policy", plain(&error.to_string()));
            return Err(errors);
        }
    };
    let rules: usize = policy
        .get_modules()
        .iter()
        .map(|module| module.policy.len())
        .sum();
    if rules > MOST_RULES {
        errors.push("policy", format!("there are more than {MOST_RULES} rules"));
    }
    for wrong in functions::wrong(&policy)
        .into_iter()
        .chain(unlike::wrong(&policy))
    {
        errors.push("policy", plain(&wrong));
    }
    if let Some(circle) = recursion::circle(&policy) {
        errors.push("policy", format!("a rule needs its own answer: {circle}"));
    }
    if errors.is_empty() {
        Ok(policy)
    } else {
        Err(errors)
    }
}

/// How deep brackets are in each other, without those in texts and comments.
fn brackets(module: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut letters = module.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '(' | '[' | '{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '#' => drop(letters.find(|letter| *letter == '\n')),
            '`' => drop(letters.find(|letter| *letter == '`')),
            '"' => {
                while let Some(letter) = letters.next() {
                    match letter {
                        '\\' => drop(letters.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

/// On one line.
fn plain(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}
