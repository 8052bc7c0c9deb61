//! Any audio file into mono PCM at 24 kHz, block by block.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::input::Input;
use crate::ogg_reader::OggOpusDecoder;
use crate::page;
use crate::track::TrackReader;
use crate::{AudioError, SAMPLE_RATE};

/// An audio file being read: wav (RIFF, RIFX, RF64, BW64, Wave64), aiff, caf, flac, mp3, ogg (Vorbis, Opus, FLAC), m4a (AAC, ALAC), webm and mkv.
///
/// All channels are mixed to one, and the rate becomes 24 kHz.
///
/// ```no_run
/// use moshi_audio::AudioFile;
/// let mut file = AudioFile::open("talk.mp3".as_ref())?;
/// println!("about {:?} seconds", file.duration());
/// let mut pcm = Vec::new();
/// while file.read_block(&mut pcm)? {
///     println!("{} samples more", pcm.len());
///     pcm.clear();
/// }
/// if let Some(warning) = file.warning() {
///     eprintln!("{warning}");
/// }
/// # Ok::<(), moshi_audio::AudioError>(())
/// ```
#[derive(Debug)]
pub struct AudioFile {
    path: PathBuf,
    source: Source,
    duration: Option<f64>,
    samples: u64,
    done: bool,
    warning: Option<String>,
}

#[derive(Debug)]
enum Source {
    OggOpus { file: Input, decoder: Box<OggOpusDecoder>, block: Vec<u8> },
    Track(Box<TrackReader>),
}

/// A whole recording, mono at 24 kHz.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// The samples.
    pub pcm: Vec<f32>,
    /// What was wrong with the file, if something was: it is shorter than it says, or parts were damaged.
    pub warning: Option<String>,
}

/// Reads a whole file.
///
/// # Errors
/// As of [`AudioFile::open`] and [`AudioFile::read_block`].
pub fn load(path: &Path) -> Result<Recording, AudioError> {
    let mut file = AudioFile::open(path)?;
    let mut pcm = Vec::new();
    while file.read_block(&mut pcm)? {}
    Ok(Recording { pcm, warning: file.warning })
}

/// Bytes read at a time from an Ogg Opus file.
const BLOCK: usize = 4_096;

impl AudioFile {
    /// Opens a file and finds out what it holds.
    ///
    /// # Errors
    /// [`AudioError::Read`], [`AudioError::EmptyFile`], [`AudioError::UnknownFormat`], [`AudioError::NoAudio`],
    /// [`AudioError::UnsupportedCodec`], or [`AudioError::Damaged`] when the file breaks off in its header.
    pub fn open(path: &Path) -> Result<Self, AudioError> {
        let read = |source| AudioError::Read { path: path.to_owned(), source };
        let mut file = Input::open(path).map_err(read)?;
        let mut beginning = Vec::new();
        file.by_ref().take(BLOCK as u64).read_to_end(&mut beginning).map_err(read)?;
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        if beginning.is_empty() {
            return Err(AudioError::EmptyFile { path: path.to_owned() });
        }
        let (source, duration) = if is_ogg_opus(&beginning) {
            let duration = ogg_opus_duration(&mut file, &beginning).map_err(read)?;
            let decoder = Box::new(OggOpusDecoder::file());
            (Source::OggOpus { file, decoder, block: vec![0; BLOCK] }, duration)
        } else {
            let track = TrackReader::open(file, path, &beginning)?;
            let duration = track.duration();
            (Source::Track(Box::new(track)), duration)
        };
        Ok(Self { path: path.to_owned(), source, duration, samples: 0, done: false, warning: None })
    }

    /// Length in seconds, where the file says it.
    pub fn duration(&self) -> Option<f64> {
        self.duration
    }

    /// Seconds given out so far.
    pub fn position(&self) -> f64 {
        self.samples as f64 / f64::from(SAMPLE_RATE)
    }

    /// Decodes the next piece and appends its samples to `pcm`; false when there is nothing more. A piece may be empty.
    ///
    /// # Errors
    /// [`AudioError::Read`] when the disk fails, [`AudioError::Damaged`] when nothing at all can be decoded. A file
    /// that is damaged or breaks off later gives what is there, see [`AudioFile::warning`].
    pub fn read_block(&mut self, pcm: &mut Vec<f32>) -> Result<bool, AudioError> {
        if self.done {
            return Ok(false);
        }
        let before = pcm.len();
        let more = match &mut self.source {
            Source::OggOpus { file, decoder, block } => read_ogg(file, decoder, block, &self.path, pcm)?,
            Source::Track(track) => track.read_block(pcm)?,
        };
        self.samples += (pcm.len() - before) as u64;
        self.done = !more;
        if self.done {
            self.warning = self.complaint();
        }
        Ok(more)
    }

    /// What was wrong with the file, once it has been read to its end.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    fn complaint(&self) -> Option<String> {
        let path = self.path.display();
        let broken = match &self.source {
            Source::OggOpus { decoder, .. } => {
                let stats = decoder.stats();
                let bad = stats.skipped_bytes > 0 || stats.lost_pages > 0;
                let damage =
                    format!("{} bytes were damaged and {} pages missing", stats.skipped_bytes, stats.lost_pages);
                let broke_off = decoder.within_page().then(|| "it breaks off".to_owned());
                bad.then_some(damage).or(broke_off)
            }
            Source::Track(track) => track.complaint(),
        };
        let short = self.duration.filter(|duration| self.position() + 0.25 < *duration);
        match (broken, short) {
            (broken, Some(duration)) => {
                let why = broken.map(|why| format!(" ({why})")).unwrap_or_default();
                Some(format!("{path} ends after {:.2} of {duration:.2} seconds{why}", self.position()))
            }
            (Some(why), None) => Some(format!("{path}: {why}")),
            (None, None) if self.samples == 0 => Some(format!("{path} holds no samples")),
            (None, None) => None,
        }
    }
}

fn read_ogg(
    file: &mut Input,
    decoder: &mut OggOpusDecoder,
    block: &mut [u8],
    path: &Path,
    pcm: &mut Vec<f32>,
) -> Result<bool, AudioError> {
    let length = file.read(block).map_err(|source| AudioError::Read { path: path.to_owned(), source })?;
    decoder.push(block.get(..length).unwrap_or_default(), pcm)?;
    if length == 0 && !decoder.started() {
        let reason = "it ends within the header of its Opus stream".to_owned();
        return Err(AudioError::Damaged { path: path.to_owned(), reason });
    }
    Ok(length > 0)
}

fn is_ogg_opus(beginning: &[u8]) -> bool {
    beginning.starts_with(b"OggS") && beginning.windows(8).any(|window| window == b"OpusHead")
}

/// Length in seconds by the last page's granule position.
fn ogg_opus_duration(file: &mut Input, beginning: &[u8]) -> std::io::Result<Option<f64>> {
    let pre_skip = beginning.windows(12).find(|window| window.starts_with(b"OpusHead"));
    let pre_skip = pre_skip.map_or(0, |head| u64::from(u16::from_le_bytes([head[10], head[11]])));
    let length = file.length()?;
    file.seek(SeekFrom::Start(length.saturating_sub(2 * page::MAX_PAGE as u64)))?;
    let mut tail = Vec::new();
    file.by_ref().take(2 * page::MAX_PAGE as u64).read_to_end(&mut tail)?;
    file.seek(SeekFrom::Start(0))?;
    let granule = page::last_granule(&tail).filter(|granule| *granule > 0);
    Ok(granule.map(|granule| granule.saturating_sub(pre_skip) as f64 / 48_000.0))
}
