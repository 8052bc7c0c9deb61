//! Nearest entry of a codebook.
//!
//! The distance |x - c|^2 is smallest where |c|^2 / 2 - x.c is, so the search is a product with the codebook. To read
//! little, that product has entries in 8 bits where their width allows; and its form cancels. So its results only bound
//! the search: every entry that could be nearest within its score's error is compared by the plain definition in double
//! precision, ties to the lowest index: the result is that of comparing all of them so.
//!
//! Of an entry c whose score was computed from c' and x', |x.c - x'.c'| <= |x| |c - c'| + |x - x'| |c'|; to that come
//! the roundings of the sum, a few units of |x'| |c'|, and those of |c|^2 / 2.

pub(crate) mod kernel;

use std::cell::RefCell;

use crate::KernelError;
use crate::cores::Cores;
use crate::fixed::{self, Activation, Activations, FixedMatrix, Width};
use crate::product::{Layout, Matrix, Stride, Taps, product};
use kernel::Slack;
use moshi_tensor::weight::HostWeight;

/// A VQ codebook `[bins, d]`.
#[derive(Debug)]
pub struct Codebook {
    bins: usize,
    d: usize,
    vectors: Vec<f32>,
    scores: Scores,
    slack: Slack,
}

/// The entries negated, with |c|^2 / 2 as bias.
#[derive(Debug)]
enum Scores {
    /// In 8 bits, for inputs in blocks of so many integers.
    Narrow(FixedMatrix, usize),
    Stored(Matrix),
}

/// Half a unit of single precision.
const HALF_UNIT: f64 = 1.0 / (1 << 24) as f64;

/// Room for the scores of some vectors, and for these in integers with their scales.
#[derive(Debug, Default)]
struct Scratch {
    scores: Vec<f32>,
    values: Vec<i16>,
    scales: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fn square(v: impl Iterator<Item = f64>) -> f64 {
    v.map(|x| x * x).sum()
}

/// To single precision, not below `x`.
fn above(x: f64) -> f32 {
    (x as f32).next_up()
}

impl Codebook {
    /// Lays out `bins` entries of equal width.
    ///
    /// # Errors
    /// [`KernelError`] when there are no entries, their widths differ, or one is not finite.
    pub fn new(cores: &Cores, vectors: &[f32], bins: usize) -> Result<Self, KernelError> {
        if bins == 0 || vectors.is_empty() {
            return Err(KernelError::Unsupported { what: "codebook", found: bins, expected: "it has entries" });
        }
        let d = vectors.len() / bins;
        KernelError::length("codebook", bins * d, vectors.len())?;
        let squares: Vec<f64> = vectors.chunks_exact(d).map(|c| square(c.iter().map(|&x| f64::from(x)))).collect();
        let bias: Vec<f32> = squares.iter().map(|s| (s / 2.0) as f32).collect();
        let negated = HostWeight::from_f32(bins, d, vectors.iter().map(|x| -x).collect())?;
        let scores = match fixed::block_of(d) {
            Some(block) => Scores::Narrow(FixedMatrix::new(cores, &negated, Some(&bias), Width::Bits8)?, block),
            None => Scores::Stored(Matrix::laid_out_by(cores, &negated, Some(&bias))?),
        };
        let rounding = |entry: usize| match &scores {
            Scores::Narrow(w, _) => {
                let error = |i: usize| f64::from(w.value(entry, i).unwrap_or(0.0)) + f64::from(vectors[entry * d + i]);
                square((0..d).map(error)).sqrt()
            }
            Scores::Stored(_) => 0.0,
        };
        let rounding: Vec<f64> = (0..bins).map(rounding).collect();
        let slack = Slack {
            lengths: squares.iter().zip(&rounding).map(|(s, r)| above(s.sqrt() + r)).collect(),
            rounding: rounding.into_iter().map(above).collect(),
            // The last part is for numbers so small that their products vanish.
            constant: squares.iter().map(|s| above(8.0 * HALF_UNIT * s + f64::from(f32::MIN_POSITIVE))).collect(),
        };
        Ok(Self { bins, d, vectors: vectors.to_vec(), scores, slack })
    }

    /// Bytes that a search reads.
    pub fn bytes(&self) -> usize {
        match &self.scores {
            Scores::Narrow(w, _) => w.bytes(),
            Scores::Stored(w) => w.bytes(),
        }
    }

    /// Width of an entry.
    pub fn d(&self) -> usize {
        self.d
    }

