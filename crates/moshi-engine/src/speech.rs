//! A loaded model of any executor behind an object-safe trait: what the server and the bindings hold.

use std::path::PathBuf;

use crate::{EngineError, FrameModel, SessionParams};

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModelKind {
    /// It listens and speaks at once.
    #[default]
    Dialogue,
    /// It writes down what it hears: speech to text.
    Stt,
    /// It reads aloud: text to speech.
    Tts,
    /// It says in another language what it hears.
    Translation,
}

impl ModelKind {
    /// As users read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dialogue => "dialogue",
            Self::Stt => "stt",
            Self::Tts => "tts",
            Self::Translation => "translation",
        }
    }
}

/// A condition of a model: what a session may be told under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionInfo {
    /// Its name.
    pub name: String,
    /// The texts that it knows; empty for a condition of vectors.
    pub texts: Vec<String>,
    /// The width of its vectors; `None` for a condition of texts.
    pub width: Option<usize>,
}

/// How a model that reads aloud takes a voice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoiceInfo {
    /// The condition that voices are told under; `None` where a voice is the beginning of what is said.
    pub condition: Option<String>,
    /// Most voices of a session.
    pub most: usize,
    /// How the files of this model's voices end, where the model says so.
    pub file_ending: Option<String>,
    /// Where voices are called by name: the folder `voices` beside the model's files, whether it is there or not.
    pub folder: Option<PathBuf>,
}

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelInfo {
    /// What it is for.
    pub kind: ModelKind,
    /// Where it came from: a folder, file, repository id, or `built-in`.
    pub source: String,
    /// The executor that runs it: `cpu`, `candle-cpu`, ...
    pub executor: String,
    /// Something its user should know before the first word, if anything (its maker's notice).
    pub notice: Option<String>,
    /// Audio streams that the model reads: the agent's and the user's.
    pub n_q: usize,
    /// Audio streams that the model writes.
    pub dep_q: usize,
    /// Audio streams that the model hears: one code each a frame.
    pub user_streams: usize,
    /// Codes per codebook.
    pub card: usize,
    /// Text tokens.
    pub text_card: usize,
    /// Width of the temporal transformer: of the vectors that may be added to its input.
    pub dim: usize,
    /// Steps by which each stream is delayed, text first.
    pub delays: Vec<usize>,
    /// Adapters that sessions may choose from, by name.
    pub adapters: Vec<String>,
    /// What sessions may be told.
    pub conditions: Vec<ConditionInfo>,
    /// How it takes a voice, where it reads aloud.
    pub voices: Option<VoiceInfo>,
    /// Bytes of weights that a step reads.
    pub weight_bytes: u64,
    /// What the model and each of its sessions take.
    pub memory: ModelMemory,
    /// Threads per step.
    pub threads: usize,
    /// Sampling parameters that the checkpoint asks for.
    pub defaults: SessionParams,
}

/// The memory of a model, known before its first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelMemory {
    /// Bytes of all weights as the executor holds them.
    pub weights: u64,
    /// Bytes of each further session: keys and values up to the model's window, the codec's windows, and room to compute
    /// in.
    pub session: u64,
    /// Bytes that were free for sessions once the model was loaded; `None` where the system does not tell.
    pub free: Option<u64>,
}

impl ModelMemory {
    /// How many sessions fit; `None` where the system does not tell how much is free, or a session takes nothing.
    pub fn sessions(&self) -> Option<u64> {
        self.free?.checked_div(self.session)
    }

    /// Refuses more sessions than fit. One is always let in: what it takes is counted up to the model's window, and it may
    /// be over before.
    ///
    /// # Errors
    /// [`EngineError::Load`] says what they take, what is free, and how many would fit.
    pub fn check(&self, sessions: usize) -> Result<(), EngineError> {
        match self.sessions() {
            Some(most) if most.max(1) < sessions as u64 => Err(EngineError::Load(format!(
                "memory for {sessions} sessions: each takes {:.1} MB, {:.1} GB in all, and {:.1} GB are free: at most \
                 {most} fit",
                self.session as f64 / 1e6,
                self.session as f64 * sessions as f64 / 1e9,
                self.free.unwrap_or(0) as f64 / 1e9
            ))),
            _ => Ok(()),
        }
    }
}

/// Teacher-forced logits of `steps` frames.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ForwardLogits {
    /// Number of frames T.
    pub steps: usize,
    /// `[T, text_card]`.
    pub text: Vec<f32>,
    /// `[dep_q, T, card]`.
    pub audio: Vec<f32>,
}

/// Asked between the pieces of long work whether to go on; false ends it with [`EngineError::Stopped`].
pub type GoOn<'a> = dyn FnMut() -> bool + 'a;

/// A loaded model: weights shared by any number of sets of rows.
pub trait SpeechModel: Send + Sync {
    /// What the model is.
    fn info(&self) -> &ModelInfo;
    /// Memory for `rows` sessions.
    ///
    /// # Errors
    /// When the executor cannot allocate it.
    fn new_rows(&self, rows: usize) -> Result<Box<dyn FrameModel>, EngineError>;
    /// Teacher-forced logits for `codes [1 + n_q, T]`, undelayed, row-major: text, agent codes, user codes; -1 where
    /// there is nothing.
    ///
    /// # Errors
    /// When the number of codes is not `(1 + n_q) * steps`, or a code is out of range.
    fn forward(&self, codes: &[i32], steps: usize) -> Result<ForwardLogits, EngineError> {
        self.forward_while(codes, steps, &mut || true)
    }
    /// As [`SpeechModel::forward`], as long as `go_on` says so.
    ///
    /// # Errors
    /// As [`SpeechModel::forward`], and [`EngineError::Stopped`].
    fn forward_while(&self, codes: &[i32], steps: usize, go_on: &mut GoOn<'_>) -> Result<ForwardLogits, EngineError>;
    /// As [`SpeechModel::forward_while`] with one of the model's adapters, by name; `None` for the model as it is.
    ///
    /// # Errors
    /// As [`SpeechModel::forward_while`], and [`EngineError::Parameter`] for an adapter that was not loaded.
    fn forward_adapted(
        &self,
        codes: &[i32],
        steps: usize,
        adapter: Option<&str>,
        go_on: &mut GoOn<'_>,
    ) -> Result<ForwardLogits, EngineError> {
        match adapter {
            None => self.forward_while(codes, steps, go_on),
            Some(name) => Err(EngineError::Parameter {
                name: "adapter",
                found: format!("{name:?}"),
                expected: "none: this model has no adapters".to_owned(),
            }),
        }
    }
}
