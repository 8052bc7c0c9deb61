//! What a caller may choose, and the errors of the engine.

use crate::PARAMETERS;

/// Sampling parameters of one session. Defaults are those of the published models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionParams {
    /// Key of the session's random numbers.
    pub seed: u64,
    /// Temperature of the audio streams; 0 is greedy.
    pub temperature: f32,
    /// Keeps the k largest audio logits; 0 keeps all.
    pub top_k: usize,
    /// Temperature of the text stream; 0 is greedy.
    pub text_temperature: f32,
    /// Keeps the k largest text logits; 0 keeps all.
    pub text_top_k: usize,
    /// Keeps the smallest set of tokens (text and audio) whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// The text padding token's probability is multiplied by exp(pad_mult).
    pub pad_mult: f32,
    /// Penalty on recently spoken text tokens; 1 is none.
    pub repetition_penalty: f32,
    /// How many spoken text tokens the penalty remembers.
    pub repetition_context: usize,
}

impl Default for SessionParams {
    fn default() -> Self {
        Self {
            seed: 0,
            temperature: 0.8,
            top_k: 250,
            text_temperature: 0.7,
            text_top_k: 25,
            top_p: 1.0,
            pad_mult: 0.0,
            repetition_penalty: 1.0,
            repetition_context: 64,
        }
    }
}

impl SessionParams {
    /// Checks every value's range.
    ///
    /// # Errors
    /// [`EngineError::Parameter`] names the value, what was found and what is allowed.
    pub fn validate(&self) -> Result<(), EngineError> {
        PARAMETERS.iter().try_for_each(|parameter| parameter.check((parameter.get)(self)))
    }
}

/// What can go wrong in the engine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A session parameter is out of range.
    #[error("{name} is {found}; expected {expected}")]
    Parameter {
        /// Which parameter.
        name: &'static str,
        /// The value given.
        found: String,
        /// The values allowed.
        expected: String,
    },
    /// Codes, samples or shapes given by the caller do not fit the model.
    #[error("{0}")]
    Input(String),
    /// Every row is taken.
    #[error("all {rows} sessions are in use; try again later")]
    Full {
        /// Number of rows.
        rows: usize,
    },
    /// The session is not open (any more).
    #[error("session {0} is not open")]
    NoSession(u64),
    /// The model failed.
    #[error("the model failed: {0}")]
    Model(String),
    /// The model cannot be loaded: a file, setting or device, and what to do.
    #[error("{0}")]
    Load(String),
    /// The caller did not want to go on.
    #[error("stopped by the caller")]
    Stopped,
}

impl EngineError {
    /// What fails while a model is loaded is no failure of a model that runs.
    pub fn while_loading(self) -> Self {
        match self {
            Self::Model(why) => Self::Load(why),
            other => other,
        }
    }

    /// A row can only be copied from a model of the same kind.
    pub fn other_model(kind: &str) -> Self {
        Self::Model(format!("cannot copy a session from another kind of model into this {kind}"))
    }
}
