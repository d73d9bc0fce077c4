//! `/admitservice`: Services of Kubernetes, of which nothing is refused.

use mesh_config::Kind;

use crate::object;
use crate::outcome::Reason;
use crate::review::Request;
use crate::verdict::Verdict;
use crate::warnings::Warnings;

/// Says what is surely a mistake in what is created or changed.
pub(crate) fn admit(request: &Request, more: &dyn Warnings) -> Verdict {
    if !matches!(request.operation.as_str(), "CREATE" | "UPDATE") {
        return Verdict::not_judged(Reason::UnsupportedOperation);
    }
    match object::kind(request) {
        Ok(Some(Kind::Service)) => object::warned(request, more),
        Ok(_) => Verdict::passed(),
        // What is no object at all is for the API server to judge.
        Err(_) => Verdict::not_judged(Reason::YamlDecodeError),
    }
}
