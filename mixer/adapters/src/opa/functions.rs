//! Which functions a policy calls that are not there. The engine finds out when a decision gets to such a call, which is
//! too late for whoever wrote the policy, and lets requests pass where it does not fail closed.

use std::collections::BTreeSet;

use regorus::unstable::{Expr, Literal, Module, Query, Rule, RuleAssign, RuleHead};
use regorus::{CompiledPolicy, Engine};

/// Calls of functions that neither the policy nor the engine has, each with its place. The engine finds functions of
/// other modules by their full names only.
pub(super) fn missing(policy: &CompiledPolicy) -> Vec<String> {
    let modules = policy.get_modules();
    let own: BTreeSet<String> = modules.iter().flat_map(|module| functions(module)).collect();
    let mut missing = Vec::new();
    for module in modules {
        let package = package(module);
        let mut calls = Vec::new();
        for rule in &module.policy {
            of_rule(rule, &mut calls);
        }
        for call in calls {
            let Some(name) = call_name(call) else {
                continue;
            };
            let known =
                own.contains(&name) || own.contains(&format!("{package}.{name}")) || is_built_in(&name);
            if !known {
                let error = call.span().error(&format!("there is no function {name}"));
                missing.push(error.to_string());
            }
        }
    }
    missing
}

/// The engine says which function it does not find, whatever it is called with.
fn is_built_in(name: &str) -> bool {
    let mut engine = Engine::new();
    engine.set_rego_v0(true);
    match engine.eval_query(format!("{name}()"), false) {
        Ok(_) => true,
        Err(error) => !error.to_string().contains("could not find function"),
    }
}

/// `data.package` of a module.
fn package(module: &Module) -> String {
    format!("data.{}", path(&module.package.refr).unwrap_or_default())
}

/// Full names of the functions of a module.
fn functions(module: &Module) -> Vec<String> {
    let package = package(module);
    let names = module.policy.iter().filter_map(|rule| match rule.as_ref() {
        Rule::Spec {
            head: RuleHead::Func { refr, .. },
            ..
        }
        | Rule::Default { refr, .. } => path(refr),
        Rule::Spec { .. } => None,
    });
    names.map(|name| format!("{package}.{name}")).collect()
}

/// `a.b.c`, or nothing where it is no path.
fn path(reference: &Expr) -> Option<String> {
    match reference {
        Expr::Var { span, .. } => Some(span.text().to_owned()),
        Expr::RefDot { refr, field, .. } => Some(format!("{}.{}", path(refr)?, field.0.text())),
        Expr::RefBrack { refr, index, .. } => match index.as_ref() {
            Expr::String { span, .. } => Some(format!("{}.{}", path(refr)?, span.text())),
            _ => None,
        },
        _ => None,
    }
}

fn call_name(call: &Expr) -> Option<String> {
    match call {
        Expr::Call { fcn, .. } => path(fcn),
        _ => None,
    }
}

fn of_rule<'m>(rule: &'m Rule, calls: &mut Vec<&'m Expr>) {
    match rule {
        Rule::Default { value, .. } => of_expr(value, calls),
        Rule::Spec { head, bodies, .. } => {
            let assign = match head {
                RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign.as_ref(),
                RuleHead::Set { key, .. } => {
                    key.iter().for_each(|key| of_expr(key, calls));
                    None
                }
            };
            let mut of_assign = |assign: Option<&'m RuleAssign>| {
                assign
                    .into_iter()
                    .for_each(|assign| of_expr(&assign.value, calls));
            };
            of_assign(assign);
            for body in bodies {
                of_assign(body.assign.as_ref());
            }
            for body in bodies {
                of_query(&body.query, calls);
            }
        }
    }
}

fn of_query<'m>(query: &'m Query, calls: &mut Vec<&'m Expr>) {
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn {
                key,
                value,
                collection,
                ..
            } => {
                key.iter().for_each(|key| of_expr(key, calls));
                of_expr(value, calls);
                of_expr(collection, calls);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => of_expr(expr, calls),
            Literal::Every { domain, query, .. } => {
                of_expr(domain, calls);
                of_query(query, calls);
            }
        }
    }
}

/// The parser bounds how deep expressions are.
fn of_expr<'m>(expr: &'m Expr, calls: &mut Vec<&'m Expr>) {
    match expr {
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().for_each(|item| of_expr(item, calls));
        }
        Expr::Object { fields, .. } => {
            for (_, key, value) in fields {
                of_expr(key, calls);
                of_expr(value, calls);
            }
        }
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            of_expr(term, calls);
            of_query(query, calls);
        }
        Expr::ObjectCompr {
            key, value, query, ..
        } => {
            of_expr(key, calls);
            of_expr(value, calls);
            of_query(query, calls);
        }
        Expr::Call { params, .. } => {
            calls.push(expr);
            params.iter().for_each(|param| of_expr(param, calls));
        }
        Expr::UnaryExpr { expr, .. } | Expr::RefDot { refr: expr, .. } => of_expr(expr, calls),
        Expr::RefBrack {
            refr: lhs,
            index: rhs,
            ..
        }
        | Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => {
            of_expr(lhs, calls);
            of_expr(rhs, calls);
        }
        Expr::Membership {
            key,
            value,
            collection,
            ..
        } => {
            key.iter().for_each(|key| of_expr(key, calls));
            of_expr(value, calls);
            of_expr(collection, calls);
        }
        _ => {}
    }
}
