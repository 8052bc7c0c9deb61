//! What the model says in one call, up to the end of it.

use moshi_engine::SessionEvent;
use moshi_protocol::{CloseReason, Notice};
use tokio::sync::mpsc;

use super::ending::Ending;
use super::lost_audio::LostAudio;
use super::recorder::Recorder;
use crate::engine_thread::EngineHandle;

/// Something that a wire has to pass on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// The model is who it was asked to be, and hears its caller from now on.
    Primed,
    /// A frame of the agent's voice: 1,920 samples at 24 kHz.
    Voice(Vec<f32>),
    /// A piece of its words.
    Words(String),
    /// A text token that the caller watches for was said.
    Token {
        /// The token.
        token: i32,
        /// In which of the call's steps.
        step: u64,
    },
    /// So many frames of the caller get no answer; what to tell the caller, if it was not told before.
    Lost {
        /// Frames.
        frames: usize,
        /// Once in a call.
        notice: Option<Notice>,
    },
}

/// Takes what the engine makes for one call, and keeps a copy for the recording.
pub(crate) struct CallEvents<'a> {
    engine: &'a EngineHandle,
    events: mpsc::Receiver<SessionEvent>,
    recorder: Option<Recorder>,
    lost: LostAudio,
    /// Frames of voice that may still come; none is no limit.
    left: Option<u32>,
}

impl<'a> CallEvents<'a> {
    /// Of a call that ends after `most` frames of reply, if that was asked for.
    pub(crate) fn new(
        engine: &'a EngineHandle,
        events: mpsc::Receiver<SessionEvent>,
        recorder: Option<Recorder>,
        most: Option<u32>,
    ) -> Self {
        // Whoever asks for no frame at all hears one.
        Self { engine, events, recorder, lost: LostAudio::default(), left: most.map(|most| most.max(1)) }
    }

    /// Waits for what the model says next. A wait that is dropped loses nothing.
    ///
    /// # Errors
    /// The ending of the call, when there is nothing more to come.
    pub(crate) async fn next(&mut self) -> Result<Said, Ending> {
        if self.left == Some(0) {
            return Err(Ending::because(CloseReason::Finished));
        }
        loop {
            let Some(event) = self.events.recv().await else { return Err(self.cut_off()) };
            if let Some(said) = self.take(event)? {
                return Ok(said);
            }
        }
    }

    /// What a wire passes on of an event, if anything.
    fn take(&mut self, event: SessionEvent) -> Result<Option<Said>, Ending> {
        Ok(match event {
            SessionEvent::Audio { pcm, .. } => {
                self.left = self.left.map(|left| left - 1);
                self.record(|recorder| recorder.agent(&pcm));
                Some(Said::Voice(pcm))
            }
            SessionEvent::Text { text, .. } => {
                self.record(|recorder| recorder.words(&text));
                Some(Said::Words(text))
            }
            SessionEvent::Primed => Some(Said::Primed),
            SessionEvent::Token { token, step } => Some(Said::Token { token, step }),
            SessionEvent::Dropped { frames } => {
                self.record(|recorder| recorder.dropped(frames));
                Some(Said::Lost { frames, notice: self.lost.slow_server(frames) })
            }
            SessionEvent::Ended => return Err(Ending::because(CloseReason::Finished)),
            SessionEvent::Failed(why) => return Err(Ending::model_failed(&why.to_string())),
            // What a wire of a call has no words for.
            SessionEvent::Opened | SessionEvent::Reset | SessionEvent::Codes(_) => None,
            SessionEvent::Word(_) | SessionEvent::Pause | SessionEvent::Heads(_) => None,
            SessionEvent::WordsWanted => None,
        })
    }

    fn record(&self, what: impl FnOnce(&Recorder)) {
        if let Some(recorder) = &self.recorder {
            what(recorder);
        }
    }

    /// Why the model says nothing more.
    fn cut_off(&self) -> Ending {
        let running = self.engine.status().healthy();
        Ending::because(if running { CloseReason::NotReading } else { CloseReason::Internal })
    }
}
