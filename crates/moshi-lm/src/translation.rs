//! The end of a translation: how the model is told that the speech is over, and when it has said all of it.
//!
//! After the last frame of speech the user streams carry one frame of a code that is no code (`card`), then silence
//! through the codec, whose memory knows nothing of the marker, until an emitted text token is the end of the text. Ends
//! that are emitted before the marker are a model that thought too early of stopping and are ignored. The rules are those of
//! `moshi.run_inference` in kyutai-labs/moshi for `model_type: hibiki`; the limit is ours, for a model that never ends.
//!
//! ```
//! use moshi_lm::translation::{Hear, Translation};
//! let mut translation = Translation::new(2_048, 125);
//! assert_eq!(translation.hear(), Hear::Speech);
//! translation.stepped(Some(3));
//! translation.end();
//! assert_eq!(translation.hear(), Hear::Marker(2_048));
//! translation.stepped(Some(3));
//! assert_eq!(translation.hear(), Hear::Silence);
//! translation.stepped(Some(2));
//! assert_eq!(translation.hear(), Hear::Over);
//! ```

use crate::spelling::END_OF_TEXT;

/// What the user streams carry at the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hear {
    /// A frame of the user's speech.
    Speech,
    /// This code on every user stream; the codec hears nothing.
    Marker(i32),
    /// A frame of silence, encoded.
    Silence,
    /// There is no next step.
    Over,
}

/// Why a translation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The model said that it has translated everything.
    Complete,
    /// The model did not come to an end within the limit.
    Limit,
}

/// Where a translation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Speech,
    Marker,
    /// After the marker, and so many steps of silence.
    Silence(u64),
    Over(Ending),
}

/// The end of one translation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The code of the marker: the number of codes of a codebook.
    marker: i32,
    /// Most steps of silence after the marker.
    limit: u64,
    phase: Phase,
}

impl Translation {
    /// A translation at its beginning, for codebooks of `card` codes. After the end of the speech the model has `limit`
    /// steps of silence for what it has not said yet.
    pub fn new(card: usize, limit: u64) -> Self {
        Self { marker: card as i32, limit, phase: Phase::Speech }
    }

    /// Says that all of the speech was heard: the next step hears the marker. Once is enough.
    pub fn end(&mut self) {
        if self.phase == Phase::Speech {
            self.phase = Phase::Marker;
        }
    }

    /// What the next step hears.
    pub fn hear(&self) -> Hear {
        match self.phase {
            Phase::Speech => Hear::Speech,
            Phase::Marker => Hear::Marker(self.marker),
            Phase::Silence(_) => Hear::Silence,
            Phase::Over(_) => Hear::Over,
        }
    }

    /// Says that a step is done, and the text token of the frame that it emitted; `None` where it emitted none.
    pub fn stepped(&mut self, emitted: Option<i32>) {
        let silences = match self.phase {
            Phase::Marker => 0,
            Phase::Silence(steps) => steps + 1,
            Phase::Speech | Phase::Over(_) => return,
        };
        self.phase = if emitted == Some(END_OF_TEXT) {
            Phase::Over(Ending::Complete)
        } else if silences >= self.limit {
            Phase::Over(Ending::Limit)
        } else {
            Phase::Silence(silences)
        };
    }

    /// Why it is over; `None` while it is not.
    pub fn ending(&self) -> Option<Ending> {
        match self.phase {
            Phase::Over(ending) => Some(ending),
            _ => None,
        }
    }
}
