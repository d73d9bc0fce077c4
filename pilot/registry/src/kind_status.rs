//! How it stands with the objects of a kind that an API server is asked for.

use std::collections::BTreeMap;

use mesh_kube::{State, Status};
use serde::Serialize;

/// How one kind is followed, for debug pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindStatus {
    /// `starting`, `following`, `not served`, or why not.
    pub state: String,
    /// Objects that there are, valid or not.
    pub objects: usize,
    /// Objects that cannot be read.
    pub rejected: usize,
    /// Lists that were read: one, and one for every time that changes were missed.
    pub lists: u64,
    /// Requests that failed.
    pub failures: u64,
}

/// The first reason why a kind is not followed.
pub(crate) fn first_error(kinds: &BTreeMap<&'static str, KindStatus>) -> Option<String> {
    kinds
        .iter()
        .find(|(_, status)| !status.is_answered() && status.state != "starting")
        .map(|(kind, status)| format!("{kind}: {}", status.state))
}

// === impl KindStatus ===

impl KindStatus {
    pub(crate) fn of(status: &Status) -> Self {
        Self {
            state: match &status.state {
                State::Starting => "starting".to_owned(),
                State::Following => "following".to_owned(),
                State::NotServed => "not served".to_owned(),
                State::Forbidden(reason) => format!("forbidden: {reason}"),
                State::Failing(reason) => reason.clone(),
            },
            objects: status.objects,
            rejected: status.rejected,
            lists: status.lists,
            failures: status.failures,
        }
    }

    /// Whether the API server answered the last time.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(&*self.state, "following" | "not served")
    }
}
