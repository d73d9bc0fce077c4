//! What rules do to headers (`spec 02` §5.8).

use mesh_api::istio::mixer::v1::header_operation::Operation;
use mesh_api::istio::mixer::v1::{HeaderOperation, RouteDirective};
use mesh_api::istio::policy::v1beta1::rule::header_operation_template::Operation as Template;
use mixer_attribute::{Bag, Track, Value};

use super::conditions::Conditions;
use crate::config::{HeaderOperation as Configured, HeaderTarget};
use crate::routing::HeaderRoute;

/// The operations of all rules that apply; `None` where there are none.
pub(super) fn operations<'r>(
    routes: &'r [HeaderRoute],
    bag: &Bag<'r>,
    conditions: &mut Conditions<'r>,
    track: &mut impl Track,
) -> Option<RouteDirective> {
    let mut directive = RouteDirective::default();
    for route in routes {
        if !conditions.hold(route.condition, bag, track) {
            continue;
        }
        for configured in &route.operations {
            let Some(operation) = operation(route, configured, bag, track) else {
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

/// `None` where there is nothing to set.
fn operation<'r>(
    route: &HeaderRoute,
    configured: &'r Configured,
    bag: &Bag<'r>,
    track: &mut impl Track,
) -> Option<HeaderOperation> {
    let value = match &configured.value {
        None => String::new(),
        Some(program) => match program.evaluate(bag, track) {
            Ok(Value::String(value)) if !value.is_empty() => value.to_string(),
            Ok(_) => return None,
            Err(error) => {
                tracing::warn!(rule = %route.rule, header = configured.name, %error, "header is left as it is");
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
