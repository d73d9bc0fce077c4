//! Sessions of adapters that want them (`spec 02` §10.1, §10.4).
//!
//! Each address has a session of its own, so that replicas need not know each other's; those that share them answer with
//! the same id, and count. A session is made when an address is first called, and made anew when its process says that it
//! does not know it, or when it was made over another connection and a call under it fails: then the process may be
//! another one.

use std::sync::{Arc, Mutex, PoisonError};

use mesh_api::Any;
use mixer_adapter::session::{SessionParams, create_session, session_config};
use tokio::sync::OnceCell;
use tonic::Code;
use tonic::metadata::MetadataMap;

use super::endpoint::Endpoint;

/// The session of one address. It is made once, however many calls wait for it.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Arc<Slot>>);

/// A session, or the place for one.
#[derive(Debug, Default)]
pub(super) struct Slot(OnceCell<Session>);

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: String,
    /// How many connections there had been when it was made.
    connections: u64,
}

// === impl Session ===

impl Session {
    /// What is sent with calls.
    pub(super) fn config(&self) -> Any {
        session_config(&self.id)
    }
}

// === impl Sessions ===

impl Sessions {
    /// The place of the session, which [`Self::renew`] wants to know.
    pub(super) fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next call makes another session, unless somebody else has seen to it already.
    pub(super) fn renew(&self, lost: &Arc<Slot>) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&slot, lost) {
            *slot = Arc::default();
        }
    }
}

// === impl Slot ===

impl Slot {
    /// The session, which is made if it is not there.
    pub(super) async fn session(
        &self,
        endpoint: &Endpoint,
        params: &SessionParams,
        credentials: &MetadataMap,
    ) -> Result<&Session, String> {
        let make = || async {
            let id = create_session(endpoint.channel.clone(), params, credentials)
                .await
                .map_err(|reason| format!("the adapter {reason}"))?;
            Ok(Session {
                id,
                connections: endpoint.connections(),
            })
        };
        self.0.get_or_try_init(make).await
    }

    /// Whether a call that failed did so because the process does not know the session any more.
    pub(super) fn is_lost(&self, endpoint: &Endpoint, code: Code) -> bool {
        let another = || {
            self.0
                .get()
                .is_some_and(|session| session.connections != endpoint.connections())
        };
        // Without an answer nobody has said anything about sessions.
        let answered = !matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled);
        code == Code::NotFound || answered && another()
    }

    /// The session, if it was made.
    pub(super) fn get(&self) -> Option<&Session> {
        self.0.get()
    }
}
