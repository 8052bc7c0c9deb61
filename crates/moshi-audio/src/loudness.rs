//! How loud a recording is to the ear, after ITU-R BS.1770-4.
//!
//! The sound is weighted (a high shelf for the head, a high pass for the ear), cut into blocks of 400 ms that overlap by
//! three quarters, and averaged over the blocks that are above -70 LUFS and within 10 LU of all of those. This is what
//! levels the voice of a role-play before it is encoded; its codes follow the gain, so the filters are those of the
//! published program's library (pyloudnorm's K-weighting, csteinmetz1/pyloudnorm), which designs them for the sound's own
//! rate. The crate ebur128 designs them another way and is 0.08 dB off on the golden voice.
//!
//! ```
//! let tone: Vec<f32> = (0..24_000).map(|n| 0.5 * (n as f32 * 0.3).sin()).collect();
//! let loud = moshi_audio::loudness(&tone, 24_000)?;
//! let gain = moshi_audio::gain_to(-24.0, &tone, 24_000)?;
//! assert!((20.0 * gain.log10() - (-24.0 - loud)).abs() < 1e-9);
//! # Ok::<(), moshi_audio::LoudnessError>(())
//! ```

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Length of a block, in seconds, and the shortest sound that has a loudness.
const BLOCK: f64 = 0.4;
/// From one block to the next, in blocks.
const STEP: f64 = 0.25;
/// Blocks below this are silence, in LUFS.
const SILENCE: f64 = -70.0;
/// Blocks this far below the rest do not count, in LU.
const RELATIVE: f64 = 10.0;
/// What brings a 997 Hz tone at full scale to -3.01 LUFS.
const OFFSET: f64 = -0.691;

/// A sound without a loudness.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoudnessError {
    /// Shorter than one block.
    #[error("the sound lasts {seconds:.2} s; loudness is measured over 0.4 s at least")]
    Short {
        /// Its length.
        seconds: f64,
    },
    /// Nothing in it is above -70 LUFS.
    #[error("the sound is silent: nothing in it is above -70 LUFS")]
    Silent,
    /// A rate at which the weighting has no meaning.
    #[error("{rate} samples a second; expected 8000 or more")]
    Rate {
        /// Samples per second.
        rate: u32,
    },
}

/// The loudness of a mono sound of `rate` samples a second, in LUFS.
///
/// # Errors
/// [`LoudnessError`] for a sound below 0.4 s, a silent one (or one that is not finite), a rate below 8 kHz.
pub fn loudness(pcm: &[f32], rate: u32) -> Result<f64, LoudnessError> {
    if rate < 8_000 {
        return Err(LoudnessError::Rate { rate });
    }
    let rate = f64::from(rate);
    let seconds = pcm.len() as f64 / rate;
    if seconds < BLOCK {
        return Err(LoudnessError::Short { seconds });
    }
    let (mut shelf, mut pass) = (Biquad::high_shelf(rate), Biquad::high_pass(rate));
    let squares: Vec<f64> = pcm.iter().map(|&x| pass.push(shelf.push(f64::from(x))).powi(2)).collect();
    gated(&blocks(&squares, rate)).ok_or(LoudnessError::Silent)
}

/// The factor that brings a mono sound to `target` LUFS.
///
/// # Errors
/// As for [`loudness`].
pub fn gain_to(target: f64, pcm: &[f32], rate: u32) -> Result<f64, LoudnessError> {
    Ok(10f64.powf((target - loudness(pcm, rate)?) / 20.0))
}

/// Mean squares of the blocks. A last block that is more than half a step inside the sound counts, with zeros after it.
fn blocks(squares: &[f64], rate: f64) -> Vec<f64> {
    let seconds = squares.len() as f64 / rate;
    let count = ((seconds - BLOCK) / (BLOCK * STEP)).round_ties_even() as usize + 1;
    let place = |blocks: f64| ((BLOCK * blocks * rate) as usize).min(squares.len());
    let block = |j: usize| {
        let start = j as f64 * STEP;
        squares[place(start)..place(start + 1.0)].iter().sum::<f64>() / (BLOCK * rate)
    };
    (0..count).map(block).collect()
}

/// The loudness of the blocks that count; `None` where none does.
fn gated(blocks: &[f64]) -> Option<f64> {
    let above = |threshold: f64| {
        let counted = blocks.iter().copied().filter(move |&block| lufs(block) > threshold);
        let (sum, count) = counted.fold((0.0, 0u32), |(sum, count), block| (sum + block, count + 1));
        (count > 0).then(|| lufs(sum / f64::from(count)))
    };
    let relative = above(SILENCE)? - RELATIVE;
    above(relative.max(SILENCE)).filter(|loudness| loudness.is_finite())
}

fn lufs(mean_square: f64) -> f64 {
    OFFSET + 10.0 * mean_square.log10()
}

/// A filter of second order, in direct form II transposed.
struct Biquad {
    b: [f64; 3],
    a: [f64; 2],
    state: [f64; 2],
}

impl Biquad {
    fn new(b: [f64; 3], a: [f64; 3]) -> Self {
        Self { b: b.map(|b| b / a[0]), a: [a[1] / a[0], a[2] / a[0]], state: [0.0; 2] }
    }

    /// The head: 4 dB more above 1.5 kHz.
    fn high_shelf(rate: f64) -> Self {
        let amplitude = 10f64.powf(4.0 / 40.0);
        let (sin, cos) = (2.0 * PI * 1_500.0 / rate).sin_cos();
        let (more, less) = (amplitude + 1.0, amplitude - 1.0);
        let slope = 2.0 * amplitude.sqrt() * sin / (2.0 * FRAC_1_SQRT_2);
        let b = [more + less * cos + slope, -2.0 * (less + more * cos), more + less * cos - slope];
        let a = [more - less * cos + slope, 2.0 * (less - more * cos), more - less * cos - slope];
        Self::new(b.map(|b| amplitude * b), a)
    }

    /// The ear: nothing below 38 Hz.
    fn high_pass(rate: f64) -> Self {
        let (sin, cos) = (2.0 * PI * 38.0 / rate).sin_cos();
        let alpha = sin / (2.0 * 0.5);
        let half = f64::midpoint(1.0, cos);
        Self::new([half, -2.0 * half, half], [1.0 + alpha, -2.0 * cos, 1.0 - alpha])
    }

    fn push(&mut self, x: f64) -> f64 {
        let y = self.b[0] * x + self.state[0];
        self.state[0] = self.b[1] * x - self.a[0] * y + self.state[1];
        self.state[1] = self.b[2] * x - self.a[1] * y;
        y
    }
}
