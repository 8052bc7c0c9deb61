//! What one session has said and its row has not heard: frames that wait, and the one that is being filled.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::FrameInput;
use crate::{Aside, EngineConfig, EngineError, FRAME_SAMPLES};

/// Buffers of one frame that nobody uses at the moment.
pub(crate) type Spare = Vec<Vec<f32>>;

/// What a row hears in one step, and when that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) at: Duration,
    pub(crate) heard: Heard,
    pub(crate) aside: Aside,
}

impl Frame {
    pub(crate) fn new(at: Duration, heard: Heard) -> Self {
        Self { at, heard, aside: Aside::default() }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Heard {
    Pcm(Vec<f32>),
    Codes(Vec<i32>),
    Prompt,
    Nothing,
}

impl Heard {
    pub(crate) fn input(&self) -> FrameInput<'_> {
        match self {
            Self::Pcm(pcm) => FrameInput::Pcm(pcm),
            Self::Codes(codes) => FrameInput::Codes(codes),
            Self::Prompt => FrameInput::Prompt,
            Self::Nothing => FrameInput::Nothing,
        }
    }
}

/// A session's input, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting {
    frames: VecDeque<Frame>,
    /// The frame that is being filled: always less than a whole one.
    partial: Vec<f32>,
    /// Frames dropped since the last report.
    dropped: usize,
}

impl Waiting {
    /// Whole frames.
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// Takes the number of frames that were dropped since the last time.
    pub(crate) fn take_dropped(&mut self) -> usize {
        std::mem::take(&mut self.dropped)
    }

    /// Forgets everything, uncounted.
    pub(crate) fn clear(&mut self) {
        self.frames.clear();
        self.partial.clear();
        self.dropped = 0;
    }

    /// Cuts samples into whole frames; each carries the time at which it became whole.
    pub(crate) fn append(&mut self, now: Duration, mut pcm: &[f32], spare: &mut Spare) {
        while !pcm.is_empty() {
            if self.partial.capacity() == 0 {
                self.partial = spare.pop().unwrap_or_else(|| Vec::with_capacity(FRAME_SAMPLES));
                self.partial.clear();
            }
            let take = pcm.len().min(FRAME_SAMPLES - self.partial.len());
            self.partial.extend_from_slice(&pcm[..take]);
            pcm = &pcm[take..];
            if self.partial.len() == FRAME_SAMPLES {
                let heard = Heard::Pcm(std::mem::take(&mut self.partial));
                self.frames.push_back(Frame::new(now, heard));
            }
        }
    }

    /// Takes a frame of codes; samples that fill no frame yet go on waiting for theirs.
    pub(crate) fn append_codes(&mut self, now: Duration, codes: &[i32]) {
        self.frames.push_back(Frame::new(now, Heard::Codes(codes.to_vec())));
    }

    /// Fills a frame that was begun with silence.
    pub(crate) fn fill(&mut self, now: Duration) {
        if !self.partial.is_empty() {
            self.partial.resize(FRAME_SAMPLES, 0.0);
            let heard = Heard::Pcm(std::mem::take(&mut self.partial));
            self.frames.push_back(Frame::new(now, heard));
        }
    }

    /// The lag policy: beyond the limit, only the newest frames are kept.
    pub(crate) fn trim(&mut self, config: &EngineConfig) {
        if self.frames.len() > config.backlog_limit {
            let frames = self.frames.len() - config.backlog_target;
            self.frames.drain(..frames);
            self.dropped += frames;
        }
    }
}

/// Refuses samples that are no numbers.
///
/// # Errors
/// [`EngineError::Parameter`] naming the first of them.
pub fn check_finite(pcm: &[f32]) -> Result<(), EngineError> {
    match pcm.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(i) => Err(EngineError::Parameter {
            name: "pcm",
            found: format!("{} at sample {i}", pcm[i]),
            expected: "finite samples between -1 and 1".to_owned(),
        }),
    }
}
