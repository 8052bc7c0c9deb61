//! Writing mono wav files at 24 kHz.

use std::fs::File;
use std::io::BufWriter;
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
        let (bits_per_sample, sample_format) = match format {
            WavFormat::I16 => (16, hound::SampleFormat::Int),
            WavFormat::F32 => (32, hound::SampleFormat::Float),
        };
        let spec = hound::WavSpec { channels: 1, sample_rate: SAMPLE_RATE, bits_per_sample, sample_format };
        let inner = hound::WavWriter::create(path, spec).map_err(|error| refused(path, &error))?;
        Ok(Self { path: path.to_owned(), format, inner })
    }

    /// Appends samples.
    ///
    /// # Errors
    /// [`AudioError::Write`], such as when the disk is full or the file reaches 4 GiB.
    pub fn write(&mut self, pcm: &[f32]) -> Result<(), AudioError> {
        for sample in pcm {
            let written = match self.format {
                // `as` saturates, and makes silence of what is no number.
                WavFormat::I16 => self.inner.write_sample((sample * 32_768.0).round() as i16),
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

/// Writes a whole recording.
///
/// # Errors
/// As of [`WavWriter`].
pub fn write_wav(path: &Path, pcm: &[f32], format: WavFormat) -> Result<(), AudioError> {
    let mut writer = WavWriter::create(path, format)?;
    writer.write(pcm)?;
    writer.finish()
}

fn refused(path: &Path, error: &hound::Error) -> AudioError {
    AudioError::Write { path: path.to_owned(), reason: error.to_string() }
}
