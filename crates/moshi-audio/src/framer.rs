//! Cuts PCM of any chunking into whole frames.

use crate::FRAME_SAMPLES;

/// Takes any number of samples and hands out frames of [`FRAME_SAMPLES`].
///
/// After its first few pushes it allocates nothing, as long as frames are taken out.
///
/// ```
/// use moshi_audio::{FRAME_SAMPLES, Framer};
/// let mut framer = Framer::new();
/// framer.push(&vec![0.5; 2_000]);
/// assert_eq!(framer.next_frame().map(<[f32]>::len), Some(FRAME_SAMPLES));
/// assert!(framer.next_frame().is_none());
/// assert_eq!(framer.pending(), 80);
/// ```
#[derive(Debug, Default)]
pub struct Framer {
    samples: Vec<f32>,
    start: usize,
}

impl Framer {
    /// An empty framer.
    pub fn new() -> Self {
        Self { samples: Vec::with_capacity(4 * FRAME_SAMPLES), start: 0 }
    }

    /// Adds samples at the end.
    pub fn push(&mut self, pcm: &[f32]) {
        self.compact();
        self.samples.extend_from_slice(pcm);
    }

    /// The buffer that samples may be appended to directly, such as by
    /// [`OggOpusDecoder::push`](crate::OggOpusDecoder::push); never remove anything from it.
    pub fn buffer(&mut self) -> &mut Vec<f32> {
        self.compact();
        &mut self.samples
    }

    /// The oldest whole frame, if there is one; it counts as taken.
    pub fn next_frame(&mut self) -> Option<&[f32]> {
        let frame = self.samples.get(self.start..)?.get(..FRAME_SAMPLES)?;
        self.start += FRAME_SAMPLES;
        Some(frame)
    }

    /// The rest as a last frame, filled up with silence; `None` when nothing is left.
    pub fn flush(&mut self) -> Option<&[f32]> {
        if self.pending() == 0 {
            return None;
        }
        let missing = self.pending().next_multiple_of(FRAME_SAMPLES) - self.pending();
        self.samples.resize(self.samples.len() + missing, 0.0);
        self.next_frame()
    }

    /// Samples that wait, those of whole frames included.
    pub fn pending(&self) -> usize {
        self.samples.len().saturating_sub(self.start)
    }

    /// Drops the oldest samples so that at most `keep` wait, and says how many were dropped.
    pub fn drop_oldest(&mut self, keep: usize) -> usize {
        let dropped = self.pending().saturating_sub(keep);
        self.start += dropped;
        dropped
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.samples.clear();
        self.start = 0;
    }

    /// Moves what waits to the front, so that the buffer does not grow.
    fn compact(&mut self) {
        let start = self.start.min(self.samples.len());
        if start > 0 {
            self.samples.drain(..start);
            self.start = 0;
        }
    }
}
