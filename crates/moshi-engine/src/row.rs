//! One session's state: from being opened, through its prompt and its call, to its tail and its end.

use std::sync::Arc;
use std::time::Duration;

use crate::aside::Asides;
use crate::waiting::{Frame, Heard, Spare, Waiting, check_finite};
use crate::{
    EarlyAudio, EngineConfig, EngineError, HeardCodes, Input, OnFailure, Pace, SessionId, SessionSpec, Steering,
};

/// The session that has a row.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) spec: Arc<SessionSpec>,
    pub(crate) phase: Phase,
    pub(crate) waiting: Waiting,
    asides: Asides,
    steering: Option<Arc<dyn Steering>>,
    /// Steps that it may still take, where it reads aloud as far as it is asked to.
    asked: u64,
    /// Whether its row can take no step before it is given more words.
    wants_words: bool,
    /// Whether it has had a row: its caller has been told so.
    pub(crate) known: bool,
    /// Counts how often it began anew: what an earlier conversation's step made is not this one's.
    pub(crate) epoch: u32,
    /// Whether it takes part in the step that runs.
    pub(crate) running: bool,
    /// Frames its caller was heard in.
    steps: u64,
    /// Whether its caller has ended.
    ending: bool,
}

/// What a session does at the moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// Its row is being made: it hears nothing yet, and what comes waits.
    Opening,
    /// Its prompt runs.
    Priming,
    /// It hears its caller.
    Hearing,
    /// It reads aloud.
    Reading,
    /// Its caller has ended; it goes on by itself for at most so many frames.
    Tail { left: usize },
    /// Its row failed: this is what its owner is told until the row is made anew.
    Broken(EngineError),
}

impl Session {
    pub(crate) fn new(id: SessionId, spec: Arc<SessionSpec>, steering: Option<Arc<dyn Steering>>) -> Self {
        Self {
            id,
            asides: Asides::new(steering.as_ref(), &spec),
            steering,
            asked: 0,
            wants_words: false,
            spec,
            phase: Phase::Opening,
            waiting: Waiting::default(),
            known: false,
            epoch: 0,
            running: false,
            steps: 0,
            ending: false,
        }
    }

    /// As before its first step, with this spec; what the caller said before counts no more.
    pub(crate) fn begin_as(&mut self, spec: Arc<SessionSpec>) {
        let epoch = self.epoch.wrapping_add(1);
        *self = Self { epoch, known: self.known, ..Self::new(self.id, spec, self.steering.clone()) };
    }

    /// The same under another name.
    pub(crate) fn named(self, id: SessionId) -> Self {
        Self { id, ..self }
    }

    /// Takes what its caller sent.
    ///
    /// # Errors
    /// As [`Engine::push`](crate::Engine::push).
    pub(crate) fn push(
        &mut self,
        now: Duration,
        input: Input<'_>,
        (config, codes): (&EngineConfig, Option<HeardCodes>),
        spare: &mut Spare,
    ) -> Result<(), EngineError> {
        if let Phase::Broken(why) = &self.phase {
            return Err(why.clone());
        }
        if self.ending && !matches!(input, Input::Steps(_)) {
            return Err(EngineError::NoSession(self.id.0));
        }
        match input {
            Input::Audio(_) | Input::Codes(_) if self.reads_aloud() => {
                return Err(EngineError::Input("this model hears nothing: it reads aloud; give it words".to_owned()));
            }
            Input::Words(words) => return self.asides.say(&words, self.reads_aloud()),
            Input::Forced(forced) => return self.asides.force(forced, self.steering.as_ref()),
            Input::Added(added) => return self.asides.add(added, self.steering.as_ref()),
            Input::Watched(tokens) => return self.asides.watch(tokens),
            Input::Steps(steps) => {
                // A step that cannot be taken is not owed later.
                if !self.is_waiting() {
                    self.asked = self.asked.saturating_add(steps);
                }
                return Ok(());
            }
            Input::Audio(pcm) => {
                check_finite(pcm)?;
                if self.hears_what_comes() {
                    self.waiting.append(now, pcm, spare);
                }
            }
            Input::Codes(frame) => {
                let codes = codes
                    .ok_or_else(|| EngineError::Model("it has no codes; load a model to step codes".to_owned()))?;
                codes.check(frame)?;
                if self.hears_what_comes() {
                    self.waiting.append_codes(now, frame);
                }
            }
            Input::End => {
                if self.reads_aloud() {
                    self.asides.end()?;
                }
                self.waiting.fill(now);
                self.ending = true;
                return Ok(());
            }
        }
        if let Pace::Live { .. } = self.spec.pace {
            self.waiting.trim(config);
        }
        Ok(())
    }

