//! Asks the policy.

use std::sync::Arc;

use mixer_adapter::{Answer, CheckResult, Code, HandleAuthorization};
use mixer_template::Authorization;
use regorus::Value;
use tracing::warn;

use super::deciders::{Deciders, Decision};
use super::input::input;
use crate::tell::OnceASecond;

/// What is said to whoever is refused.
const REFUSED: &str = "opa: request was rejected";

#[derive(Debug)]
pub(super) struct Engine {
    /// `None` when the policy could not be compiled.
    deciders: Option<Deciders>,
    otherwise: Arc<Otherwise>,
}

/// What becomes of requests of which the policy says nothing.
#[derive(Debug)]
struct Otherwise {
    fail_close: bool,
    handler: String,
    failures: OnceASecond,
}

// === impl Engine ===

impl Engine {
    pub(super) fn new(deciders: Option<Deciders>, fail_close: bool, handler: &str) -> Self {
        Self {
            deciders,
            otherwise: Arc::new(Otherwise {
                fail_close,
                handler: handler.to_owned(),
                failures: OnceASecond::new(),
            }),
        }
    }
}

impl HandleAuthorization for Engine {
    fn handle_authorization(&self, instance: &Authorization<'_>) -> Answer<CheckResult> {
        let asked = match &self.deciders {
            Some(deciders) => deciders.ask(Value::from(input(instance))),
            None => Err("the policy is invalid".to_owned()),
        };
        let otherwise = Arc::clone(&self.otherwise);
        match asked {
            Err(reason) => Answer::Now(Ok(otherwise.result(Err(reason)))),
            Ok(decision) => Answer::Later(Box::pin(async move {
                let gone = |_| Err("nobody decides any more".to_owned());
                Ok(otherwise.result(decision.await.unwrap_or_else(gone)))
            })),
        }
    }
}

// === impl Otherwise ===

impl Otherwise {
    fn result(&self, decision: Decision) -> CheckResult {
        let allowed = decision.unwrap_or_else(|error| {
            let allowed = !self.fail_close;
            if self.failures.is_due() {
                warn!(handler = %self.handler, %error, allowed, "the policy does not decide");
            }
            allowed
        });
        if allowed {
            CheckResult::default()
        } else {
            CheckResult::refused(Code::PermissionDenied, REFUSED)
        }
    }
}
