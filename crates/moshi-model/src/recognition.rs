//! From a step's token and extra heads to words with times and pauses.

use moshi_checkpoint::config::{LmConfig, ModelConfig, ModelType};
use moshi_engine::{EngineError, Heard, WordEvent};
use moshi_lm::spelling::Speller;
use moshi_lm::words::{self, LiveWords, Pauses};

/// What a model for recognition knows of all conversations.
pub(crate) struct Recognition {
    speller: Speller,
    frame_rate: f64,
    /// Frames that the text is late.
    delay: usize,
    /// Whole frames in which all of the text has come after the sound.
    tail: usize,
}

/// The words of one row.
#[derive(Clone)]
pub(crate) struct Listening {
    words: LiveWords,
    pauses: Pauses,
    /// Room for the events of a step.
    events: Vec<words::WordEvent>,
    /// Frames that it still goes on for after its caller's end.
    left: usize,
}

impl Recognition {
    /// Of a model that is for recognition; `None` of any other.
    ///
    /// # Errors
    /// When the tokenizer is damaged or another model's.
    pub(crate) fn of(
        config: &ModelConfig,
        lm: &LmConfig,
        frame_rate: f64,
        (name, tokenizer): (&str, &[u8]),
    ) -> Result<Option<Self>, EngineError> {
        if config.model_type != ModelType::Stt {
            return Ok(None);
        }
        let seconds = config.stt_config.as_ref().and_then(|stt| stt.get("audio_delay_seconds")?.as_f64());
        let frames = seconds.unwrap_or(0.0).clamp(0.0, 60.0) * frame_rate;
        let (delay, tail) = (frames.round() as usize, frames.ceil() as usize);
        let speller = Speller::from_bytes(name, tokenizer, lm).map_err(|e| EngineError::Load(e.to_string()))?;
        Ok(Some(Self { speller, frame_rate, delay, tail }))
    }

    /// Before the first step of a conversation.
    pub(crate) fn listening(&self) -> Listening {
        let words = LiveWords::new(self.frame_rate, self.delay);
        Listening { words, pauses: Pauses::default(), events: Vec::new(), left: self.tail }
    }
}

impl Listening {
    /// A frame after its caller's end is done; whether that was the last in which a word could come.
    pub(crate) fn go_on(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    /// Takes the token of a step, and the extra heads that are in `heard` already, `[heads, classes]`.
    pub(crate) fn push(&mut self, recognition: &Recognition, token: i32, classes: usize, heard: &mut Heard) {
        self.words.push(token, &recognition.speller, &mut self.events);
        for event in self.events.drain(..) {
            heard.words.push(match event {
                words::WordEvent::Started { text, start } => {
                    self.pauses.word();
                    WordEvent::Started { text, start }
                }
                words::WordEvent::Ended { stop } => WordEvent::Ended { stop },
            });
        }
        heard.pause = self.pauses.push(&heard.heads, classes);
    }
}
