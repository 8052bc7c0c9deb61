//! The query parameters of `/api/chat`.

/// What a caller asked for in the query string; `None` where it left the choice to the server.
///
/// Names are those of the published web client, and `voice_prompt`, `text_prompt` and `seed` those of PersonaPlex
/// clients; `format` is ours. Unknown parameters are ignored, an empty value counts as not given, and of a repeated one the last counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChatParams {
    /// Temperature of the text stream, 0 (greedy) to 10.
    pub text_temperature: Option<f32>,
    /// Keeps the k largest text logits; 0 keeps all.
    pub text_topk: Option<u32>,
    /// Temperature of the audio streams, 0 (greedy) to 10.
    pub audio_temperature: Option<f32>,
    /// Keeps the k largest audio logits; 0 keeps all.
    pub audio_topk: Option<u32>,
    /// Bonus of the text padding token, -20 to 20.
    pub pad_mult: Option<f32>,
    /// Seed of the text stream.
    pub text_seed: Option<u64>,
    /// Seed of the audio streams.
    pub audio_seed: Option<u64>,
    /// Seed of the whole session; -1 on the wire means "choose one" and is read as `None`.
    pub seed: Option<u64>,
    /// How many spoken text tokens the penalty remembers, 0 to 256.
    pub repetition_penalty_context: Option<u32>,
    /// Penalty on recently spoken text tokens, 0.1 to 10; 1 is none.
    pub repetition_penalty: Option<f32>,
    /// Longest number of 80 ms steps the call may take.
    pub max_steps: Option<u32>,
    /// Name of the voice to speak with.
    pub voice_prompt: Option<String>,
    /// The role to play, in words.
    pub text_prompt: Option<String>,
    /// Name of the format of audio messages; which names there are is the server's business.
    pub format: Option<String>,
}

/// A parameter that cannot be honoured; worth an HTTP 400 with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("query parameter {name} is {found:?}; expected {expected}")]
pub struct ParamError {
    /// Which parameter.
    pub name: &'static str,
    /// The value found, cut to 64 characters.
    pub found: String,
    /// The values allowed.
    pub expected: String,
}

impl ParamError {
    /// A value of the parameter `name` that is none of the `expected` ones.
    pub fn new(name: &'static str, value: &str, expected: impl Into<String>) -> Self {
        Self { name, found: value.chars().take(LONGEST_FOUND).collect(), expected: expected.into() }
    }
}

/// Characters of a wrong value that an error repeats.
const LONGEST_FOUND: usize = 64;
/// Longest `format`, in bytes.
const MAX_FORMAT: usize = 64;
/// Largest top-k: far above every published vocabulary.
const MAX_TOP_K: u64 = 1_000_000;
/// Longest `voice_prompt`, in bytes.
const MAX_VOICE_PROMPT: usize = 256;
/// Longest `text_prompt`, in bytes.
const MAX_TEXT_PROMPT: usize = 4_096;

impl ChatParams {
    /// Reads a query string (without the `?`), percent-encoding and `+` included.
    ///
    /// # Errors
    /// [`ParamError`] names the first parameter that is not a number or out of range, what was found and what is
    /// allowed.
    pub fn parse(query: &str) -> Result<Self, ParamError> {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            params.set(&name, value.trim())?;
        }
        Ok(params)
    }

    /// Seed of the session: `seed`, else the text and audio seeds joined, else none.
    ///
    /// ```
    /// use moshi_protocol::ChatParams;
    /// assert_eq!(ChatParams::parse("seed=7&text_seed=1")?.session_seed(), Some(7));
    /// assert_eq!(ChatParams::parse("text_seed=1&audio_seed=2")?.session_seed(), Some((2 << 32) ^ 1));
    /// assert_eq!(ChatParams::parse("")?.session_seed(), None);
    /// # Ok::<(), moshi_protocol::ParamError>(())
    /// ```
    pub fn session_seed(&self) -> Option<u64> {
        let joined = match (self.text_seed, self.audio_seed) {
            (None, None) => None,
            (text, audio) => Some(audio.unwrap_or(0).rotate_left(32) ^ text.unwrap_or(0)),
        };
        self.seed.or(joined)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), ParamError> {
        match name {
            "text_temperature" => self.text_temperature = float("text_temperature", value, 0.0, 10.0)?,
            "text_topk" => self.text_topk = small("text_topk", value, MAX_TOP_K)?,
            "audio_temperature" => self.audio_temperature = float("audio_temperature", value, 0.0, 10.0)?,
            "audio_topk" => self.audio_topk = small("audio_topk", value, MAX_TOP_K)?,
            "pad_mult" => self.pad_mult = float("pad_mult", value, -20.0, 20.0)?,
            "text_seed" => self.text_seed = seed("text_seed", value)?,
            "audio_seed" => self.audio_seed = seed("audio_seed", value)?,
            "seed" => self.seed = seed("seed", value)?,
            "repetition_penalty_context" => {
                self.repetition_penalty_context = small("repetition_penalty_context", value, 256)?;
            }
            "repetition_penalty" => self.repetition_penalty = float("repetition_penalty", value, 0.1, 10.0)?,
            "max_steps" => self.max_steps = small("max_steps", value, u64::from(u32::MAX))?,
            "voice_prompt" => self.voice_prompt = words("voice_prompt", value, MAX_VOICE_PROMPT)?,
            "text_prompt" => self.text_prompt = words("text_prompt", value, MAX_TEXT_PROMPT)?,
            "format" => self.format = words("format", value, MAX_FORMAT)?,
            _ => {}
        }
        Ok(())
    }
}

fn refuse<T>(name: &'static str, value: &str, expected: String) -> Result<T, ParamError> {
    Err(ParamError::new(name, value, expected))
}

fn float(name: &'static str, value: &str, low: f32, high: f32) -> Result<Option<f32>, ParamError> {
    if value.is_empty() {
        return Ok(None);
    }
    match value.parse::<f32>() {
        Ok(number) if (low..=high).contains(&number) => Ok(Some(number)),
        _ => refuse(name, value, format!("a number from {low} to {high}")),
    }
}

/// A whole number; clients that compute in floating point may write it as `25.0`.
fn whole(value: &str) -> Option<i128> {
    value.parse::<i128>().ok().or_else(|| value.strip_suffix(".0")?.parse().ok())
}

fn small(name: &'static str, value: &str, high: u64) -> Result<Option<u32>, ParamError> {
    if value.is_empty() {
        return Ok(None);
    }
    match whole(value).filter(|n| (0..=i128::from(high)).contains(n)).and_then(|n| u32::try_from(n).ok()) {
        Some(number) => Ok(Some(number)),
        None => refuse(name, value, format!("a whole number from 0 to {high}")),
    }
}

fn seed(name: &'static str, value: &str) -> Result<Option<u64>, ParamError> {
    if value.is_empty() || value == "-1" {
        return Ok(None);
    }
    match whole(value).and_then(|n| u64::try_from(n).ok()) {
        Some(number) => Ok(Some(number)),
        None => refuse(name, value, format!("a whole number from 0 to {}, or -1 for any", u64::MAX)),
    }
}

fn words(name: &'static str, value: &str, longest: usize) -> Result<Option<String>, ParamError> {
    if value.is_empty() {
        return Ok(None);
    }
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if value.len() > longest || value.contains(control) {
        return refuse(name, value, format!("at most {longest} bytes of text without control characters"));
    }
    Ok(Some(value.to_owned()))
}
