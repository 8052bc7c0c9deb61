//! Writing mono wav files at 24 kHz.

use std::fs::File;
use std::io::{BufWriter, Cursor};
use std::path::{Path, PathBuf};

use crate::{AudioError, SAMPLE_RATE};

/// How samples are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WavFormat {
    /// 16-bit integers, which everything plays; samples beyond [-1, 1] are clipped.
    #[default]
    I16,
    /// 32-bit floating point, exactly the samples given.
    F32,
}

/// Writes a wav file piece by piece.
///
/// ```
/// use moshi_audio::{WavFormat, WavWriter, load};
/// let path = std::env::temp_dir().join("moshi-audio-doc.wav");
/// let mut writer = WavWriter::create(&path, WavFormat::F32)?;
/// writer.write(&[0.25; 1_000])?;
/// writer.finish()?;
/// assert_eq!(load(&path)?.pcm, [0.25; 1_000]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), moshi_audio::AudioError>(())
/// ```
pub struct WavWriter {
    path: PathBuf,
    format: WavFormat,
    inner: hound::WavWriter<BufWriter<File>>,
}

impl std::fmt::Debug for WavWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavWriter").field("path", &self.path).field("format", &self.format).finish_non_exhaustive()
    }
}

impl WavWriter {
    /// Creates or replaces a file.
    ///
    /// # Errors
    /// [`AudioError::Write`] when the file cannot be created.
    pub fn create(path: &Path, format: WavFormat) -> Result<Self, AudioError> {
        let inner = hound::WavWriter::create(path, spec(format)).map_err(|error| refused(path, &error))?;
        Ok(Self { path: path.to_owned(), format, inner })
    }

    /// Appends samples.
    ///
    /// # Errors
    /// [`AudioError::Write`], such as when the disk is full or the file reaches 4 GiB.
    pub fn write(&mut self, pcm: &[f32]) -> Result<(), AudioError> {
        for sample in pcm {
            let written = match self.format {
                WavFormat::I16 => self.inner.write_sample(sixteen_bits(*sample)),
                WavFormat::F32 => self.inner.write_sample(*sample),
            };
            written.map_err(|error| refused(&self.path, &error))?;
        }
        Ok(())
    }

    /// Completes the file. Without this the file says it is empty.
    ///
    /// # Errors
    /// [`AudioError::Write`] when the header cannot be written.
    pub fn finish(self) -> Result<(), AudioError> {
        let Self { path, inner, .. } = self;
        inner.finalize().map_err(|error| refused(&path, &error))
    }
}

/// Endings of the names of files that [`save`] writes, in any case; a name without an ending is fine as well.
pub const SAVED_ENDINGS: [&str; 2] = ["wav", "wave"];

/// Writes a whole recording into a file of the kind that its name promises: a 16-bit wav file. It may be a pipe.
///
/// ```
/// let path = std::env::temp_dir().join("answer.mp3");
/// let error = moshi_audio::save(&path, &[0.0; 100]).unwrap_err().to_string();
/// assert!(error.contains(".mp3") && !path.exists());
/// ```
///
/// # Errors
/// [`AudioError::Ending`] for a name that promises another format; [`AudioError::Write`].
pub fn save(path: &Path, pcm: &[f32]) -> Result<(), AudioError> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned()).unwrap_or_default();
    if !ending.is_empty() && !SAVED_ENDINGS.contains(&ending.to_ascii_lowercase().as_str()) {
        return Err(AudioError::Ending { path: path.to_owned(), ending });
    }
    // In memory first: a pipe takes no header that is completed at the end.
    let mut bytes = Vec::with_capacity(44 + 2 * pcm.len());
    let mut writer =
        hound::WavWriter::new(Cursor::new(&mut bytes), spec(WavFormat::I16)).map_err(|e| refused(path, &e))?;
    for sample in pcm {
        writer.write_sample(sixteen_bits(*sample)).map_err(|error| refused(path, &error))?;
    }
    writer.finalize().map_err(|error| refused(path, &error))?;
    let written = std::fs::write(path, bytes);
    written.map_err(|error| AudioError::Write { path: path.to_owned(), reason: error.to_string() })
}

/// Writes a whole recording as a wav file, whatever its name.
///
/// # Errors
/// As of [`WavWriter`].
pub fn write_wav(path: &Path, pcm: &[f32], format: WavFormat) -> Result<(), AudioError> {
    let mut writer = WavWriter::create(path, format)?;
    writer.write(pcm)?;
    writer.finish()
}

fn spec(format: WavFormat) -> hound::WavSpec {
    let (bits_per_sample, sample_format) = match format {
        WavFormat::I16 => (16, hound::SampleFormat::Int),
        WavFormat::F32 => (32, hound::SampleFormat::Float),
    };
    hound::WavSpec { channels: 1, sample_rate: SAMPLE_RATE, bits_per_sample, sample_format }
}

/// `as` saturates, and makes silence of what is no number.
fn sixteen_bits(sample: f32) -> i16 {
    (sample * 32_768.0).round() as i16
}

fn refused(path: &Path, error: &hound::Error) -> AudioError {
    AudioError::Write { path: path.to_owned(), reason: error.to_string() }
}
