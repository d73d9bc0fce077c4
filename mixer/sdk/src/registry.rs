//! The handlers of a process, by session or by parameters.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_api::Any;
use prost::{Message as _, Name as _};
use tokio::sync::OnceCell;
use tonic::Status;

use crate::{Adapter, Inferred};

/// What `adapter_config` is called that holds the id of a session.
const SESSION_TYPE: &str = "google.protobuf.Any.type_url";

/// So many configurations without sessions are known at once; the one that was not used for longest is forgotten.
const MAX_CONFIGS: usize = 256;

/// The handlers of an adapter.
pub(crate) struct Registry<A: Adapter> {
    adapter: A,
    state: Mutex<State<A::Handler>>,
    /// Not that of another process: its sessions are not ours.
    process: u64,
}

struct State<H> {
    sessions: HashMap<String, Session<H>>,
    /// By encoded parameters.
    configs: HashMap<Vec<u8>, Known<H>>,
    /// Counts sessions, and uses of configurations.
    count: u64,
}

struct Session<H> {
    handler: Arc<H>,
    /// What it was made of: equal ones share a session.
    key: Vec<u8>,
    users: usize,
}

struct Known<H> {
    /// Made once, however many calls wait for it.
    handler: Arc<OnceCell<Arc<H>>>,
    used: u64,
}

// === impl Registry ===

impl<A: Adapter> Registry<A> {
    pub(crate) fn new(adapter: A) -> Self {
        Self {
            adapter,
            state: Mutex::new(State {
                sessions: HashMap::new(),
                configs: HashMap::new(),
                count: 0,
            }),
            process: RandomState::new().build_hasher().finish(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<A::Handler>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handler of a call.
    pub(crate) async fn handler(&self, config: Option<Any>) -> Result<Arc<A::Handler>, Status> {
        if let Some(config) = &config
            && config.type_url == SESSION_TYPE
        {
            let id = String::from_utf8_lossy(&config.value);
            let session = self
                .state()
                .sessions
                .get(&*id)
                .map(|one| Arc::clone(&one.handler));
            // By this code Mixer knows that it has to make another one.
            return session.ok_or_else(|| Status::not_found(format!("there is no session {id}")));
        }
        let key = config
            .as_ref()
            .map(prost::Message::encode_to_vec)
            .unwrap_or_default();
        let slot = self.known(&key);
        let build = || async { self.build(config.as_ref(), &Inferred::new()).await.map(Arc::new) };
        let built = slot.get_or_try_init(build).await.cloned();
        if built.is_err() {
            self.state().configs.remove(&key);
        }
        built
    }

    fn known(&self, key: &[u8]) -> Arc<OnceCell<Arc<A::Handler>>> {
        let mut state = self.state();
        state.count += 1;
        let now = state.count;
        if let Some(known) = state.configs.get_mut(key) {
            known.used = now;
            return Arc::clone(&known.handler);
        }
        if state.configs.len() >= MAX_CONFIGS {
            let oldest = state.configs.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                state.configs.remove(&oldest);
            }
        }
        let known = Known {
            handler: Arc::default(),
            used: now,
        };
        let handler = Arc::clone(&known.handler);
        state.configs.insert(key.to_vec(), known);
        handler
    }

    /// Reads parameters and looks for what is wrong with them.
    pub(crate) fn validate(&self, config: Option<&Any>, inferred: &Inferred) -> Result<A::Config, Status> {
        let config = read::<A>(config)?;
        self.adapter.validate(&config, inferred)?;
        Ok(config)
    }

    async fn build(&self, config: Option<&Any>, inferred: &Inferred) -> Result<A::Handler, Status> {
        let config = self.validate(config, inferred)?;
        self.adapter.build(config, inferred).await
    }

    /// Makes a session, or finds the one of equal parameters and types.
    pub(crate) async fn open(&self, config: Option<&Any>, inferred: &Inferred) -> Result<String, Status> {
        let key = key(config, inferred);
        if let Some(id) = self.state().join(&key) {
            return Ok(id);
        }
        let handler = Arc::new(self.build(config, inferred).await?);
        let mut state = self.state();
        // Somebody else may have been faster.
        if let Some(id) = state.join(&key) {
            return Ok(id);
        }
        state.count += 1;
        let id = format!("{:016x}-{}", self.process, state.count);
        let session = Session {
            handler,
            key,
            users: 1,
        };
        state.sessions.insert(id.clone(), session);
        Ok(id)
    }

    /// Ends the use of a session.
    pub(crate) fn close(&self, id: &str) -> Result<(), Status> {
        let mut state = self.state();
        let Some(session) = state.sessions.get_mut(id) else {
            return Err(Status::not_found(format!("there is no session {id}")));
        };
        session.users -= 1;
        if session.users == 0 {
            state.sessions.remove(id);
        }
        Ok(())
    }
}

// === impl State ===

impl<H> State<H> {
    fn join(&mut self, key: &[u8]) -> Option<String> {
        let (id, session) = self.sessions.iter_mut().find(|(_, session)| session.key == key)?;
        session.users += 1;
        Some(id.clone())
    }
}

fn read<A: Adapter>(config: Option<&Any>) -> Result<A::Config, Status> {
    let Some(config) = config else {
        return Ok(A::Config::default());
    };
    let expected = A::Config::full_name();
    if config.message_name() != expected {
        return Err(Status::invalid_argument(format!(
            "the parameters are {}, not {expected}",
            config.type_url
        )));
    }
    A::Config::decode(config.value.clone())
        .map_err(|error| Status::invalid_argument(format!("the parameters cannot be read: {error}")))
}

fn key(config: Option<&Any>, inferred: &Inferred) -> Vec<u8> {
    let mut key = Vec::new();
    let mut part = |bytes: &[u8]| {
        // The length keeps neighbours apart.
        key.extend(bytes.len().to_le_bytes());
        key.extend(bytes);
    };
    part(&config.map(prost::Message::encode_to_vec).unwrap_or_default());
    for (name, types) in inferred {
        part(name.as_bytes());
        part(&types.encode_to_vec());
    }
    key
}
