//! The HTTP side of a webhook (G8.3).

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::outcome::Outcome;
use crate::verdict::Verdict;
use crate::warnings::{NoWarnings, Warnings};
use crate::{mixer, pilot, review, service};

/// Longest request that is read, in bytes: two objects of the largest size that the API server stores, and room.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// One of the webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhook {
    /// `pilot.validation.istio.io`.
    Pilot,
    /// `mixer.validation.istio.io`.
    Mixer,
    /// `service.validation.istio.io`: Services of namespaces whose pods get a sidecar. Refuses nothing, and warns.
    Service,
}

/// What is answered to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// An `AdmissionReview` in JSON where the status is 200, else text.
    pub body: Vec<u8>,
    /// What to count.
    pub outcome: Outcome,
}

// === impl Webhook ===

impl Webhook {
    /// The path that it is served on.
    pub fn path(self) -> &'static str {
        match self {
            Self::Pilot => "/admitpilot",
            Self::Mixer => "/admitmixer",
            Self::Service => "/admitservice",
        }
    }

    /// Answers a request with this body. Never panics, whatever the body.
    pub fn answer(self, content_type: Option<&str>, body: &[u8]) -> Answer {
        self.answer_with(content_type, body, &NoWarnings)
    }

    /// As [`Self::answer`], with what else there is to say about an object that is admitted.
    pub fn answer_with(self, content_type: Option<&str>, body: &[u8], more: &dyn Warnings) -> Answer {
        if body.is_empty() {
            return Answer::error(400, "no body found");
        }
        if body.len() > MAX_BODY_BYTES {
            return Answer::error(413, "the body is too long");
        }
        if content_type != Some("application/json") {
            return Answer::error(415, "invalid Content-Type, want `application/json`");
        }
        // The failure policy of the webhook says what an answer is worth that could not be given.
        catch_unwind(AssertUnwindSafe(|| self.review(body, more)))
            .unwrap_or_else(|_| Answer::error(500, "could not look at the object because of a defect"))
    }

    fn review(self, body: &[u8], more: &dyn Warnings) -> Answer {
        let mut request = match review::read(body) {
            Ok(request) => request,
            Err(message) => return Answer::unreadable(message),
        };
        let labels = request.labels();
        let verdict = if request.sub_resource.is_empty() {
            match self {
                Self::Pilot => pilot::admit(&request, more),
                Self::Mixer => mixer::admit(&mut request, more),
                Self::Service => service::admit(&request, more),
            }
        } else {
            // Whoever writes the status of an object that is wrong must be able to say so.
            Verdict::passed()
        };
        let outcome = match verdict.failure {
            None => Outcome::Passed(labels),
            Some(reason) => Outcome::Failed(labels, reason),
        };
        Answer::reviewed(&request.uid, &verdict, outcome)
    }
}

// === impl Answer ===

impl Answer {
    fn reviewed(uid: &str, verdict: &Verdict, outcome: Outcome) -> Self {
        match review::write(uid, verdict) {
            Ok(body) => Self {
                status: 200,
                body,
                outcome,
            },
            Err(error) => Self::error(500, &format!("could not encode the answer: {error}")),
        }
    }

    /// A review that cannot be read is refused in a review.
    fn unreadable(message: String) -> Self {
        let verdict = Verdict {
            message,
            ..Verdict::default()
        };
        Self::reviewed("", &verdict, Outcome::HttpError(200))
    }

    fn error(status: u16, text: &str) -> Self {
        Self {
            status,
            body: text.as_bytes().to_vec(),
            outcome: Outcome::HttpError(status),
        }
    }
}
