//! Where sessions that their owners step find their rows.
//!
//! A step of a large model costs the reading of its weights, whoever takes part: its sessions are rows of one batch. A
//! small model's weights stay in the cache, and a batch would only make its sessions wait for one another: they run side
//! by side, each in a set of rows of its own. The limit between the two is measured by
//! `cargo bench -p moshi-engine --bench sharing`.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::{EngineError, SessionParams, SharedRows, SpeechModel, StreamingSession};

/// Models whose weights take more than this share their steps (about what the caches of a desktop hold).
pub const SHARED_ABOVE_BYTES: u64 = 32 << 20;
/// Sessions per step of a large model; further sessions open a further set of rows over the same weights.
const ROWS_PER_SET: usize = 8;

/// Opens sessions of one model.
pub struct Sessions {
    model: Arc<dyn SpeechModel>,
    rows_per_set: usize,
    sets: Mutex<Vec<Weak<SharedRows>>>,
}

impl Sessions {
    /// Sessions of `model`, batched or side by side by the size of its weights.
    pub fn new(model: Arc<dyn SpeechModel>) -> Self {
        let rows_per_set = if model.info().weight_bytes > SHARED_ABOVE_BYTES { ROWS_PER_SET } else { 1 };
        Self::with_rows_per_set(model, rows_per_set)
    }

    /// Sessions of `model`, `rows_per_set` to a batch; 1 runs them side by side.
    pub fn with_rows_per_set(model: Arc<dyn SpeechModel>, rows_per_set: usize) -> Self {
        Self { model, rows_per_set: rows_per_set.max(1), sets: Mutex::new(Vec::new()) }
    }

    /// The model.
    pub fn model(&self) -> &Arc<dyn SpeechModel> {
        &self.model
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`EngineError::Parameter`] for a value out of range; what the executor reports when memory runs out.
    pub fn open(&self, params: &SessionParams) -> Result<StreamingSession, EngineError> {
        self.in_a_set(|rows| StreamingSession::open(rows, params))
    }

    /// Opens a session in the state of another of the same model.
    ///
    /// # Errors
    /// As [`Sessions::open`].
    pub fn fork(&self, session: &StreamingSession) -> Result<StreamingSession, EngineError> {
        self.in_a_set(|rows| session.fork_into(rows))
    }

    /// Tries `open` in each living set, then in a new one. A set whose model panicked takes nobody any more.
    fn in_a_set(
        &self,
        open: impl Fn(Arc<SharedRows>) -> Result<StreamingSession, EngineError>,
    ) -> Result<StreamingSession, EngineError> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.retain(|set| set.upgrade().is_some_and(|set| !set.is_gone()));
        for set in sets.iter().filter_map(Weak::upgrade) {
            match open(set) {
                Err(EngineError::Full { .. }) => {}
                result => return result,
            }
        }
        let rows = Arc::new(SharedRows::new(self.model.new_rows(self.rows_per_set)?));
        sets.push(Arc::downgrade(&rows));
        open(rows)
    }
}
