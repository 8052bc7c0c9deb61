//! A whole recording, piece by piece: a file of any common format, or samples at hand.

use std::path::{Path, PathBuf};

use moshi_audio::{AudioError, AudioFile, SAMPLE_RATE};
use moshi_engine::EngineError;

/// Samples of a piece of those at hand: a second.
const PIECE: usize = SAMPLE_RATE as usize;

/// A recording that is being read.
#[derive(Debug)]
pub struct Sound {
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(Box<AudioFile>, PathBuf),
    Samples { pcm: Vec<f32>, at: usize },
}

impl Sound {
    /// A file of any common format; memory does not grow with its length.
    ///
    /// # Errors
    /// [`EngineError::Load`] when it cannot be read or is no audio.
    pub fn file(path: &Path) -> Result<Self, EngineError> {
        let file = AudioFile::open(path).map_err(|error| unreadable(path, &error))?;
        Ok(Self { source: Source::File(Box::new(file), path.to_owned()) })
    }

    /// Samples: 24 kHz mono.
    pub fn samples(pcm: Vec<f32>) -> Self {
        Self { source: Source::Samples { pcm, at: 0 } }
    }

    /// Appends the next piece to `out`; false when there is nothing more. A piece may be empty.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the file cannot be read any further.
    pub fn read(&mut self, out: &mut Vec<f32>) -> Result<bool, EngineError> {
        match &mut self.source {
            Source::File(file, path) => file.read_block(out).map_err(|error| unreadable(path, &error)),
            Source::Samples { pcm, at } => {
                let piece = &pcm[*at..pcm.len().min(*at + PIECE)];
                out.extend_from_slice(piece);
                *at += piece.len();
                Ok(*at < pcm.len())
            }
        }
    }

    /// Seconds read so far.
    pub fn position(&self) -> f64 {
        match &self.source {
            Source::File(file, _) => file.position(),
            Source::Samples { at, .. } => *at as f64 / f64::from(SAMPLE_RATE),
        }
    }

    /// Length in seconds, where a file says it.
    pub fn duration(&self) -> Option<f64> {
        match &self.source {
            Source::File(file, _) => file.duration(),
            Source::Samples { pcm, .. } => Some(pcm.len() as f64 / f64::from(SAMPLE_RATE)),
        }
    }

    /// What was wrong with the file, once it was read to its end.
    pub fn warning(&self) -> Option<&str> {
        match &self.source {
            Source::File(file, _) => file.warning(),
            Source::Samples { .. } => None,
        }
    }
}

/// An error that names its file.
fn unreadable(path: &Path, error: &AudioError) -> EngineError {
    let (path, error) = (path.display().to_string(), error.to_string());
    EngineError::Load(if error.contains(&path) { error } else { format!("{path}: {error}") })
}
