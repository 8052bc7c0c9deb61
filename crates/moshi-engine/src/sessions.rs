//! Which engine a session that its owner steps is opened in.
//!
//! A step of a large model costs the reading of its weights, whoever takes part: its sessions are rows of one batch. A
//! small model's weights stay in the cache, and a batch would only make its sessions wait for one another: they run side
//! by side, each in an engine of its own. The limit between the two is measured by
//! `cargo bench -p moshi-model --bench sharing`.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::{
    EngineConfig, EngineError, ModelKind, ReadingSession, SessionSpec, SharedEngine, SpeechModel, StreamingSession,
};

/// Models whose weights take more than this share their steps (about what the caches of a desktop hold).
pub const SHARED_ABOVE_BYTES: u64 = 32 << 20;
/// Most sessions in a step of a large model; further sessions open a further engine over the same weights. Rows take memory
/// when they are opened, so the number is what a step can bear, not what is reserved.
const ROWS_PER_ENGINE: usize = 32;

/// Opens sessions of one model.
pub struct Sessions {
    model: Arc<dyn SpeechModel>,
    rows_per_engine: usize,
    engines: Mutex<Vec<Weak<SharedEngine>>>,
}

impl Sessions {
    /// Sessions of `model`, batched or side by side by the size of its weights.
    pub fn new(model: Arc<dyn SpeechModel>) -> Self {
        let large = model.info().weight_bytes > SHARED_ABOVE_BYTES;
        Self::with_rows_per_engine(model, if large { ROWS_PER_ENGINE } else { 1 })
    }

    /// Sessions of `model`, at most `rows_per_engine` to a batch; 1 runs them side by side.
    pub fn with_rows_per_engine(model: Arc<dyn SpeechModel>, rows_per_engine: usize) -> Self {
        Self { model, rows_per_engine: rows_per_engine.max(1), engines: Mutex::new(Vec::new()) }
    }

    /// The model.
    pub fn model(&self) -> &Arc<dyn SpeechModel> {
        &self.model
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`EngineError::Parameter`] for a value out of range; [`EngineError::Input`] for a model that reads aloud and hears
    /// nothing; [`EngineError::Load`] when a large model's sessions take all the memory there was; what the executor reports
    /// when memory runs out.
    pub fn open(&self, spec: impl Into<Arc<SessionSpec>>) -> Result<StreamingSession, EngineError> {
        let spec = spec.into();
        if self.model.info().kind == ModelKind::Tts {
            let message = "this model hears nothing: it reads aloud; open a session that reads, a synthesis";
            return Err(EngineError::Input(message.to_owned()));
        }
        self.in_an_engine(|engine| StreamingSession::open(engine, spec.clone()))
    }

    /// Opens a session that reads aloud.
    ///
    /// # Errors
    /// As [`Sessions::open`]; [`EngineError::Input`] for a model that does not read aloud.
    pub fn read(&self, spec: &SessionSpec) -> Result<ReadingSession, EngineError> {
        let kind = self.model.info().kind;
        if kind != ModelKind::Tts {
            return Err(EngineError::Input(format!(
                "this model does not read aloud: it is one for {}; load one of kind \"tts\"",
                kind.name()
            )));
        }
        self.in_an_engine(|engine| ReadingSession::open(engine, spec))
    }

    /// Opens a session in the state of another of the same model.
    ///
    /// # Errors
    /// As [`Sessions::open`].
    pub fn fork(&self, session: &StreamingSession) -> Result<StreamingSession, EngineError> {
        self.in_an_engine(|engine| session.fork_into(engine))
    }

    /// Tries `open` in each living engine that sessions share, then in a new one. An engine whose model panicked takes
    /// nobody any more.
    fn in_an_engine<S>(&self, open: impl Fn(Arc<SharedEngine>) -> Result<S, EngineError>) -> Result<S, EngineError> {
        let new = |rows| Ok(Arc::new(SharedEngine::new(self.model.new_rows(rows)?, EngineConfig::default())));
        if self.rows_per_engine == 1 {
            return open(new(1)?);
        }
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.retain(|engine| engine.upgrade().is_some_and(|engine| !engine.is_gone()));
        for engine in engines.iter().filter_map(Weak::upgrade) {
            match open(engine) {
                Err(EngineError::Full { .. }) => {}
                result => return result,
            }
        }
        // An engine has no more rows than memory holds, and where all of it is taken there is no further engine.
        let memory = &self.model.info().memory;
        let fit = memory.sessions().map_or(usize::MAX, |fit| usize::try_from(fit).unwrap_or(usize::MAX)).max(1);
        let rows = self.rows_per_engine.min(fit);
        let taken = engines.len() * rows;
        memory.check(taken + 1)?;
        let engine = new(rows.min(fit - taken))?;
        engines.push(Arc::downgrade(&engine));
        open(engine)
    }
}
