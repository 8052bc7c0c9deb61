//! The metadata message: what the published web client wants to know about a session.

use moshi_engine::SessionParams;
use serde::{Deserialize, Serialize};

/// What the server was built from; every field is a string, empty when unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildInfo {
    /// Seconds since 1970 at the build, as text.
    pub build_timestamp: String,
    /// Date of the build.
    pub build_date: String,
    /// Branch of the sources.
    pub git_branch: String,
    /// Time of the last commit.
    pub git_timestamp: String,
    /// Date of the last commit.
    pub git_date: String,
    /// Hash of the last commit.
    pub git_hash: String,
    /// Name of the last commit after its nearest tag.
    pub git_describe: String,
    /// Machine the compiler ran on.
    pub rustc_host_triple: String,
    /// Version of the compiler.
    pub rustc_version: String,
    /// Machine the program was made for.
    pub cargo_target_triple: String,
}

/// The JSON document of [`Message::Metadata`](crate::Message::Metadata), as the published web client reads it.
///
/// ```
/// use moshi_protocol::SessionMetadata;
/// let json = SessionMetadata { text_temperature: 0.5, ..SessionMetadata::default() }.to_json();
/// assert_eq!(SessionMetadata::from_json(&json).unwrap().text_temperature, 0.5);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionMetadata {
    /// Temperature of the text stream.
    pub text_temperature: f64,
    /// Keeps the k largest text logits.
    pub text_topk: u32,
    /// Temperature of the audio streams.
    pub audio_temperature: f64,
    /// Keeps the k largest audio logits.
    pub audio_topk: u32,
    /// Keeps the likeliest tokens that together have this probability; 1 keeps all. Ours.
    pub top_p: f64,
    /// Bonus of the text padding token.
    pub pad_mult: f64,
    /// How many spoken text tokens the penalty remembers.
    pub repetition_penalty_context: u32,
    /// Penalty on recently spoken text tokens; 1 is none.
    pub repetition_penalty: f64,
    /// File name of the language model.
    pub lm_model_file: String,
    /// Name of this server.
    pub instance_name: String,
    /// What the server was built from.
    pub build_info: BuildInfo,
    /// What the caller should know about its call; ours, left out where there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
}

impl Default for SessionMetadata {
    /// The published web client's defaults; names are empty.
    fn default() -> Self {
        Self::from(&SessionParams::default())
    }
}

impl From<&SessionParams> for SessionMetadata {
    /// The numbers of a session; names are empty.
    fn from(params: &SessionParams) -> Self {
        let whole = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            text_temperature: f64::from(params.text_temperature),
            text_topk: whole(params.text_top_k),
            audio_temperature: f64::from(params.temperature),
            audio_topk: whole(params.top_k),
            top_p: f64::from(params.top_p),
            pad_mult: f64::from(params.pad_mult),
            repetition_penalty_context: whole(params.repetition_context),
            repetition_penalty: f64::from(params.repetition_penalty),
            lm_model_file: String::new(),
            instance_name: String::new(),
            build_info: BuildInfo::default(),
            notices: Vec::new(),
        }
    }
}

impl SessionMetadata {
    /// The document. A number that JSON cannot hold (NaN, infinity) becomes `null`.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    /// Reads a document; absent fields take their defaults, unknown ones are ignored.
    ///
    /// # Errors
    /// When the text is not a JSON object, or a field has another type.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

/// Something that a caller should know about its call. It comes within whole metadata, because published clients show
/// every metadata message as the one document that they know, and pass over a field that they do not.
///
/// ```
/// use moshi_protocol::{Notice, SessionMetadata};
/// let notices = vec![Notice::parameter_ignored("voice_prompt")];
/// let json = SessionMetadata { notices, ..SessionMetadata::default() }.to_json();
/// assert!(json.contains(r#""notices":[{"kind":"parameter_ignored","text":"#));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// A short name for programs: `audio_lost`, `parameter_ignored` or `part_kept`.
    pub kind: String,
    /// The same for a person.
    pub text: String,
}

impl Notice {
    /// Audio of the caller was not heard; `text` says how much and why.
    pub fn audio_lost(text: impl Into<String>) -> Self {
        Self { kind: "audio_lost".to_owned(), text: text.into() }
    }

    /// Who the model is was to change after it had begun to hear.
    pub fn part_kept() -> Self {
        let text = "role and voice count before the first audio alone: the model stays who it is";
        Self { kind: "part_kept".to_owned(), text: text.to_owned() }
    }

    /// A query parameter that this model cannot honour was passed over.
    pub fn parameter_ignored(name: &str) -> Self {
        let text = format!("this model takes no {name}: the parameter was passed over");
        Self { kind: "parameter_ignored".to_owned(), text }
    }
}

/// A metadata message to a caller in the waiting line, before its handshake: where it stands.
///
/// ```
/// use moshi_protocol::WaitingNotice;
/// assert_eq!(WaitingNotice::new(2, 5).to_json(), r#"{"waiting":{"position":2,"length":5}}"#);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingNotice {
    waiting: Waiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    position: usize,
    length: usize,
}

impl WaitingNotice {
    /// `position` 1 is the head of a line of `length`.
    pub fn new(position: usize, length: usize) -> Self {
        Self { waiting: Waiting { position, length } }
    }

    /// The JSON text.
    pub fn to_json(self) -> String {
        // Two whole numbers always serialize.
        serde_json::to_string(&self).unwrap_or_default()
    }
}
