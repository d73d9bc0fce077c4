//! `/admitmixer`: the kinds that Mixer reads (G8.5).
//!
//! Objects are checked alone, parameters of the adapters and templates of 1.1 included: that a rule names handlers that exist
//! and that expressions have the right type is for whoever knows all of them.

use mesh_config::Kind;
use serde_json::Value;

use crate::object;
use crate::outcome::Reason;
use crate::review::Request;
use crate::verdict::Verdict;
use crate::warnings::Warnings;

const GROUP: &str = "config.istio.io";

/// Judges what is created or changed, and that what is removed has a name; everything else is allowed.
pub(crate) fn admit(request: &mut Request, more: &dyn Warnings) -> Verdict {
    match request.operation.as_str() {
        "CREATE" | "UPDATE" => {}
        "DELETE" if request.name.is_empty() => {
            let message = "illformed request: name not found on delete request";
            return Verdict::refused(Reason::UnknownType, message);
        }
        "DELETE" => return Verdict::passed(),
        _ => return Verdict::not_judged(Reason::UnsupportedOperation),
    }
    match object::kind(request) {
        Err(verdict) => verdict,
        Ok(Some(kind)) if is_mixers(kind) => {
            let selector = (kind == Kind::Rule)
                .then(|| selector(&mut request.object))
                .flatten();
            match selector {
                Some(Selector::Instead) => Verdict::refused(
                    Reason::InvalidResource,
                    "configuration is invalid: field 'selector' is deprecated, use 'match' instead",
                ),
                Some(Selector::Beside) => object::check(request, more)
                    .warning("field 'selector' is deprecated, and ignored because there is a 'match'"),
                None => object::check(request, more),
            }
        }
        // Somebody else validates it.
        Ok(_) => Verdict::passed(),
    }
}

fn is_mixers(kind: Kind) -> bool {
    kind.schema().group == GROUP && !Kind::PILOT.contains(&kind)
}

/// The former name of a rule's `match`.
enum Selector {
    Instead,
    Beside,
}

/// Looks for `selector` in a rule, and takes it away where it is to be ignored.
fn selector(object: &mut Value) -> Option<Selector> {
    let spec = object.get_mut("spec")?.as_object_mut()?;
    spec.get("selector")?;
    if spec.contains_key("match") {
        spec.remove("selector");
        Some(Selector::Beside)
    } else {
        Some(Selector::Instead)
    }
}
