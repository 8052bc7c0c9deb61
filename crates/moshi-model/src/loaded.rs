//! A loaded model, and what belongs to it.

use std::sync::Arc;

use moshi_engine::{EngineError, ModelKind, SpeechModel};

use crate::{Adaptable, Codec, Roles, Transcriber, expect_kind, voice_names};

/// A model, and its codec alone.
pub struct Loaded {
    /// The whole model.
    pub model: Arc<dyn SpeechModel>,
    /// Its codec.
    pub codec: Arc<dyn Codec>,
    /// What makes words with times of its steps, where it is for recognition.
    pub transcriber: Option<Arc<Transcriber>>,
    /// What makes prompts of voices and roles, where it has the streams for it.
    pub roles: Option<Arc<Roles>>,
    /// The same model with other adapters: see [`AdaptedSessions`](crate::AdaptedSessions).
    pub base: Arc<dyn Adaptable>,
}

impl Loaded {
    /// The names of the voices that lie beside the model, in order.
    pub fn voice_names(&self) -> Vec<String> {
        self.roles.as_ref().map_or_else(|| voice_names(self.model.info()), |roles| roles.voices().names())
    }

    /// What makes words of a recognition.
    ///
    /// # Errors
    /// [`EngineError::Input`] for a model of another kind; `what` is what needs one.
    pub fn recognition(&self, what: &str) -> Result<&Arc<Transcriber>, EngineError> {
        let info = self.model.info();
        expect_kind(info, what, ModelKind::Stt)?;
        let missing = || EngineError::Load(format!("{}: it has no tokenizer for {what}", info.source));
        self.transcriber.as_ref().ok_or_else(missing)
    }

    /// What makes prompts of voices and roles.
    ///
    /// # Errors
    /// [`EngineError::Input`] for a model that plays none.
    pub fn role_play(&self) -> Result<&Arc<Roles>, EngineError> {
        let info = self.model.info();
        expect_kind(info, "a role or voice", ModelKind::Dialogue)?;
        self.roles.as_ref().ok_or_else(|| {
            EngineError::Input(format!(
                "a role or voice needs a model of 8 streams on each side, such as nvidia/personaplex-7b-v1; {} has {} and {}",
                info.source, info.dep_q, info.user_streams
            ))
        })
    }
}