    /// For each of the vectors `x [rows, t, d]` of active rows: calls `found` with the vector's index and the nearest
    /// entry's, and subtracts the entry from the vector. A vector that is not finite has no nearest entry, and stays.
    ///
    /// # Errors
    /// [`KernelError`] when `x` is too short or rows do not ascend.
    pub fn quantize(
        &self,
        cores: &Cores,
        rows: &[usize],
        t: usize,
        x: &mut [f32],
        mut found: impl FnMut(usize, Option<usize>),
    ) -> Result<(), KernelError> {
        let Some(count) = rows.last().map(|row| (row + 1) * t) else { return Ok(()) };
        KernelError::at_least("vectors to find codes for", count * self.d, x.len())?;
        SCRATCH.with_borrow_mut(|scratch| {
            self.score(cores, rows, t, &x[..count * self.d], scratch)?;
            for index in rows.iter().flat_map(|row| row * t..(row + 1) * t) {
                let x = &mut x[index * self.d..(index + 1) * self.d];
                let error = self.input_error(index, x, scratch);
                let scores = &mut scratch.scores[index * self.bins..(index + 1) * self.bins];
                let nearest = self.nearest(cores, x, error, scores);
                found(index, nearest);
                for (x, c) in x.iter_mut().zip(nearest.map_or(&[][..], |entry| self.entry(entry))) {
                    *x -= c;
                }
            }
            Ok(())
        })
    }

    fn entry(&self, i: usize) -> &[f32] {
        &self.vectors[i * self.d..(i + 1) * self.d]
    }

    /// Scores of all entries for all vectors of active rows.
    fn score(
        &self,
        cores: &Cores,
        rows: &[usize],
        t: usize,
        x: &[f32],
        scratch: &mut Scratch,
    ) -> Result<(), KernelError> {
        let Scratch { scores, values, scales } = scratch;
        let layout = Layout {
            rows,
            columns: t,
            x: Stride { row: t * self.d, column: self.d },
            y: Stride { row: t * self.bins, column: self.bins },
            taps: Taps { count: 1, len: self.d, distance: 0 },
        };
        let len = x.len() / self.d * self.bins;
        if scores.len() < len {
            scores.resize(len, 0.0);
        }
        let (w, block) = match &self.scores {
            Scores::Stored(w) => return product(cores, w, &layout, x, scores),
            Scores::Narrow(w, block) => (w, *block),
        };
        if values.len() < x.len() {
            values.resize(x.len(), 0);
            scales.resize(x.len() / 16, 0.0); // the shortest blocks
        }
        for row in rows {
            let range = row * t * self.d..(row + 1) * t * self.d;
            let blocks = range.start / block..range.end / block;
            let rounded = (&mut values[range.clone()], &mut scales[blocks]);
            fixed::quantize(cores, &x[range], block, Activation::None, rounded.0, rounded.1)?;
        }
        fixed::product(cores, w, &layout, Activations { values, scales, block }, scores)
    }

    /// |x - x'| for vector `index`.
    fn input_error(&self, index: usize, x: &[f32], scratch: &Scratch) -> f64 {
        let Scores::Narrow(_, block) = self.scores else { return 0.0 };
        let scales = scratch.scales[index * self.d / block..].iter().map(|&s| f64::from(s));
        let values = scratch.values[index * self.d..(index + 1) * self.d].chunks_exact(block).zip(scales);
        let rounded = values.flat_map(|(values, scale)| values.iter().map(move |&q| f64::from(q) * scale));
        square(x.iter().zip(rounded).map(|(&x, rounded)| f64::from(x) - rounded)).sqrt()
    }

    /// The entry nearest to `x`, given scores of an input that is off by `error`. `None` when `x` is not finite.
    fn nearest(&self, cores: &Cores, x: &[f32], error: f64, scores: &mut [f32]) -> Option<usize> {
        let squared = square(x.iter().map(|&x| f64::from(x)));
        // Squares of single precision cannot overflow double precision.
        if !squared.is_finite() {
            return None;
        }
        let length = squared.sqrt();
        // Each of at most d + 1 terms of a sum is rounded once or twice, and the bound itself a few times.
        let error = error + (self.d + 16) as f64 * HALF_UNIT * (length + error);
        let widened = |x: f64| above(x * (1.0 + 16.0 * HALF_UNIT));
        let lengths = (widened(length), widened(error));
        // SAFETY: `Cores` has checked the instruction set; slices carry their bounds.
        let limit = unsafe { (cores.table().within)(scores, &self.slack, lengths) };
        // Entries that double precision cannot tell apart are compared as well, so that the first of them is found.
        let limit = limit + above(squared * (self.d + 4) as f64 * 2f64.powi(-51));
        let mut best = (f64::INFINITY, 0);
        for (i, _) in scores.iter().enumerate().filter(|&(_, &score)| score <= limit) {
            let distance = x.iter().zip(self.entry(i)).map(|(&x, &c)| (f64::from(x) - f64::from(c)).powi(2)).sum();
            if distance < best.0 {
                best = (distance, i);
            }
        }
        Some(best.1)
    }
}
