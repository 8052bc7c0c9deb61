//! Any sample rate to any other, as a stream.

use std::borrow::Cow;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, Fft, FixedAsync, FixedSync, Indexing, SincInterpolationParameters, WindowFunction};

use crate::AudioError;

/// Changes the sample rate of a mono stream.
///
/// The delay of the filter is taken off at the beginning, so that output sample `n` belongs to the time of input
/// sample `n * from / to`; [`Resampler::finish`] gives out what the filter still holds.
///
/// ```
/// use moshi_audio::Resampler;
/// let mut resampler = Resampler::new(48_000, 24_000)?;
/// let mut out = Vec::new();
/// for block in vec![0.1; 48_000].chunks(777) {
///     resampler.push(block, &mut out)?;
/// }
/// resampler.finish(&mut out)?;
/// assert_eq!(out.len(), 24_000);
/// # Ok::<(), moshi_audio::AudioError>(())
/// ```
pub struct Resampler {
    /// None when the rates are equal.
    inner: Option<Box<dyn rubato::Resampler<f32>>>,
    from: u32,
    to: u32,
    /// Input that does not fill a block yet.
    waiting: Vec<f32>,
    /// Delay of the filter in output samples.
    delay: usize,
    /// How many of these are still to be left out.
    skip: usize,
    taken: u64,
    made: u64,
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resampler").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}

/// Rates that are taken, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// Samples are cut to this, 120 dB above full scale: a few beyond 1e30 would overflow in the transform, where the
/// library takes every number for finite.
const LOUDEST: f32 = 1e6;

/// The FFT method works in blocks of a multiple of rate / gcd; beyond this many samples its delay would be too long.
const LONGEST_FFT_BLOCK: u32 = 2_048;

impl Resampler {
    /// For files: the best filter, by FFT, with blocks of about 40 ms.
    ///
    /// # Errors
    /// [`AudioError::Setting`] for a rate outside 1,000 to 768,000 Hz.
    pub fn new(from: u32, to: u32) -> Result<Self, AudioError> {
        check(from, to)?;
        let step = from.max(to) / gcd(from, to);
        if from == to {
            return Ok(Self::with(None, from, to));
        }
        if step > LONGEST_FFT_BLOCK {
            return Self::low_latency(from, to);
        }
        let (rate_in, rate_out, window) = (from as usize, to as usize, WindowFunction::BlackmanHarris2);
        let inner = Fft::<f32>::new_custom(rate_in, rate_out, rate_in / 25, 1, 1, window, FixedSync::Both);
        Ok(Self::with(Some(Box::new(inner.map_err(failed)?)), from, to))
    }

    /// For microphones and speakers: a shorter filter, blocks of 2.5 ms, in all about 5 ms of delay at 48 kHz.
    ///
    /// # Errors
    /// [`AudioError::Setting`] for a rate outside 1,000 to 768,000 Hz.
    pub fn low_latency(from: u32, to: u32) -> Result<Self, AudioError> {
        check(from, to)?;
        if from == to {
            return Ok(Self::with(None, from, to));
        }
        let ratio = f64::from(to) / f64::from(from);
        let filter = SincInterpolationParameters::new(192, WindowFunction::BlackmanHarris2);
        let block = (from as usize / 400).max(1);
        let inner = Async::<f32>::new_sinc(ratio, 1.0, &filter, block, 1, FixedAsync::Input).map_err(failed)?;
        // The middle of the filter; the library's own figure is one sample more, and cut instead of rounded.
        let delay = (96.0 * ratio - 1.0).round().max(0.0) as usize;
        Ok(Self { skip: delay, delay, ..Self::with(Some(Box::new(inner)), from, to) })
    }

    fn with(inner: Option<Box<dyn rubato::Resampler<f32>>>, from: u32, to: u32) -> Self {
        let delay = inner.as_ref().map_or(0, |inner| inner.output_delay());
        Self { inner, from, to, waiting: Vec::new(), delay, skip: delay, taken: 0, made: 0 }
    }

    /// Most that the output lags behind the input, in output samples.
    pub fn delay(&self) -> usize {
        self.inner.as_deref().map_or(0, |inner| self.delay + inner.output_frames_max())
    }

