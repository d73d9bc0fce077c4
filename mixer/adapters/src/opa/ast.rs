//! Walks through policies.

use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Rule, RuleAssign, RuleHead};

/// `data.package` of a module.
pub(super) fn package(module: &Module) -> String {
    format!("data.{}", beginning(&module.package.refr).join("."))
}

/// The names with which a reference begins, up to what is only known for a request: `a.b` of `a.b[x].c`. None where it is
/// no reference.
pub(super) fn beginning(reference: &Expr) -> Vec<&str> {
    let (names, _) = names(reference);
    names
}

/// `a.b.c`, or nothing where something of it is only known for a request.
pub(super) fn path(reference: &Expr) -> Option<String> {
    match names(reference) {
        (names, true) => Some(names.join(".")),
        _ => None,
    }
}

/// The names with which a reference begins, and whether that is all of it.
fn names(reference: &Expr) -> (Vec<&str>, bool) {
    let (of, next) = match reference {
        Expr::Var { span, .. } => return (vec![span.text()], true),
        Expr::RefDot { refr, field, .. } => (refr, Some(field.0.text())),
        Expr::RefBrack { refr, index, .. } => match index.as_ref() {
            Expr::String { span, .. } => (refr, Some(span.text())),
            _ => (refr, None),
        },
        _ => return (Vec::new(), false),
    };
    match (names(of), next) {
        ((mut names, true), Some(next)) => {
            names.push(next);
            (names, true)
        }
        ((names, _), _) => (names, false),
    }
}

/// What a rule defines.
pub(super) fn head(rule: &Rule) -> &Expr {
    match rule {
        Rule::Default { refr, .. } => refr,
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. } => refr,
        },
    }
}

/// Names that mean something else in a rule than outside of it.
pub(super) fn locals(rule: &Rule) -> Vec<&str> {
    let mut locals = Vec::new();
    if let Rule::Spec {
        head: RuleHead::Func { args, .. },
        ..
    } = rule
    {
        args.iter().for_each(|arg| declared(arg, &mut locals));
    }
    each_query(rule, &mut |query| {
        for statement in &query.stmts {
            match &statement.literal {
                Literal::SomeVars { vars, .. } => locals.extend(vars.iter().map(|var| var.text())),
                Literal::SomeIn { key, value, .. } => {
                    key.iter().for_each(|key| declared(key, &mut locals));
                    declared(value, &mut locals);
                }
                Literal::Every { key, value, .. } => {
                    locals.extend(key.iter().chain([value]).map(|var| var.text()));
                }
                Literal::Expr { expr, .. } => {
                    if let Expr::AssignExpr {
                        op: AssignOp::ColEq,
                        lhs,
                        ..
                    } = expr.as_ref()
                    {
                        declared(lhs, &mut locals);
                    }
                }
                Literal::NotExpr { .. } => {}
            }
        }
    });
    locals
}

/// The variables of a pattern.
fn declared<'m>(pattern: &'m Expr, names: &mut Vec<&'m str>) {
    match pattern {
        Expr::Var { span, .. } => names.push(span.text()),
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().for_each(|item| declared(item, names));
        }
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, value)| declared(value, names)),
        _ => {}
    }
}

/// Calls `visit` with each expression of a rule. Of a reference there is the whole, and what stands in its brackets.
pub(super) fn each<'m>(rule: &'m Rule, visit: &mut dyn FnMut(&'m Expr)) {
    of_rule(rule, &mut |part| {
        if let Part::Expr(expr) = part {
            visit(expr);
        }
    });
}

/// Calls `visit` with each body of a rule, and of what stands in it.
pub(super) fn each_query<'m>(rule: &'m Rule, visit: &mut dyn FnMut(&'m Query)) {
    of_rule(rule, &mut |part| {
        if let Part::Query(query) = part {
            visit(query);
        }
    });
}

enum Part<'m> {
    Expr(&'m Expr),
    Query(&'m Query),
}

type Visit<'v, 'm> = &'v mut dyn FnMut(Part<'m>);

fn of_rule<'m>(rule: &'m Rule, visit: Visit<'_, 'm>) {
    match rule {
        Rule::Default { value, .. } => of_expr(value, visit),
        Rule::Spec { head, bodies, .. } => {
            of_brackets(self::head(rule), visit);
            let assign = match head {
                RuleHead::Compr { assign, .. } => assign.as_ref(),
                RuleHead::Func { args, assign, .. } => {
                    args.iter().for_each(|arg| of_expr(arg, visit));
                    assign.as_ref()
                }
                RuleHead::Set { key, .. } => {
                    key.iter().for_each(|key| of_expr(key, visit));
                    None
                }
            };
            let of_bodies = bodies.iter().map(|body| body.assign.as_ref());
            for RuleAssign { value, .. } in of_bodies.chain([assign]).flatten() {
                of_expr(value, visit);
            }
            for body in bodies {
                of_query(&body.query, visit);
            }
        }
    }
}

fn of_query<'m>(query: &'m Query, visit: Visit<'_, 'm>) {
    visit(Part::Query(query));
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn {
                key,
                value,
                collection,
                ..
            } => {
                key.iter().for_each(|key| of_expr(key, visit));
                of_expr(value, visit);
                of_expr(collection, visit);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => of_expr(expr, visit),
            Literal::Every { domain, query, .. } => {
                of_expr(domain, visit);
                of_query(query, visit);
            }
        }
        for modifier in &statement.with_mods {
            of_expr(&modifier.r#as, visit);
        }
    }
}

/// What stands in the brackets of a reference, and what it begins with where that is no name.
fn of_brackets<'m>(reference: &'m Expr, visit: Visit<'_, 'm>) {
    match reference {
        Expr::Var { .. } => {}
        Expr::RefDot { refr, .. } => of_brackets(refr, visit),
        Expr::RefBrack { refr, index, .. } => {
            of_expr(index, visit);
            of_brackets(refr, visit);
        }
        _ => of_expr(reference, visit),
    }
}

/// The parser bounds how deep expressions are.
fn of_expr<'m>(expr: &'m Expr, visit: Visit<'_, 'm>) {
    visit(Part::Expr(expr));
    match expr {
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().for_each(|item| of_expr(item, visit));
        }
        Expr::Object { fields, .. } => {
            for (_, key, value) in fields {
                of_expr(key, visit);
                of_expr(value, visit);
            }
        }
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            of_expr(term, visit);
            of_query(query, visit);
        }
        Expr::ObjectCompr {
            key, value, query, ..
        } => {
            of_expr(key, visit);
            of_expr(value, visit);
            of_query(query, visit);
        }
        Expr::Call { params, .. } => params.iter().for_each(|param| of_expr(param, visit)),
        Expr::UnaryExpr { expr, .. } => of_expr(expr, visit),
        Expr::RefDot { .. } | Expr::RefBrack { .. } => of_brackets(expr, visit),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => {
            of_expr(lhs, visit);
            of_expr(rhs, visit);
        }
        Expr::Membership {
            key,
            value,
            collection,
            ..
        } => {
            key.iter().for_each(|key| of_expr(key, visit));
            of_expr(value, visit);
            of_expr(collection, visit);
        }
        _ => {}
    }
}
