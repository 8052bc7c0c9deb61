//! RoleVoices of a role-play: found by path or name, levelled, encoded, and kept.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use moshi_audio::{AudioFile, SAMPLE_RATE, gain_to};
use moshi_checkpoint::VoiceFile;
use moshi_engine::{EngineError, FRAME_SAMPLES, GoOn};
use moshi_lm::LmConfig;
use moshi_lm::prompt::{CODEBOOKS, ReplayedVoice, Voice};

use crate::Codec;

/// How loud a voice is made before it is encoded, in LUFS.
const LEVEL: f64 = -24.0;
/// Longest voice in seconds; the published ones have ten or less.
const MOST_SECONDS: usize = 60;
/// Most voices that are kept.
const KEPT: usize = 64;
/// How the file of a voice that is called by name may end, best first.
const ENDINGS: [&str; 3] = ["pt", "wav", "flac"];

/// The voices of one model.
pub struct RoleVoices {
    codec: Arc<dyn Codec>,
    /// Where voices are called by name.
    folder: Option<PathBuf>,
    kept: Mutex<Vec<(File, Arc<Spoken>)>>,
}

/// A voice as a prompt takes it, with the temporal inputs of one that is replayed.
pub(crate) struct Spoken {
    pub(crate) voice: Voice,
    pub(crate) inputs: Vec<f32>,
}

/// A file, as it was at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: PathBuf,
    changed: Option<SystemTime>,
    size: u64,
}

impl RoleVoices {
    /// Those that lie in `folder`, and any other by its path.
    pub(crate) fn new(codec: Arc<dyn Codec>, folder: Option<PathBuf>) -> Self {
        Self { codec, folder, kept: Mutex::new(Vec::new()) }
    }

    /// The file of a voice: the path itself, or the voice of that name in the model's folder `voices`.
    ///
    /// # Errors
    /// [`EngineError::Input`] says where it was looked for, and which names there are.
    pub fn find(&self, voice: &Path) -> Result<PathBuf, EngineError> {
        if voice.is_file() { Ok(voice.to_owned()) } else { self.named(&voice.to_string_lossy()) }
    }

    /// The voice of that name in the model's folder `voices`, with its ending or without; no path leads out of there.
    ///
    /// # Errors
    /// As [`RoleVoices::find`].
    pub fn named(&self, name: &str) -> Result<PathBuf, EngineError> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
        let found = self.folder.as_ref().filter(|_| plain).and_then(|folder| {
            let with = |ending: &str| folder.join(format!("{name}.{ending}"));
            let files = std::iter::once(folder.join(name)).chain(ENDINGS.map(with));
            files.into_iter().find(|file| file.is_file())
        });
        found.ok_or_else(|| {
            let names = self.names();
            let known = match (&self.folder, &names[..]) {
                (Some(folder), []) => format!("there are no voices in {}", folder.display()),
                (Some(folder), names) => format!("the voices in {} are {}", folder.display(), names.join(", ")),
                (None, _) => "the model has no folder of voices".to_owned(),
            };
            EngineError::Input(format!("voice {name:?}: there is no such file, and {known}"))
        })
    }

    /// The names of the voices in the model's folder, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = self.folder.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
        let files = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let voices = files.filter(|file| ENDINGS.iter().any(|ending| file.extension().is_some_and(|e| e == *ending)));
        let mut names: Vec<String> =
            voices.filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned())).collect();
        names.sort();
        names.dedup();
        names
    }

    /// A voice of a model with this configuration: read and encoded once, until its file changes.
    pub(crate) fn spoken(
        &self,
        voice: &Path,
        config: &LmConfig,
        go_on: &mut GoOn<'_>,
    ) -> Result<Arc<Spoken>, EngineError> {
        let file = File::at(self.find(voice)?)?;
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, spoken)) = kept().iter().find(|(known, _)| *known == file) {
            return Ok(spoken.clone());
        }
        let said = |e| match e {
            EngineError::Input(why) | EngineError::Load(why) => {
                EngineError::Input(format!("voice {}: {why}", file.path.display()))
            }
            other => other,
        };
        let spoken = if file.path.extension().is_some_and(|ending| ending == "pt") {
            replayed(&file.path, config)
        } else {
            self.encoded(&file.path, go_on)
        };
        let spoken = Arc::new(spoken.map_err(said)?);
        let mut kept = kept();
        kept.retain(|(known, _)| known.path != file.path);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((file, spoken.clone()));
        Ok(spoken)
    }

    /// The codes of a sound, made as loud as all voices are.
    fn encoded(&self, path: &Path, go_on: &mut GoOn<'_>) -> Result<Spoken, EngineError> {
        let mut pcm = read(path)?;
        let gain = gain_to(LEVEL, &pcm, SAMPLE_RATE).map_err(|e| EngineError::Input(e.to_string()))?;
        pcm.iter_mut().for_each(|sample| *sample = (f64::from(*sample) * gain) as f32);
        pcm.resize(pcm.len().next_multiple_of(FRAME_SAMPLES), 0.0);
        let mut codes = Vec::new();
        self.codec.stream()?.encode(&pcm, &mut codes, go_on)?;
        let frame = |codes: &[u32]| std::array::from_fn(|q| codes.get(q).map_or(-1, |code| *code as i32));
        let frames = codes.chunks_exact(self.codec.info().num_codebooks.max(1)).map(frame);
        let frames: Vec<[i32; CODEBOOKS]> = frames.collect();
        Ok(Spoken { voice: Voice::Codes(frames), inputs: Vec::new() })
    }
}

impl File {
    fn at(path: PathBuf) -> Result<Self, EngineError> {
        let failed = |e| EngineError::Input(format!("voice {}: {e}", path.display()));
        let about = std::fs::metadata(&path).map_err(failed)?;
        let whole = path.canonicalize().map_err(failed)?;
        Ok(Self { path: whole, changed: about.modified().ok(), size: about.len() })
    }
}

/// A published voice, read without executing anything.
fn replayed(path: &Path, config: &LmConfig) -> Result<Spoken, EngineError> {
    let file = VoiceFile::read(path).map_err(|e| EngineError::Input(e.to_string()))?;
    if file.dim != config.dim {
        let message = format!("it is a voice of a model of width {}; this model's width is {}", file.dim, config.dim);
        return Err(EngineError::Input(message));
    }
    let voice = ReplayedVoice::new(file.inputs, &file.table, config).map_err(|e| EngineError::Input(e.to_string()))?;
    Ok(Spoken { voice: Voice::Replayed(voice), inputs: file.embeddings })
}

/// A sound file of a length that a voice may have.
fn read(path: &Path) -> Result<Vec<f32>, EngineError> {
    let unreadable = |e: moshi_audio::AudioError| EngineError::Input(e.to_string());
    let (mut file, mut pcm) = (AudioFile::open(path).map_err(unreadable)?, Vec::new());
    while file.read_block(&mut pcm).map_err(unreadable)? {
        if pcm.len() > MOST_SECONDS * SAMPLE_RATE as usize {
            return Err(EngineError::Input(format!("it lasts more than {MOST_SECONDS} s; ten are plenty")));
        }
    }
    Ok(pcm)
}
