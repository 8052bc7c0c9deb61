//! What goes into a session and what comes out of it.

use std::time::Duration;

use crate::{EngineError, Forced, WordEvent, Words};

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
    /// Words to say: all there is in a session that reads aloud, something beside its own words in a dialogue.
    Words(Words<'a>),
    /// What the frames of the next steps that have none yet must say. One frame: text, then a code for each stream that is
    /// written; streams that are left out are left to the model. Or several whole frames, one after the other: all of them
    /// are taken or none.
    Forced(&'a [Forced]),
    /// Vectors as wide as the model, one after the other: added to the temporal inputs of the next steps that have none
    /// yet, one a step. All are taken or none.
    Added(&'a [f32]),
    /// Text tokens that are told from the next step on when they are said, in place of those before.
    Watched(&'a [i32]),
    /// So many further steps may be taken, of a session with [`Pace::Asked`](crate::Pace). Steps that cannot be taken
    /// for want of words are not owed later.
    Steps(u64),
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
    /// A word began or ended: one that the caller said, of a model for recognition; one that the session will be heard to
    /// say, of a model that reads aloud.
    Word(WordEvent),
    /// A model that reads aloud has said what it can before more words come, or the end of them. Told once.
    WordsWanted,
    /// A text token that the session watches for ([`SessionSpec::watched`](crate::SessionSpec)) was said.
    Token {
        /// The token.
        token: i32,
        /// In which of the session's steps.
        step: u64,
    },
    /// The caller has finished, as the model thinks: told once, until the next word. Only of a model for recognition.
    Pause,
    /// The probabilities of the model's extra heads in a step, `[heads, classes]`; only of a model that has some.
    Heads(Vec<f32>),
    /// The frame that became complete in a step: text token, then the agent's codes. In steps of codes, and in all steps of
    /// a session that asks for them ([`SessionSpec::tells_codes`](crate::SessionSpec)).
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
