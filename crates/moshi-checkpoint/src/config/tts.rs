//! What a synthesis says of itself beside its sizes (`tts_config`), and which model it is (`model_id`).

use serde_json::{Value, json};

use super::Reader;
use crate::Result;

/// How a synthesis is run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TtsConfig {
    /// Seconds that the audio runs behind the text.
    pub audio_delay: f64,
    /// How many words ahead the second text stream reads; 0 without one.
    pub second_stream_ahead: usize,
    /// How many speakers' voices the model attends to; 5 where the file does not say.
    pub max_speakers: usize,
}

impl TtsConfig {
    pub(super) fn parse(r: &Reader<'_>) -> Result<Option<Self>> {
        let Some(tts) = r.object("tts_config")? else { return Ok(None) };
        Ok(Some(Self {
            audio_delay: tts.number("audio_delay", 0.0, 1000.0)?.unwrap_or(0.0),
            second_stream_ahead: tts.count("second_stream_ahead", 0, 1000)?.unwrap_or(0),
            max_speakers: tts.count("max_speakers", 1, 1000)?.unwrap_or(5),
        }))
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "audio_delay": self.audio_delay,
            "second_stream_ahead": self.second_stream_ahead,
            "max_speakers": self.max_speakers,
        })
    }
}

/// Which training run and which moment of it a model is: what voices are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelId {
    /// The run.
    pub sig: String,
    /// The moment.
    pub epoch: u64,
}

impl ModelId {
    pub(super) fn parse(r: &Reader<'_>) -> Result<Option<Self>> {
        let Some(id) = r.object("model_id")? else { return Ok(None) };
        let (sig, epoch) = (id.text("sig")?, id.count("epoch", 0, 1 << 48)?);
        Ok(sig.zip(epoch).map(|(sig, epoch)| Self { sig, epoch: epoch as u64 }))
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"sig": self.sig, "epoch": self.epoch})
    }

    /// The file beside a voice's sound that this model understands.
    ///
    /// ```
    /// use moshi_checkpoint::config::ModelId;
    /// let id = ModelId { sig: "a1b2c3d4".to_owned(), epoch: 240 };
    /// assert_eq!(id.voice_file("anna.wav"), "anna.wav.a1b2c3d4@240.safetensors");
    /// ```
    pub fn voice_file(&self, sound: &str) -> String {
        format!("{sound}.{}@{}.safetensors", self.sig, self.epoch)
    }
}
