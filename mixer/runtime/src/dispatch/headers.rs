//! What rules do to headers (`spec 02` §5.8).

use std::sync::Arc;

use mesh_api::istio::mixer::v1::header_operation::Operation;
use mesh_api::istio::mixer::v1::{HeaderOperation, RouteDirective};
use mesh_api::istio::policy::v1beta1::rule::header_operation_template::Operation as Template;
use mixer_attribute::{Bag, Track, Value};
use mixer_expr::{Lookup, Overlay};

use super::check::ActionOutput;
use super::conditions::Conditions;
use crate::config::{HeaderOperation as Configured, HeaderTarget, RuleOutputs};
use crate::routing::HeaderRoute;

/// The operations of all rules that apply; `None` where there are none. `outputs`: what checks put out for them.
pub(super) fn operations<'r>(
    routes: &'r [HeaderRoute],
    bag: &Bag<'r>,
    outputs: &[ActionOutput<'_>],
    conditions: &mut Conditions<'r>,
    track: &mut impl Track,
) -> Option<RouteDirective> {
    let mut directive = RouteDirective::default();
    for route in routes {
        if !conditions.hold(route.condition, bag, track) {
            continue;
        }
        let put_out = route
            .outputs
            .as_ref()
            .map(|of_rule| above(bag, route, of_rule, outputs));
        for configured in &route.operations {
            let operation = match &put_out {
                Some(put_out) => operation(route, configured, put_out, &mut put_out.track(track)),
                None => operation(route, configured, bag, track),
            };
            let Some(operation) = operation else {
                continue;
            };
            match configured.target {
                HeaderTarget::Request => directive.request_header_operations.push(operation),
                HeaderTarget::Response => directive.response_header_operations.push(operation),
            }
        }
    }
    let nothing =
        directive.request_header_operations.is_empty() && directive.response_header_operations.is_empty();
    (!nothing).then_some(directive)
}

/// What the actions of a rule put out, above the attributes of the request.
fn above<'b, 'r>(
    bag: &'b Bag<'r>,
    route: &HeaderRoute,
    of_rule: &RuleOutputs,
    outputs: &[ActionOutput<'_>],
) -> Overlay<'b, 'r> {
    let mut overlay = Overlay::new(bag, of_rule.first, of_rule.count);
    for (number, known) in &of_rule.actions {
        let of_action = outputs
            .iter()
            .filter(|one| one.action == *number && Arc::ptr_eq(one.rule, &route.rule));
        for one in of_action {
            known.fill(&mut overlay, one.output.values().iter().cloned());
        }
    }
    overlay
}

/// `None` where there is nothing to set.
fn operation<'r>(
    route: &HeaderRoute,
    configured: &'r Configured,
    attributes: &impl Lookup<'r>,
    track: &mut impl Track,
) -> Option<HeaderOperation> {
    let value = match &configured.value {
        None => String::new(),
        Some(program) => match program.evaluate(attributes, track) {
            Ok(Value::String(value)) if !value.is_empty() => value.to_string(),
            Ok(_) => return None,
            Err(error) => {
                configured.tell(&route.rule, &error);
                return None;
            }
        },
    };
    let operation = match configured.operation {
        Template::Replace => Operation::Replace,
        Template::Remove => Operation::Remove,
        Template::Append => Operation::Append,
    };
    Some(HeaderOperation {
        name: configured.name.clone(),
        value,
        operation: operation.into(),
    })
}
