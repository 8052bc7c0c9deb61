//! What a session that reads aloud is asked for, as its users say it.

use std::path::PathBuf;

use moshi_engine::{EngineError, GoOn, ModelInfo, ModelKind, ReadingSpec, SessionParams, SessionSpec, VoiceInfo};

use crate::choices::learnt;
use crate::voice_files::voice_file;
use crate::{Codec, Sound, expect_kind, speaker_voices, spoken_prefix};

/// How far a session is drawn towards its voice as a rule: what the published programs take.
const GUIDANCE: f32 = 2.0;
/// Longest sound that may stand for a voice, in samples: a minute, more than the published models remember.
const MOST_SAMPLES: usize = 60 * 24_000;

/// Whose voice it is.
#[derive(Debug, Default)]
pub enum ReadingVoice {
    /// Any: the model chooses.
    #[default]
    Any,
    /// Those in files, or with names, in the order of the speakers: see [`voice_file`](crate::voice_file).
    Files(Vec<PathBuf>),
    /// That of a sound, where the model takes a voice as the beginning of what is said.
    Sound(Sound),
}

/// What a session that reads aloud is asked for.
#[derive(Debug)]
pub struct ReadingWish {
    /// How its tokens are drawn.
    pub sampling: SessionParams,
    /// Whose voice it has.
    pub voice: ReadingVoice,
    /// How far it is drawn towards its voice; `None` for 2 as published, where the model knows that.
    pub guidance: Option<f32>,
    /// Steps of silence between words that the model has to keep; 1 as published.
    pub padding_between: u32,
    /// Codebooks that it makes; `None` for all.
    pub codebooks: Option<usize>,
    /// Whether its codes are told too.
    pub tells_codes: bool,
}

impl ReadingWish {
    /// As the published programs read, with this sampling and any voice.
    pub fn new(sampling: SessionParams) -> Self {
        let voice = ReadingVoice::Any;
        Self { sampling, voice, guidance: None, padding_between: 1, codebooks: None, tells_codes: false }
    }

    /// The session's spec for a model. `go_on` is asked while a sound is read.
    ///
    /// # Errors
    /// [`EngineError::Input`] for a model that does not read aloud; [`EngineError::Parameter`] for a voice that is not there
    /// or not this model's; [`EngineError::Load`] for files that cannot be read; [`EngineError::Stopped`].
    pub fn spec(self, info: &ModelInfo, codec: &dyn Codec, go_on: &mut GoOn<'_>) -> Result<SessionSpec, EngineError> {
        expect_kind(info, "synthesis", ModelKind::Tts)?;
        let Self { sampling, voice, guidance, padding_between, codebooks, tells_codes } = self;
        let mut spec = SessionSpec {
            guidance: guidance.or_else(|| as_a_rule(info)),
            codebooks,
            tells_codes,
            reading: ReadingSpec { padding_between, prefix: None },
            ..SessionSpec::lossless(sampling)
        };
        let condition = info.voices.as_ref().and_then(|voices| voices.condition.as_deref());
        match (voice, condition) {
            (ReadingVoice::Any, _) => {}
            (ReadingVoice::Files(files), Some(condition)) => {
                let files = files.iter().map(|file| voice_file(info, file)).collect::<Result<Vec<_>, _>>()?;
                spec.conditions.insert(condition.to_owned(), speaker_voices(info, &files)?.into());
            }
            (ReadingVoice::Sound(_), Some(_)) => return Err(no_sound(info)),
            (ReadingVoice::Files(files), None) => {
                let [file] = &files[..] else {
                    let (name, found) = ("voice", format!("{} voices", files.len()));
                    return Err(EngineError::Parameter { name, found, expected: "1".to_owned() });
                };
                let sound = Sound::file(&voice_file(info, file)?)?;
                spec.reading.prefix = Some(spoken_prefix(info, codec, &whole(sound, go_on)?)?);
            }
            (ReadingVoice::Sound(sound), None) => {
                spec.reading.prefix = Some(spoken_prefix(info, codec, &whole(sound, go_on)?)?);
            }
        }
        Ok(spec)
    }
}

/// What sessions of a model are drawn with where they say nothing: 2, unless the model has learnt other numbers only.
fn as_a_rule(info: &ModelInfo) -> Option<f32> {
    let knows = learnt(&info.conditions).is_none_or(|known| known.texts.contains(&format!("{GUIDANCE:.1}")));
    knows.then_some(GUIDANCE)
}

fn no_sound(info: &ModelInfo) -> EngineError {
    let ending = info.voices.as_ref().and_then(|VoiceInfo { file_ending, .. }| file_ending.as_deref());
    let ending = ending.unwrap_or(".safetensors");
    EngineError::Parameter {
        name: "voice",
        found: "a sound".to_owned(),
        expected: format!("a published voice of this model: a file that ends in {ending} (kyutai/tts-voices has many)"),
    }
}

/// All of a sound that is short enough to be a voice.
fn whole(mut sound: Sound, go_on: &mut GoOn<'_>) -> Result<Vec<f32>, EngineError> {
    let mut pcm = Vec::new();
    while sound.read(&mut pcm)? && pcm.len() <= MOST_SAMPLES {
        if !go_on() {
            return Err(EngineError::Stopped);
        }
    }
    if pcm.len() > MOST_SAMPLES {
        return Err(EngineError::Parameter {
            name: "voice",
            found: "a sound of more than a minute".to_owned(),
            expected: "some seconds of speech, ten as a rule".to_owned(),
        });
    }
    Ok(pcm)
}
