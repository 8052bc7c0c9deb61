//! Voices that lie on the hub.

use std::path::{Path, PathBuf};

use moshi_checkpoint::hub::Hub;
use moshi_checkpoint::{HubOptions, HubSource, Progress, Source};
use moshi_engine::{EngineError, ModelInfo};

use crate::voice_files::full_name;

/// The file of the hub that a voice's address means, `hf://kyutai/tts-voices/NAME.wav` or that in a browser; `None` for
/// what is no address.
///
/// # Errors
/// [`EngineError::Parameter`] for an address of something else.
pub fn voice_address(voice: &Path) -> Result<Option<HubSource>, EngineError> {
    let Some(given) = voice.to_str().filter(|given| given.contains("://") && !given.starts_with("file:")) else {
        return Ok(None);
    };
    let refused = || EngineError::Parameter {
        name: "voice",
        found: format!("{given:?}"),
        expected: "the address of a file on the hub, hf://kyutai/tts-voices/NAME.wav".to_owned(),
    };
    match Source::parse(given) {
        Ok(Source::Hub(hub)) if hub.file.is_some() => Ok(Some(hub)),
        _ => Err(refused()),
    }
}

/// Brings a voice of this model from the hub into the cache, unless it is there: the file itself, or the one beside the sound
/// that the address names.
///
/// # Errors
/// [`EngineError::Load`] when the hub has no voice of this model there, cannot be reached, or `progress` stops it.
pub fn fetch_voice(
    info: &ModelInfo,
    voice: &HubSource,
    options: &HubOptions,
    progress: &mut dyn Progress,
) -> Result<PathBuf, EngineError> {
    let told = |error: moshi_checkpoint::HubError| EngineError::Load(format!("voice: {error}"));
    let file = full_name(info, voice.file.as_deref().unwrap_or_default());
    let mut hub = Hub::new(options, voice).map_err(told)?;
    let path = hub.fetch(&file, progress).map_err(told)?;
    hub.settle();
    Ok(path)
}
