//! The voices of sessions that read aloud.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moshi_checkpoint::SpeakerFile;
use moshi_engine::{EngineError, ModelInfo, SpokenPrefix, Vectors, VoiceInfo};
use moshi_lm::conditions::Sequence;

use crate::{Codec, error::told};

/// Frames at the end of a voice's sound that do not belong to the prefix, as published.
const CUT_FRAMES: usize = 2;

/// The voices of one session, in the order of its speakers, from published files (`NAME.wav.SIG@EPOCH.safetensors`). A path
/// to the sound itself (`NAME.wav`) stands for the file beside it that this model understands.
///
/// # Errors
/// [`EngineError::Parameter`] when the model takes no such voices, for more of them than it has places, and for voices that
/// belong to another model; [`EngineError::Load`] for files that cannot be read.
pub fn speaker_voices(info: &ModelInfo, files: &[PathBuf]) -> Result<Arc<Vectors>, EngineError> {
    let refused = |found: String, expected: String| Err(EngineError::Parameter { name: "voice", found, expected });
    let Some(VoiceInfo { condition: Some(_), most, file_ending, .. }) = &info.voices else {
        return refused(format!("{} files", files.len()), "none: this model takes no voices of this kind".to_owned());
    };
    if files.is_empty() || files.len() > *most {
        return refused(format!("{} voices", files.len()), format!("1 to {most}"));
    }
    let voices =
        files.iter().map(|file| speaker(info, &beside(file, file_ending.as_deref()))).collect::<Result<Vec<_>, _>>()?;
    let (width, values, given) = Sequence::voices(&voices, *most).map_err(told)?.into_parts();
    Ok(Arc::new(Vectors { width, values, given }))
}

/// A voice as the beginning of what is said: somebody's speech `pcm` at 24 kHz, without its last two frames.
///
/// # Errors
/// [`EngineError::Parameter`] when the model takes no such voice, or the sound is too short to be one; those of the codec.
pub fn spoken_prefix(info: &ModelInfo, codec: &dyn Codec, pcm: &[f32]) -> Result<Arc<SpokenPrefix>, EngineError> {
    let refused = |found: String, expected: String| Err(EngineError::Parameter { name: "voice", found, expected });
    if !matches!(info.voices, Some(VoiceInfo { condition: None, .. })) {
        return refused("a sound".to_owned(), "another kind of voice: this model takes no spoken prefix".to_owned());
    }
    let frame = codec.info().frame_samples;
    let frames = pcm.len() / frame;
    if frames <= CUT_FRAMES {
        return refused(format!("{frames} frames of sound"), format!("more than {CUT_FRAMES} frames of 80 ms"));
    }
    let (all, codebooks) = (pcm.len().div_ceil(frame), info.dep_q);
    let codes = codec.encode(pcm, &mut || true)?;
    let kept = all - CUT_FRAMES;
    let rows = codes.chunks_exact(all).take(codebooks);
    let codes = rows.flat_map(|row| row[..kept].iter().map(|&code| i32::try_from(code).unwrap_or(-1))).collect();
    Ok(Arc::new(SpokenPrefix { codebooks, codes }))
}

/// The file of a voice that is named by its sound.
fn beside(file: &Path, ending: Option<&str>) -> PathBuf {
    let is_voice = file.extension().is_some_and(|extension| extension == "safetensors");
    match ending {
        Some(ending) if !is_voice => {
            let mut name = file.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        }
        _ => file.to_owned(),
    }
}

fn speaker(info: &ModelInfo, file: &Path) -> Result<Sequence, EngineError> {
    let voice = SpeakerFile::read(file).map_err(|e| EngineError::Load(e.to_string()))?;
    let ending = info.voices.as_ref().and_then(|voices| voices.file_ending.as_deref());
    let made_for = voice.model.as_ref().map(|model| model.voice_file(""));
    if let (Some(made_for), Some(ending)) = (&made_for, ending)
        && made_for != ending
    {
        return Err(EngineError::Parameter {
            name: "voice",
            found: format!(
                "{}, which was made for another model ({})",
                file.display(),
                made_for.trim_start_matches('.')
            ),
            expected: format!("a voice of this model: a file that ends in {ending}"),
        });
    }
    Sequence::new(voice.dim, voice.vectors).map_err(told)
}
