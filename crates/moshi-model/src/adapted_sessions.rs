//! Sessions with adapters that are loaded when they are first asked for.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moshi_engine::{EngineError, Sessions};

use crate::{Adaptable, AdapterPath, Loaded};

/// Most adapters of one model.
const MOST: usize = 256;

/// The sessions of a model, each with an adapter of its own or none. An adapter is loaded when a session first asks for it:
/// from then on further sessions are opened in a model that has it too, and those that are open go on in theirs. The
/// model's own weights are there once.
pub struct AdaptedSessions {
    base: Arc<dyn Adaptable>,
    now: Mutex<Generation>,
}

struct Generation {
    sessions: Arc<Sessions>,
    adapters: Vec<AdapterPath>,
}

impl AdaptedSessions {
    /// Of a loaded model.
    pub fn new(loaded: &Loaded) -> Self {
        let sessions = Arc::new(Sessions::new(loaded.model.clone()));
        let adapters = loaded.base.adapters().to_vec();
        Self { base: loaded.base.clone(), now: Mutex::new(Generation { sessions, adapters }) }
    }

    /// Where sessions are opened at present.
    pub fn now(&self) -> Arc<Sessions> {
        self.lock().sessions.clone()
    }

    /// Where sessions with the adapter in this folder (or with this file of weights) are opened, and what it is called
    /// there. The folder as it was when the adapter was loaded counts.
    ///
    /// # Errors
    /// [`EngineError::Load`] when there is no adapter of this model, or too many are loaded.
    pub fn with(&self, path: &Path) -> Result<(Arc<Sessions>, String), EngineError> {
        let wanted = AdapterPath::at(path);
        let mut now = self.lock();
        if let Some(known) = now.adapters.iter().find(|known| known.name == wanted.name || known.path == wanted.path) {
            return Ok((now.sessions.clone(), known.name.clone()));
        }
        if now.adapters.len() >= MOST {
            return Err(EngineError::Load(format!(
                "{} would be adapter number {} of the model; at most {MOST} are kept",
                wanted.name,
                MOST + 1
            )));
        }
        let mut adapters = now.adapters.clone();
        adapters.push(wanted.clone());
        let sessions = Arc::new(Sessions::new(self.base.adapted(&adapters)?));
        *now = Generation { sessions: sessions.clone(), adapters };
        Ok((sessions, wanted.name))
    }

    fn lock(&self) -> MutexGuard<'_, Generation> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
