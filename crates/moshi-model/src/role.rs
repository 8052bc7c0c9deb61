//! Who the model is in a conversation: a voice and a role, made into the prompt that runs before its caller is heard.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moshi_engine::{EngineError, GoOn, Prompt};
use moshi_lm::LmConfig;
use moshi_lm::prompt::{self, STREAMS, Voice};
use moshi_lm::spelling::Speller;

use crate::role_voices::Spoken;
use crate::{Codec, RoleVoices, role_play};

/// Makes prompts of voices and roles for one model. RoleVoices are kept: a second session with the same has it at once.
pub struct Roles {
    config: LmConfig,
    speller: Arc<Speller>,
    voices: RoleVoices,
}

impl Roles {
    /// Of a model with the streams of a role-play; `None` of any other. Voices that are called by name lie in `folder`.
    pub(crate) fn of(
        config: &LmConfig,
        folder: Option<PathBuf>,
        codec: Arc<dyn Codec>,
        speller: &Arc<Speller>,
    ) -> Option<Self> {
        (config.delays.len() == STREAMS).then(|| Self {
            config: config.clone(),
            speller: speller.clone(),
            voices: RoleVoices::new(codec, folder),
        })
    }

    /// The voices that the model has or is given.
    pub fn voices(&self) -> &RoleVoices {
        &self.voices
    }

    /// The prompt of a voice (a sound file or a published `.pt`, by its path; see [`RoleVoices::find`]) and a role (a text; ""
    /// is none), or of one of them. `go_on` is asked while a voice is encoded for the first time.
    ///
    /// # Errors
    /// [`EngineError::Input`] for a voice that is none of this model's, a role that cannot be spelled, and both together
    /// longer than the model's memory; [`EngineError::Stopped`].
    pub fn prompt(&self, voice: Option<&Path>, role: &str, go_on: &mut GoOn<'_>) -> Result<Prompt, EngineError> {
        let spoken = match voice {
            Some(path) => self.voices.spoken(path, &self.config, go_on)?,
            None => Arc::new(Spoken { voice: Voice::Absent, inputs: Vec::new() }),
        };
        let role = self.spell(role)?;
        let prompt = prompt::Prompt::new(&spoken.voice, &role, &self.config).map_err(told)?;
        let (steps, most) = (prompt.steps(), self.config.context);
        if steps >= most {
            return Err(EngineError::Input(format!(
                "voice and role are {steps} frames ({} of them the role's text), and the model remembers {most}; \
                 shorten them",
                role.len()
            )));
        }
        role_play(&prompt, &spoken.inputs, self.config.dim)
    }

    fn spell(&self, role: &str) -> Result<Vec<i32>, EngineError> {
        let Some(text) = prompt::role_text(role) else { return Ok(Vec::new()) };
        self.speller.spell(&text).map_err(|e| EngineError::Input(format!("role: {e}")))
    }
}

fn told(error: prompt::PromptError) -> EngineError {
    EngineError::Input(error.to_string())
}
