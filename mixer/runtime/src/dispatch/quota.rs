//! Amounts (`spec 02` §2.6).

use std::time::Duration;

use mesh_api::google::rpc::Status;
use mixer_adapter::{Answer, Code, Handle, QuotaArgs, QuotaResult};
use mixer_attribute::{Bag, QuotaParams, References};
use tracing::{debug, warn};

use super::call::{Call, CallError, Patience};
use super::conditions::Conditions;
use crate::instance::Made;
use crate::routing::{Destination, RoutedInstance, Routes, Table, Target};
use mixer_template::Instance;

/// How long an amount is granted for that nobody limits.
const NOBODY_DURATION: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'r> {
    /// Name of the quota: the short name of an instance.
    pub name: &'r str,
    /// How much.
    pub params: QuotaParams,
    /// The same for all attempts of one call; may be empty.
    pub deduplication_id: &'r str,
}

/// What is granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// How much; 0 is a refusal.
    pub amount: i64,
    /// For how long.
    pub valid_duration: Duration,
    /// Why nobody could say how much there is; nothing is granted then, which is no refusal (pain 22).
    pub undecided: Option<String>,
    /// What was read to find out.
    pub references: References,
}

/// Asks whoever limits a quota. `references`: what was read before. What cannot be answered is refused.
pub(super) async fn allocate<'r>(
    table: &'r Table,
    routes: &'r Routes,
    bag: &Bag<'r>,
    wanted: Wanted<'r>,
    mut references: References,
    patience: Patience,
) -> Grant {
    let QuotaParams { amount, best_effort } = wanted.params;
    let args = QuotaArgs {
        deduplication_id: match wanted.deduplication_id {
            "" => String::new(),
            id => format!("{id}{}", wanted.name),
        },
        amount,
        best_effort,
    };
    let mut configured = false;
    let mut undecided = None;
    let mut calls = Vec::new();
    // What was read for conditions belongs to each quota that they decide about.
    let mut conditions = Conditions::new(table);
    for route in &routes.quotas {
        let Some(destination) = table.destinations.get(route.destination) else {
            continue;
        };
        for group in &route.groups {
            let named = |name: &str| name.eq_ignore_ascii_case(wanted.name);
            let mut instances = group
                .instances
                .iter()
                .filter(|one| named(one.name.short()))
                .peekable();
            if instances.peek().is_none() {
                continue;
            }
            configured = true;
            if !conditions.hold(group.condition, bag, &mut references) {
                continue;
            }
            for instance in instances {
                match instance.maker.make(bag, &mut references) {
                    Ok(made) => calls.push(Call::start(destination, || {
                        call(destination, instance, made, &args, patience)
                    })),
                    Err(error) => {
                        undecided.get_or_insert_with(|| format!("{}: {error}", instance.name));
                        warn!(quota = wanted.name, instance = %instance.name, %error, "quota is refused");
                    }
                }
            }
        }
    }
    let answers = Call::finish_all(calls, patience).await;
    let (amount, valid_duration) = match first(wanted, answers, &mut undecided) {
        Some(result) => {
            undecided = None;
            (result.amount, result.valid_duration)
        }
        None if undecided.is_some() => (0, Duration::ZERO),
        None => {
            if !configured {
                debug!(quota = wanted.name, "nobody limits this quota");
            }
            (amount, NOBODY_DURATION)
        }
    };
    Grant {
        amount,
        valid_duration,
        undecided,
        references,
    }
}

/// The first grant counts, else the first refusal. `undecided` learns of handlers that could not say anything.
fn first(
    wanted: Wanted<'_>,
    answers: Vec<(&Destination, Result<QuotaResult, CallError>)>,
    undecided: &mut Option<String>,
) -> Option<QuotaResult> {
    let quota = wanted.name;
    let mut result: Option<QuotaResult> = None;
    for (destination, answer) in answers {
        let answer = answer.map(|answer| QuotaResult {
            amount: granted(wanted.params, answer.amount),
            ..answer
        });
        match answer {
            Err(error) => {
                warn!(quota, %error, "quota is refused");
                undecided.get_or_insert_with(|| error.to_string());
            }
            Ok(answer) if answer.amount == 0 && is_away(&answer.status) => {
                let handler = destination.handler.name();
                undecided.get_or_insert_with(|| format!("{handler}: {}", answer.status.message));
            }
            Ok(answer)
                if result
                    .as_ref()
                    .is_none_or(|result| result.amount == 0 && answer.amount != 0) =>
            {
                result = Some(answer);
            }
            Ok(_) => {
                debug!(quota, handler = %destination.handler.name(), "another handler has limited the quota before");
            }
        }
    }
    result
}

/// What counts of an amount that a handler gives (§2.1): a part only for callers who said that a part will do, since they take
/// whatever is more than nothing for all of it, and never less than nothing. Who gives back asks for a negative amount.
fn granted(wanted: QuotaParams, amount: i64) -> i64 {
    let refused = if wanted.best_effort {
        amount < 0
    } else {
        amount < wanted.amount
    };
    if wanted.amount >= 0 && refused { 0 } else { amount }
}

/// Whether a handler did not find out, rather than find nothing left.
fn is_away(status: &Status) -> bool {
    let code = Code::from(status.code);
    matches!(code, Code::Unavailable | Code::DeadlineExceeded)
}

pub(super) fn call(
    destination: &Destination,
    routed: &RoutedInstance,
    made: Made<'_>,
    args: &QuotaArgs,
    patience: Patience,
) -> Answer<QuotaResult> {
    match (&destination.target, made) {
        (Target::BuiltIn(Handle::Quota(handler)), Made::BuiltIn(Instance::Quota(instance))) => {
            handler.handle_quota(&instance, args)
        }
        (Target::Remote(backend, template), Made::Encoded(instance)) => {
            let name = routed.name.as_str();
            backend.quota(template, name, instance, args, patience.ends_by())
        }
        _ => Answer::failed("limits nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_02_2_1_a_part_is_granted_to_those_alone_who_want_one() {
        for (amount, best_effort, given, counts) in [
            (5, true, 3, 3),
            (5, false, 3, 0),
            (5, false, 5, 5),
            (5, false, 9, 9),
            (5, true, -3, 0),
            (5, false, -3, 0),
            (0, false, 0, 0),
            (-2, false, -2, -2),
            (-2, true, -2, -2),
        ] {
            let wanted = QuotaParams { amount, best_effort };
            assert_eq!(granted(wanted, given), counts, "{wanted:?} {given}");
        }
    }
}
