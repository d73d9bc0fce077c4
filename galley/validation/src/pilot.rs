//! `/admitpilot`: the kinds that Pilot reads (G8.4).

use mesh_config::Kind;

use crate::object;
use crate::outcome::Reason;
use crate::review::Request;
use crate::verdict::Verdict;
use crate::warnings::Warnings;

/// Judges what is created or changed; everything else is allowed.
pub(crate) fn admit(request: &Request, more: &dyn Warnings) -> Verdict {
    if !matches!(request.operation.as_str(), "CREATE" | "UPDATE") {
        return Verdict::not_judged(Reason::UnsupportedOperation);
    }
    match object::kind(request) {
        Err(verdict) => verdict,
        Ok(Some(kind)) if Kind::PILOT.contains(&kind) => object::check(request, more),
        Ok(_) => Verdict::refused(
            Reason::UnknownType,
            format!("unrecognized type {}", request.object["kind"]),
        ),
    }
}