    /// Takes any number of samples and appends what is ready to `out`. Samples that are no numbers count as silence, and
    /// where the rate changes those beyond a million (full scale is 1) as a million.
    ///
    /// # Errors
    /// [`AudioError::Resample`] when the library refuses.
    pub fn push(&mut self, input: &[f32], out: &mut Vec<f32>) -> Result<(), AudioError> {
        self.taken += input.len() as u64;
        let Some(block) = self.inner.as_ref().map(|inner| inner.input_frames_next()) else {
            self.made += input.len() as u64;
            out.extend_from_slice(input);
            return Ok(());
        };
        let mut rest = input;
        if !self.waiting.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(block.saturating_sub(self.waiting.len())));
            self.waiting.extend_from_slice(head);
            rest = tail;
            if self.waiting.len() >= block {
                let waiting = std::mem::take(&mut self.waiting);
                self.block(&waiting, None, out)?;
                self.waiting = waiting;
                self.waiting.clear();
            }
        }
        while rest.len() >= block {
            let (head, tail) = rest.split_at(block);
            self.block(head, None, out)?;
            rest = tail;
        }
        self.waiting.extend_from_slice(rest);
        Ok(())
    }

    /// Appends the rest, so that there are as many samples in all as the input is long at the new rate (rounded up),
    /// and begins anew.
    ///
    /// # Errors
    /// [`AudioError::Resample`] when the library refuses.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let expected = (u128::from(self.taken) * u128::from(self.to)).div_ceil(u128::from(self.from)) as u64;
        let mut waiting = std::mem::take(&mut self.waiting);
        while self.made < expected {
            let before = self.made;
            let length = waiting.len();
            waiting.resize(self.inner.as_ref().map_or(0, |inner| inner.input_frames_next()).max(1), 0.0);
            let skipped = self.skip;
            self.block(&waiting, Some(length), out)?;
            if self.made == before && self.skip == skipped {
                break;
            }
            waiting.clear();
        }
        let beyond = usize::try_from(self.made.saturating_sub(expected)).unwrap_or(0);
        out.truncate(out.len() - beyond);
        if let Some(inner) = &mut self.inner {
            inner.reset();
            self.skip = self.delay;
        }
        waiting.clear();
        (self.waiting, self.taken, self.made) = (waiting, 0, 0);
        Ok(())
    }

    /// Resamples one block, of which `partial` samples are real, without the filter's delay.
    fn block(&mut self, input: &[f32], partial: Option<usize>, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let Some(inner) = &mut self.inner else {
            return Ok(());
        };
        // A comparison with what is not a number is false.
        let usual = input.iter().all(|sample| sample.abs() <= LOUDEST);
        let input: Cow<'_, [f32]> = if usual { input.into() } else { input.iter().copied().map(bounded).collect() };
        let start = out.len();
        let room = inner.output_frames_next();
        out.resize(start + room, 0.0);
        let source = InterleavedSlice::new(&input, 1, input.len()).map_err(failed)?;
        let mut target = InterleavedSlice::new_mut(&mut out[start..], 1, room).map_err(failed)?;
        let indexing = partial.map(|length| Indexing::new().partial_len(length));
        let (_, made) = inner.process_into_buffer(&source, &mut target, indexing.as_ref()).map_err(failed)?;
        let skip = self.skip.min(made);
        self.skip -= skip;
        out.truncate(start + made);
        out.drain(start..start + skip);
        self.made += (made - skip) as u64;
        Ok(())
    }
}

/// Resamples a whole recording.
///
/// # Errors
/// [`AudioError::Setting`] for a rate outside 1,000 to 768,000 Hz.
pub fn resample(pcm: &[f32], from: u32, to: u32) -> Result<Vec<f32>, AudioError> {
    let mut resampler = Resampler::new(from, to)?;
    let mut out = Vec::new();
    resampler.push(pcm, &mut out)?;
    resampler.finish(&mut out)?;
    Ok(out)
}

fn bounded(sample: f32) -> f32 {
    if sample.is_nan() { 0.0 } else { sample.clamp(-LOUDEST, LOUDEST) }
}

fn check(from: u32, to: u32) -> Result<(), AudioError> {
    match [from, to].into_iter().find(|rate| !RATES.contains(rate)) {
        Some(rate) => {
            Err(AudioError::Setting { name: "sample rate", found: format!("{rate} Hz"), expected: "1000 to 768000 Hz" })
        }
        None => Ok(()),
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn failed(error: impl std::fmt::Display) -> AudioError {
    AudioError::Resample(error.to_string())
}
