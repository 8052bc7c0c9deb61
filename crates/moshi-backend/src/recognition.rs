//! A model that writes down whole recordings, beside the calls that it takes.

use std::sync::Arc;

use moshi_engine::Sessions;
use moshi_model::{Loaded, Transcriber};
use tokio::sync::Semaphore;

/// Recordings that are heard at once; further ones are told to come later.
pub(crate) const AT_ONCE: usize = 32;

/// The sessions of recordings: they share the model's steps among themselves.
pub(crate) struct Recognition {
    pub(crate) sessions: Sessions,
    pub(crate) transcriber: Arc<Transcriber>,
    pub(crate) places: Arc<Semaphore>,
}

impl Recognition {
    /// Of a loaded model; `None` of one that is for something else.
    pub(crate) fn of(loaded: &Loaded) -> Option<Self> {
        let transcriber = loaded.transcriber.clone()?;
        let (sessions, places) = (Sessions::new(loaded.model.clone()), Arc::new(Semaphore::new(AT_ONCE)));
        Some(Self { sessions, transcriber, places })
    }
}
