//! The passes that are compared.

use std::collections::BTreeMap;

use mimi::Mimi;
use moshi_lm::{FORWARD_CHUNK, Forward, Lm, Place, RowInput, Watcher};
use moshi_nn::Backend;

use crate::{Error, Result};

/// What a pass over a conversation was seen to compute.
pub(super) struct Trace {
    /// The logits.
    pub(super) logits: Forward,
    /// Values at every place that belongs to a layer.
    pub(super) places: BTreeMap<Place, Vec<f32>>,
}

struct Recorder<'a, B: Backend> {
    backend: &'a B,
    /// Values of the temporal and of the depth transformer's stream.
    sizes: (usize, usize),
    places: BTreeMap<Place, Vec<f32>>,
}

impl<B: Backend> Watcher<B> for Recorder<'_, B> {
    fn at(&mut self, place: Place, values: &B::Buf) -> moshi_nn::Result<()> {
        let size = match place {
            Place::Temporal { .. } => self.sizes.0,
            Place::Depth { .. } => self.sizes.1,
            _ => return Ok(()),
        };
        let mut seen = vec![0.0; size];
        self.backend.download(values, &mut seen)?;
        self.places.insert(place, seen);
        Ok(())
    }
}

/// Teacher-forces `codes [1 + n_q, steps]`, at most [`FORWARD_CHUNK`] steps, and records every layer.
///
/// # Errors
/// Too many steps, codes that do not fit, and the errors of the executor.
pub(super) fn trace<B: Backend>(lm: &Lm<B>, codes: &[i32], steps: usize) -> Result<Trace> {
    if steps > FORWARD_CHUNK {
        return Err(Error::Frames { found: steps, most: FORWARD_CHUNK });
    }
    let depth = lm.config().depformer.as_ref().map_or(0, |depth| depth.dim);
    let sizes = (steps * lm.config().dim, steps * depth);
    let mut recorder = Recorder { backend: lm.backend(), sizes, places: BTreeMap::new() };
    let logits = lm.forward_watched(codes, steps, &mut recorder)?;
    Ok(Trace { logits, places: recorder.places })
}

/// What a caller says, as `frames` frames of one code per stream that the model hears.
///
/// # Errors
/// Those of the codec.
pub(super) fn codes_of_audio<B: Backend>(
    mimi: &Mimi<B>,
    pcm: &[f32],
    frames: usize,
    heard: usize,
) -> Result<Vec<Vec<i32>>> {
    let mut pcm = pcm.to_vec();
    pcm.resize(frames * mimi.frame_size(), 0.0);
    let codes = mimi.encode(&pcm)?;
    let all = codes.values();
    let total = codes.frames();
    Ok((0..frames).map(|t| (0..heard).map(|q| all[q * total + t]).collect()).collect())
}

/// Talks with `lm`, which says what is most likely, and returns the conversation as `[1 + n_q, T]` and its T.
///
/// # Errors
/// Codes that do not fit the model, and the errors of the executor.
pub(super) fn conversation<B: Backend>(lm: &Lm<B>, heard: &[Vec<i32>]) -> Result<(Vec<i32>, usize)> {
    let mut state = lm.init_state(1)?;
    let mut frames: Vec<Vec<i32>> = Vec::new();
    for codes in heard {
        lm.step(&mut state, &[RowInput { row: 0, heard: codes, forced: &[] }])?;
        if let Some(fault) = state.fault(0) {
            return Err(Error::Model(fault.to_string()));
        }
        frames.extend(state.frame(0).map(<[i32]>::to_vec));
    }
    // What is heard at a step belongs to the frame before it, as the first frame heard is never read.
    let steps = frames.len().min(heard.len().saturating_sub(1));
    for (frame, codes) in frames.iter_mut().zip(heard.iter().skip(1)) {
        frame.extend_from_slice(codes);
    }
    let streams = 1 + lm.config().n_q;
    let table = (0..streams).flat_map(|i| frames[..steps].iter().map(move |frame| frame[i])).collect();
    Ok((table, steps))
}
