//! Where the voices of a model that reads aloud are: by path, by the sound beside them, by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use moshi_engine::{EngineError, ModelInfo, VoiceInfo};

/// How sounds end that voices are named by.
const SOUNDS: [&str; 3] = [".wav", ".mp3", ".flac"];
/// How all files of published voices end.
const VOICE: &str = ".safetensors";

/// The file of a voice of a model that reads aloud: `voice` is its path, the path of the sound that it was made from
/// (`anna.wav`, which stands for the file beside it that this model understands), or the name of either in the folder
/// `voices` beside the model, with its ending or without.
///
/// Where the model takes a voice as the beginning of what is said, the sound itself is the voice.
///
/// # Errors
/// [`EngineError::Parameter`] says where it was looked for, and which names there are.
pub fn voice_file(info: &ModelInfo, voice: &Path) -> Result<PathBuf, EngineError> {
    let none = VoiceInfo::default();
    let voices = info.voices.as_ref().unwrap_or(&none);
    let named = voices.folder.iter().filter(|_| is_inside(voice)).map(|folder| folder.join(voice));
    let found = std::iter::once(voice.to_owned()).chain(named).find_map(|place| at(voices, &place));
    found.ok_or_else(|| EngineError::Parameter {
        name: "voice",
        found: format!("{:?}", voice.display().to_string()),
        expected: expected(voices, voice),
    })
}

/// The names that [`voice_file`] knows for a model, in order: the voices in the folder beside it.
pub fn voice_names(info: &ModelInfo) -> Vec<String> {
    info.voices.as_ref().map(names).unwrap_or_default()
}

/// The name of the file of a voice that is named by it or by its sound.
pub(crate) fn full_name(info: &ModelInfo, voice: &str) -> String {
    let ending = info.voices.as_ref().map_or("", ending);
    if voice.ends_with(VOICE) { voice.to_owned() } else { format!("{voice}{ending}") }
}

/// The voice that a path means, if it is there.
fn at(voices: &VoiceInfo, place: &Path) -> Option<PathBuf> {
    let name = place.as_os_str();
    let with = |sound: &str, ending: &str| {
        let mut file = name.to_owned();
        file.push(sound);
        file.push(ending);
        PathBuf::from(file)
    };
    let ending = ending(voices);
    let is_voice = ending.is_empty() || place.to_string_lossy().ends_with(VOICE);
    let itself = is_voice.then(|| place.to_owned());
    let beside = [""].into_iter().chain(SOUNDS).map(|sound| with(sound, ending));
    itself.into_iter().chain(beside).find(|file| file.is_file())
}

/// What follows the name of a voice's sound in the name of its file.
fn ending(voices: &VoiceInfo) -> &str {
    match (&voices.condition, &voices.file_ending) {
        (None, _) => "",
        (Some(_), Some(ending)) => ending,
        (Some(_), None) => VOICE,
    }
}

/// Whether a name leads nowhere else than into the folder it is looked for in.
fn is_inside(name: &Path) -> bool {
    name.components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

fn names(voices: &VoiceInfo) -> Vec<String> {
    let entries = voices.folder.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
    let files = entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let name = |file: String| {
        let sound = file.strip_suffix(ending(voices))?;
        SOUNDS.iter().find_map(|ending| sound.strip_suffix(ending)).map(str::to_owned)
    };
    files.filter_map(name).collect::<BTreeSet<_>>().into_iter().collect()
}

fn expected(voices: &VoiceInfo, voice: &Path) -> String {
    let file = match ending(voices) {
        "" => "the path of a sound".to_owned(),
        ending if voice.is_file() => format!(
            "beside this sound a voice of this model, {}{ending} (kyutai/tts-voices has many)",
            voice.file_name().unwrap_or_default().to_string_lossy()
        ),
        ending => format!("the path of a file that ends in {ending}, or of the sound beside it"),
    };
    match (&names(voices)[..], &voices.folder) {
        ([], _) => file,
        (names, Some(folder)) => format!("{file}; or a name in {}: {}", folder.display(), names.join(", ")),
        (_, None) => file,
    }
}
