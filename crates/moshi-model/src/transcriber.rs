//! From a recognition's steps to text and words with times, by the rule of the published script for whole files
//! (`stt_from_file_pytorch.py` in kyutai-labs/delayed-streams-modeling): silence in front, the sound in whole frames,
//! silence behind until its last word has come.
//!
//! [`Transcriber`] is what a model knows; [`Transcription`] is where one recording stands. Neither has a session or a
//! clock: whoever drives an engine gives a transcription the events of its session.
//! [`TranscriptionSession`](crate::TranscriptionSession) does that for those who wait for each step.

use std::sync::Arc;

use moshi_checkpoint::config::{LmConfig, ModelConfig, ModelType};
use moshi_engine::{EngineError, FRAME_SAMPLES, SessionEvent, SessionParams, SessionSpec};
use moshi_lm::spelling::Speller;
use moshi_lm::text::{Detokenizer, TextState};
use moshi_lm::words::{SegmentedWords, SttTimes, WordEvent};

use crate::{TranscriptWord, Understood};

/// Longest silence in front of a sound, and longest delay, in seconds: more is a damaged configuration.
const MOST_SECONDS: f64 = 60.0;

/// What a model for recognition knows of all recordings.
#[derive(Debug)]
pub struct Transcriber {
    speller: Arc<Speller>,
    printer: Detokenizer,
    times: SttTimes,
    heads: (usize, usize),
}

/// Where one recording stands. Memory grows with the longest stretch without a word.
#[derive(Debug, Clone)]
pub struct Transcription {
    words: SegmentedWords,
    printing: TextState,
    /// Room for the events of a step.
    events: Vec<WordEvent>,
}

impl Transcriber {
    /// Of a model that is for recognition; `None` of any other.
    ///
    /// # Errors
    /// When the tokenizer is damaged or another model's.
    pub(crate) fn of(
        config: &ModelConfig,
        lm: &LmConfig,
        frame_rate: f64,
        speller: &Arc<Speller>,
        (name, tokenizer): (&str, &[u8]),
    ) -> Result<Option<Self>, EngineError> {
        if config.model_type != ModelType::Stt {
            return Ok(None);
        }
        let seconds = |key: &str| {
            let found = config.stt_config.as_ref().and_then(|stt| stt.get(key)?.as_f64());
            found.unwrap_or(0.0).clamp(0.0, MOST_SECONDS)
        };
        let (prefix_seconds, delay_seconds) = (seconds("audio_silence_prefix_seconds"), seconds("audio_delay_seconds"));
        let printer = Detokenizer::from_bytes(name, tokenizer, lm).map_err(|e| EngineError::Load(e.to_string()))?;
        Ok(Some(Self {
            speller: speller.clone(),
            printer,
            times: SttTimes { frame_rate, prefix_seconds, delay_seconds },
            heads: (lm.extra_heads_num_heads, lm.extra_heads_dim),
        }))
    }

    /// How the sound is laid out.
    pub fn times(&self) -> &SttTimes {
        &self.times
    }

    /// Extra heads that answer in each step, and the classes of each; no heads where the file has none.
    pub fn heads(&self) -> (usize, usize) {
        self.heads
    }

    /// The silence to push in front of the sound, in samples.
    pub fn silence_before(&self) -> usize {
        self.times.frames_before() * FRAME_SAMPLES
    }

    /// A session that hears a recording: greedy, nothing is dropped, and after its end it goes on until the last word has
    /// come.
    pub fn spec(&self) -> SessionSpec {
        let greedy = SessionParams { temperature: 0.0, text_temperature: 0.0, ..SessionParams::default() };
        SessionSpec { tail: self.times.frames_after(), tells_codes: true, ..SessionSpec::lossless(greedy) }
    }

    /// Before the first frame, which is the silence in front.
    pub fn begin(&self) -> Transcription {
        Transcription { words: SegmentedWords::new(&self.times), printing: TextState::default(), events: Vec::new() }
    }
}

impl Transcription {
    /// Takes an event of the session, which tells its codes, and appends what it says to `out`. What is no codes, pause or
    /// answer of the extra heads says nothing.
    pub fn take(&mut self, transcriber: &Transcriber, event: &SessionEvent, out: &mut Understood) {
        match event {
            SessionEvent::Codes(frame) => frame.iter().take(1).for_each(|token| self.token(transcriber, *token, out)),
            SessionEvent::Pause => out.pause = true,
            SessionEvent::Heads(heads) => out.heads.extend_from_slice(heads),
            _ => {}
        }
    }

    /// Ends the text: the word that is being written is complete.
    pub fn finish(&mut self, transcriber: &Transcriber, out: &mut Understood) {
        self.printing.finish(&mut out.text);
        self.words.finish(&transcriber.speller, &mut self.events);
        self.complete(out);
    }

    fn token(&mut self, transcriber: &Transcriber, token: i32, out: &mut Understood) {
        out.tokens.push(token);
        transcriber.printer.push(&mut self.printing, token, &mut out.text);
        self.words.push(token, &transcriber.speller, &mut self.events);
        self.complete(out);
    }

    /// The words of the events, which hold a start and an end for each.
    fn complete(&mut self, out: &mut Understood) {
        for event in self.events.drain(..) {
            match event {
                WordEvent::Started { text, start } => out.words.push(TranscriptWord { text, start, stop: start }),
                WordEvent::Ended { stop } => {
                    if let Some(word) = out.words.last_mut() {
                        word.stop = stop;
                    }
                }
            }
        }
    }
}
