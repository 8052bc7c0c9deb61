//! What a session is, as data.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Condition, Prompt, SessionParams};

/// Everything that makes one session different from another; shared by whoever needs it in an `Arc`.
///
/// ```
/// use moshi_engine::{SessionParams, SessionSpec};
/// let call = SessionSpec::live(SessionParams { seed: 7, ..SessionParams::default() });
/// // Goes on for at most ten seconds after its caller has said everything.
/// let told = SessionSpec { tail: 125, ..SessionSpec::lossless(SessionParams::default()) };
/// # assert_ne!(call, told);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionSpec {
    /// How its tokens are drawn, and the key of its random numbers.
    pub sampling: SessionParams,
    /// What becomes of input that waits.
    pub pace: Pace,
    /// What becomes of the session when its row fails.
    pub on_failure: OnFailure,
    /// Most frames for which it goes on by itself after [`Input::End`](crate::Input::End); 0 ends it when everything was
    /// heard. The model may end it earlier: a
    /// recognition when all words have come, a translation when it is complete.
    pub tail: usize,
    /// The name of the adapter that it speaks with, one of those that were loaded with the model; `None` for the model as
    /// it is.
    pub adapter: Option<String>,
    /// What the model is told about it, by the names of the model's conditions. What is not named is what sessions of this
    /// model are told as a rule, or "not given".
    pub conditions: BTreeMap<String, Condition>,
    /// How far it is drawn towards what it is told, and away from its opposite; `None` and 1 leave it alone. A second row
    /// runs beside it for that, unless the model has learnt what it comes to.
    pub guidance: Option<f32>,
    /// Codebooks that it makes, the first ones; `None` for all of the model's.
    pub codebooks: Option<usize>,
    /// How it reads, where the model reads aloud.
    pub reading: ReadingSpec,
    /// Whether the codes of each frame are told too, as [`SessionEvent::Codes`](crate::SessionEvent::Codes).
    pub tells_codes: bool,
    /// Text tokens that are told when they are said, as [`SessionEvent::Token`](crate::SessionEvent::Token).
    pub watched: Vec<i32>,
    /// What it is told before its caller is heard.
    pub prompt: Option<Arc<Prompt>>,
}

impl SessionSpec {
    /// A call: late audio is dropped, and a failure ends it.
    pub fn live(sampling: SessionParams) -> Self {
        Self { sampling, on_failure: OnFailure::Close, ..Self::default() }
    }

    /// A session whose owner waits for each step and can reset it: nothing is dropped, and a failure leaves it broken.
    pub fn lossless(sampling: SessionParams) -> Self {
        Self { sampling, pace: Pace::Lossless, on_failure: OnFailure::Break, ..Self::default() }
    }
}

/// What becomes of input that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Somebody speaks now: waiting is latency, and beyond the engine's backlog limit the oldest frames are dropped.
    Live {
        /// What becomes of audio that comes while the session's prompt runs.
        early: EarlyAudio,
    },
    /// Everything is heard, however long it waits: whoever pushes decides how much.
    Lossless,
    /// As `Lossless`, and a session that reads aloud takes only so many steps as it is asked to
    /// ([`Input::Steps`](crate::Input::Steps)).
    Asked,
}

impl Default for Pace {
    fn default() -> Self {
        Self::Live { early: EarlyAudio::Keep }
    }
}

/// How a session reads aloud.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadingSpec {
    /// Steps of silence between words that the model has to keep; 1 as published, 0 for as fast as it likes.
    pub padding_between: u32,
    /// The voice, where the model takes it as the beginning of what is said.
    pub prefix: Option<Arc<SpokenPrefix>>,
}

impl Default for ReadingSpec {
    fn default() -> Self {
        Self { padding_between: 1, prefix: None }
    }
}

/// The codes of somebody's speech, which a session goes on from as if it had said it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpokenPrefix {
    /// Codebooks.
    pub codebooks: usize,
    /// `[codebooks, frames]`.
    pub codes: Vec<i32>,
}

/// What becomes of audio that comes before its session can hear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyAudio {
    /// It waits, within the backlog limit.
    #[default]
    Keep,
    /// It is not heard, and not counted as lost: the caller is told by [`SessionEvent::Primed`](crate::SessionEvent::Primed)
    /// from when on it is heard.
    Drop,
}

/// What becomes of a session when its row fails alone, or in a step that fails as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// It is closed: nobody is there who could begin again.
    #[default]
    Close,
    /// It stays and says why at every input until its owner resets it.
    Break,
}
