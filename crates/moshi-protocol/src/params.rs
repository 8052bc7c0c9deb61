//! The query parameters of `/api/chat`.

use moshi_engine::{PARAMETERS, Parameter, Range, SessionParams};

/// What a caller asked for in the query string; `None` where it left the choice to the server.
///
/// Names are those of the published web client, and `voice_prompt`, `text_prompt` and `seed` those of PersonaPlex
/// clients; `format` is ours. Unknown parameters are ignored, an empty value counts as not given, and of a repeated one the last counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChatParams {
    /// The numbers by which tokens are drawn.
    pub sampling: AskedSampling,
    /// Seed of the text stream.
    pub text_seed: Option<u64>,
    /// Seed of the audio streams.
    pub audio_seed: Option<u64>,
    /// Seed of the whole session; -1 on the wire means "choose one" and is read as `None`.
    pub seed: Option<u64>,
    /// Longest number of 80 ms steps the call may take.
    pub max_steps: Option<u32>,
    /// Name of the voice to speak with.
    pub voice_prompt: Option<String>,
    /// The role to play, in words.
    pub text_prompt: Option<String>,
    /// Name of the format of audio messages; which names there are is the server's business.
    pub format: Option<String>,
}

/// The numbers of [`PARAMETERS`] that a caller asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AskedSampling([Option<f64>; PARAMETERS.len()]);

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
            "text_seed" => self.text_seed = seed("text_seed", value)?,
            "audio_seed" => self.audio_seed = seed("audio_seed", value)?,
            "seed" => self.seed = seed("seed", value)?,
            "max_steps" => self.max_steps = small("max_steps", value, u64::from(u32::MAX))?,
            "voice_prompt" => self.voice_prompt = words("voice_prompt", value, MAX_VOICE_PROMPT)?,
            "text_prompt" => self.text_prompt = words("text_prompt", value, MAX_TEXT_PROMPT)?,
            "format" => self.format = words("format", value, MAX_FORMAT)?,
            name => self.sampling.set(name, value)?,
        }
        Ok(())
    }
}

impl AskedSampling {
    /// What was asked for under a name of the query (`audio_topk`); `None` where nothing was, or there is no such name.
    pub fn get(&self, wire: &str) -> Option<f64> {
        let at = PARAMETERS.iter().position(|parameter| parameter.wire == wire)?;
        self.0[at]
    }

    /// Puts what was asked for into `params`, and leaves the rest as it is.
    pub fn apply(&self, params: &mut SessionParams) {
        for (parameter, value) in PARAMETERS.iter().zip(self.0) {
            value.into_iter().for_each(|value| (parameter.set)(params, value));
        }
    }

    /// Takes the parameter `wire`; one that is none of these is ignored.
    fn set(&mut self, wire: &str, value: &str) -> Result<(), ParamError> {
        let Some(at) = PARAMETERS.iter().position(|parameter| parameter.wire == wire) else { return Ok(()) };
        let Parameter { wire, range, .. } = PARAMETERS[at];
        self.0[at] = match range {
            _ if value.is_empty() => None,
            Range::Real(..) => Some(value.parse::<f32>().map_or(f64::NAN, f64::from)),
            Range::Whole(_) => Some(whole(value).map_or(f64::NAN, |whole| whole as f64)),
        };
        match self.0[at] {
            Some(number) if !range.holds(number) => refuse(wire, value, range.to_string()),
            _ => Ok(()),
        }
    }
}

fn refuse<T>(name: &'static str, value: &str, expected: String) -> Result<T, ParamError> {
    Err(ParamError::new(name, value, expected))
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
