//! Nearest entry of a codebook.
//!
//! The distance |x - c|^2 is smallest where |c|^2 / 2 - x.c is, so the search is a product with the codebook. That
//! form cancels, so its smallest value only bounds the search: every entry that could be nearest within its rounding
//! error is compared by the plain definition in double precision, ties to the lowest index. The result is the one of
//! exact arithmetic on the given numbers.

use std::cell::RefCell;

use crate::KernelError;
use crate::cores::Cores;
use crate::product::{Layout, Matrix, Stride, Taps, product};
use crate::simd::{LANES, Simd, get};
use crate::weight::HostWeight;

/// A VQ codebook `[bins, d]`.
#[derive(Debug)]
pub struct Codebook {
    bins: usize,
    d: usize,
    vectors: Vec<f32>,
    /// The entries negated, with |c|^2 / 2 as bias.
    scores: Matrix,
    /// The largest |c|.
    longest: f64,
}

thread_local! {
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

fn square(v: &[f32]) -> f64 {
    v.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}

impl Codebook {
    /// Lays out `bins` entries of equal width.
    ///
    /// # Errors
    /// [`KernelError`] when there are no entries or their widths differ.
    pub fn new(vectors: &[f32], bins: usize) -> Result<Self, KernelError> {
        if bins == 0 || vectors.is_empty() {
            return Err(KernelError::Unsupported { what: "codebook", found: bins, expected: "it has entries" });
        }
        let d = vectors.len() / bins;
        KernelError::length("codebook", bins * d, vectors.len())?;
        let squares: Vec<f64> = vectors.chunks_exact(d).map(square).collect();
        let bias: Vec<f32> = squares.iter().map(|s| (s / 2.0) as f32).collect();
        let negated = HostWeight::from_f32(bins, d, vectors.iter().map(|x| -x).collect())?;
        let scores = Matrix::new(&negated, Some(&bias))?;
        let longest = squares.into_iter().fold(0.0, f64::max).sqrt();
        Ok(Self { bins, d, vectors: vectors.to_vec(), scores, longest })
    }

    /// Bytes that a search reads.
    pub fn bytes(&self) -> usize {
        self.scores.bytes()
    }

    /// Width of an entry.
    pub fn d(&self) -> usize {
        self.d
    }

    /// For each of the vectors `x [rows, t, d]` of active rows: calls `found` with the vector's index and the nearest
    /// entry's, and subtracts the entry from the vector.
    ///
    /// # Errors
    /// [`KernelError`] when `x` is too short or rows do not ascend.
    pub fn quantize(
        &self,
        cores: &Cores,
        rows: &[usize],
        t: usize,
        x: &mut [f32],
        mut found: impl FnMut(usize, usize),
    ) -> Result<(), KernelError> {
        let Some(count) = rows.last().map(|row| (row + 1) * t) else { return Ok(()) };
        let layout = Layout {
            rows,
            columns: t,
            x: Stride { row: t * self.d, column: self.d },
            y: Stride { row: t * self.bins, column: self.bins },
            taps: Taps { count: 1, len: self.d, distance: 0 },
        };
        SCORES.with_borrow_mut(|scores| {
            if scores.len() < count * self.bins {
                scores.resize(count * self.bins, 0.0);
            }
            product(cores, &self.scores, &layout, x, scores)?;
            for index in rows.iter().flat_map(|row| row * t..(row + 1) * t) {
                let x = &mut x[index * self.d..(index + 1) * self.d];
                let nearest = self.nearest(cores, x, &scores[index * self.bins..(index + 1) * self.bins]);
                found(index, nearest);
                for (x, c) in x.iter_mut().zip(self.entry(nearest)) {
                    *x -= c;
                }
            }
            Ok(())
        })
    }

    fn entry(&self, i: usize) -> &[f32] {
        &self.vectors[i * self.d..(i + 1) * self.d]
    }

    /// The entry nearest to `x`, given rounded scores.
    fn nearest(&self, cores: &Cores, x: &[f32], scores: &[f32]) -> usize {
        // A sum of d + 1 terms is off by at most (d + 1) half units of the sum of their magnitudes, the rounded bias
        // by one more; two scores are compared.
        let magnitude = square(x).sqrt() * self.longest + self.longest * self.longest / 2.0;
        let margin = 2.0 * (self.d + 3) as f64 * 2f64.powi(-24) * magnitude;
        // SAFETY: `Cores` has checked the instruction set; slices carry their bounds.
        let limit = (f64::from(unsafe { (cores.table().smallest)(scores) }) + margin) as f32;
        // The conversion may round down: one unit more.
        let limit = limit.next_up();
        let mut best = (f64::INFINITY, 0);
        for (i, _) in scores.iter().enumerate().filter(|&(_, &score)| score <= limit) {
            let distance = x.iter().zip(self.entry(i)).map(|(&x, &c)| (f64::from(x) - f64::from(c)).powi(2)).sum();
            if distance < best.0 {
                best = (distance, i);
            }
        }
        best.1
    }
}

/// The smallest value.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn smallest<S: Simd>(x: &[f32]) -> f32 {
    // SAFETY: the instruction set is the caller's promise; `get` minds the bounds.
    unsafe {
        let mut least = S::splat(f32::INFINITY);
        for i in (0..x.len()).step_by(LANES) {
            least = S::min(get::<S>(x, i, f32::INFINITY), least);
        }
        -S::max_lane(S::sub(S::splat(0.0), least))
    }
}
