//! A voice of a synthesis as it is published: `NAME.wav.SIG@EPOCH.safetensors`.

use std::path::Path;

use safetensors::Dtype;

use crate::config::ModelId;
use crate::file::{Number, TensorFile};
use crate::{Error, Result};

/// Longest voice that is taken for meant, in vectors, and widest; published ones have 125 of 512.
const MOST: usize = 1 << 16;

/// A voice: what a voice encoder made of ten seconds of somebody's speech. It belongs to one model, whose signature it
/// carries.
///
/// ```no_run
/// let voice = moshi_checkpoint::SpeakerFile::read("anna.wav.a1b2c3d4@240.safetensors".as_ref())?;
/// println!("{} vectors of {}", voice.len, voice.dim);
/// # Ok::<(), moshi_checkpoint::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SpeakerFile {
    /// Number of vectors.
    pub len: usize,
    /// Width of a vector.
    pub dim: usize,
    /// The vectors, one after another: `[len, dim]`.
    pub vectors: Vec<f32>,
    /// The model that it was made for, where the file says so.
    pub model: Option<ModelId>,
}

impl SpeakerFile {
    /// Reads a file: one tensor, `speaker_wavs` f32 `[1, dim, len]`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Format`] when it is no voice.
    pub fn read(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let fail = |found: String| {
            let expected = "a voice of a synthesis (\"speaker_wavs\", f32, [1, channels, time])";
            Err(Error::Format { path: path.to_owned(), expected, found })
        };
        let Some(raw) = file.tensors().get("speaker_wavs") else {
            return fail("no tensor \"speaker_wavs\"".to_owned());
        };
        let (&[1, dim, len], Number::Plain(Dtype::F32)) = (&raw.shape[..], raw.number) else {
            return fail(format!("a tensor of shape {:?} in {}", raw.shape, raw.number));
        };
        if dim == 0 || len == 0 || dim > MOST || len > MOST {
            return fail(format!("{len} vectors of {dim}"));
        }
        let values: Vec<f32> =
            file.bytes(raw.begin, raw.end).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        if !values.iter().all(|x| x.is_finite()) {
            return fail("values that are not finite".to_owned());
        }
        let vectors = (0..len).flat_map(|t| (0..dim).map(move |c| (c, t))).map(|(c, t)| values[c * len + t]).collect();
        let told = |key: &str| file.metadata().get(key);
        let model = told("sig").zip(told("epoch").and_then(|epoch| epoch.parse().ok()));
        Ok(Self { len, dim, vectors, model: model.map(|(sig, epoch)| ModelId { sig: sig.clone(), epoch }) })
    }
}
