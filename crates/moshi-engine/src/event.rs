//! What goes into a session and what comes out of it.

use std::time::Duration;

use crate::{EngineError, WordEvent};

/// Names one session for its whole life; never used twice by one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What a caller sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input<'a> {
    /// Any number of mono samples at 24 kHz.
    Audio(&'a [f32]),
    /// One frame as codes, without the codec: one for each stream that the model hears, -1 for nothing.
    Codes(&'a [i32]),
    /// Nothing more will come: a partial frame is filled with silence, and once all frames have run, the session ends, or
    /// goes on by itself for its tail.
    End,
}

/// What the engine has for a caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Whose it is.
    pub session: SessionId,
    /// What it is.
    pub event: SessionEvent,
}

/// One event of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent {
    /// It has a row: the first event of every session that was not refused.
    Opened,
    /// Its prompt has run: from here on the caller is heard. Only of sessions that have a prompt.
    Primed,
    /// A frame of the agent's voice, [`FRAME_SAMPLES`](crate::FRAME_SAMPLES) samples.
    Audio {
        /// The samples.
        pcm: Vec<f32>,
        /// How long the caller's frame that this step heard waited from its arrival to the end of the step.
        lag: Duration,
        /// The part of it before the step began.
        waited: Duration,
    },
    /// Whole UTF-8 text that the agent says.
    Text {
        /// The text.
        text: String,
        /// In which of the session's steps it was said: the first frame that the caller is heard in is step 0.
        step: u64,
    },
    /// A word that the caller said began or ended. Only of a model for recognition.
    Word(WordEvent),
    /// The caller has finished, as the model thinks: told once, until the next word. Only of a model for recognition.
    Pause,
    /// The probabilities of the model's extra heads in a step, `[heads, classes]`; only of a model that has some.
    Heads(Vec<f32>),
    /// The frame that became complete in a step of codes: text token, then the agent's codes.
    Codes(Vec<i32>),
    /// The backlog grew past the limit: this many of the caller's frames were dropped unheard.
    Dropped {
        /// Number of frames.
        frames: usize,
    },
    /// It began anew with the same spec: what follows belongs to the new conversation.
    Reset,
    /// The session has ended after [`Input::End`].
    Ended,
    /// It could not be opened, or its row failed. It is closed, or broken until it is reset, as its spec says.
    Failed(EngineError),
}

impl SessionEvent {
    /// Whether nothing comes after this in a session that a failure closes.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Ended | Self::Failed(_))
    }
}