    /// The row is made, and so many frames of its prompt are still to run.
    pub(crate) fn opened(&mut self, priming: usize) {
        self.known = true;
        self.phase = match priming {
            0 if self.reads_aloud() => Phase::Reading,
            0 => Phase::Hearing,
            _ => Phase::Priming,
        };
        if !self.hears_what_comes() {
            self.waiting.clear();
        }
    }

    /// A session of another name that goes on from the state of this one.
    ///
    /// # Errors
    /// Why this one cannot be gone on from.
    pub(crate) fn copy(&self) -> Result<Self, EngineError> {
        match &self.phase {
            Phase::Broken(why) => Err(why.clone()),
            Phase::Opening => Err(EngineError::NoSession(self.id.0)),
            _ => Ok(Self { running: false, ..self.clone() }),
        }
    }

    /// Whether a step would do anything for it: a frame is due, or it is about to end.
    pub(crate) fn is_ready(&self) -> bool {
        match self.phase {
            Phase::Opening | Phase::Broken(_) => false,
            Phase::Priming | Phase::Tail { .. } => true,
            Phase::Hearing => !self.waiting.is_empty() || self.ending,
            Phase::Reading => {
                let asked = self.asked > 0 || self.spec.pace != Pace::Asked;
                asked && (!self.wants_words || self.asides.has_words())
            }
        }
    }

    /// Whether what its caller has sent so far is not done with.
    pub(crate) fn is_busy(&self) -> bool {
        self.running || self.phase == Phase::Opening || self.is_ready()
    }

    /// What it hears in the step that begins now; `None` when it takes no part.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Frame> {
        let ready = self.is_ready();
        let mut frame = match self.phase {
            Phase::Opening | Phase::Broken(_) => None,
            Phase::Priming => Some(Frame::new(now, Heard::Prompt)),
            Phase::Hearing => self.waiting.pop(),
            Phase::Reading => ready.then(|| Frame::new(now, Heard::Nothing)),
            Phase::Tail { .. } => Some(Frame::new(now, Heard::Nothing)),
        };
        self.running = frame.is_some();
        if let Some(frame) = frame.as_mut().filter(|_| self.phase != Phase::Priming) {
            frame.aside = self.asides.next();
        }
        frame
    }

    /// Whether it reads aloud and hears nothing.
    fn reads_aloud(&self) -> bool {
        self.steering.as_ref().is_some_and(|steering| steering.reads_aloud())
    }

    /// Whether it takes no step before it is given more words.
    pub(crate) fn is_waiting(&self) -> bool {
        self.wants_words && !self.asides.has_words()
    }

    /// Its row took what it was given and no step: it waits for more, and the step that it was asked for is not owed. Whether
    /// that is new.
    pub(crate) fn wants_words(&mut self) -> bool {
        self.asked = 0;
        let known = std::mem::replace(&mut self.wants_words, true);
        !known && !self.asides.has_words()
    }

    /// It was heard in a step: which of them that was.
    pub(crate) fn heard(&mut self) -> u64 {
        let step = self.steps;
        self.steps += 1;
        self.asked = self.asked.saturating_sub(1);
        self.wants_words = false;
        step
    }

    /// After a step, and whenever its caller may have ended: whether the session is over now. `model_ended` when the model
    /// has said everything.
    pub(crate) fn is_over(&mut self, model_ended: bool) -> bool {
        match &mut self.phase {
            Phase::Hearing if self.ending && self.waiting.is_empty() && !self.running => {
                self.phase = Phase::Tail { left: self.spec.tail };
                model_ended || self.spec.tail == 0
            }
            Phase::Tail { left } => model_ended || *left == 0,
            Phase::Reading => model_ended,
            _ => false,
        }
    }

    /// One frame of the tail was said.
    pub(crate) fn shorten_tail(&mut self) {
        if let Phase::Tail { left } = &mut self.phase {
            *left = left.saturating_sub(1);
        }
    }

    /// Its row cannot be gone on from. True when the session stays, for its owner to reset.
    pub(crate) fn breaks(&mut self, why: &EngineError) -> bool {
        self.running = false;
        if self.spec.on_failure == OnFailure::Close {
            return false;
        }
        self.waiting.clear();
        self.ending = false;
        self.phase = Phase::Broken(broken(why));
        true
    }

    fn hears_what_comes(&self) -> bool {
        self.phase != Phase::Priming || self.spec.pace != Pace::Live { early: EarlyAudio::Drop }
    }
}

/// What a session says whose memory is lost.
fn broken(why: &EngineError) -> EngineError {
    let why = why.to_string();
    let why = why.strip_prefix("the model failed: ").unwrap_or(&why);
    EngineError::Model(format!("{why}; this session cannot go on: reset it, or open another"))
}
