//! Low-rank pairs beside a matrix: adapters, of which each row adds its own.

use std::cell::RefCell;

use moshi_nn::{Error, LowRankPair, Result};

use super::check::check;
use crate::cores::Cores;
use crate::product::{Layout, Matrix, product};

/// The pairs of one matrix.
#[derive(Debug)]
pub struct LowRank(Vec<Option<Pair>>);

#[derive(Debug)]
struct Pair {
    /// `[r, k]`
    down: Matrix,
    /// `[n, r]`
    up: Matrix,
}

#[derive(Default)]
struct Scratch {
    rows: Vec<usize>,
    /// `[b, t, r]`
    inner: Vec<f32>,
    /// `[b, t, n]`
    sum: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl LowRank {
    pub(super) fn new(cores: &Cores, pairs: &[Option<LowRankPair<'_>>]) -> Result<Self> {
        let lay_out = |pair: &LowRankPair<'_>| -> Result<Pair> {
            if pair.down.rows() != pair.up.cols() {
                let (expected, found) = (pair.down.rows(), pair.up.cols());
                return Err(Error::Shape { what: "rank of a pair", expected, found });
            }
            Ok(Pair {
                down: Matrix::laid_out_by(cores, &pair.down, None)?,
                up: Matrix::laid_out_by(cores, &pair.up, None)?,
            })
        };
        Ok(Self(pairs.iter().map(|pair| pair.as_ref().map(lay_out).transpose()).collect::<Result<_>>()?))
    }

    /// Bytes of all pairs.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().flatten().map(|pair| pair.down.bytes() + pair.up.bytes()).sum()
    }

    /// See [`moshi_nn::Backend::low_rank_add`].
    pub(super) fn add(
        &self,
        cores: &Cores,
        active: &[usize],
        t: usize,
        x: &[f32],
        which: &[i32],
        y: &mut [f32],
    ) -> Result<()> {
        let count = active.last().map_or(0, |row| row + 1);
        check("adapters of rows", count, which.len())?;
        SCRATCH.with_borrow_mut(|scratch| {
            for (i, pair) in self.0.iter().enumerate() {
                let Some(pair) = pair else { continue };
                scratch.rows.clear();
                scratch.rows.extend(active.iter().filter(|row| usize::try_from(which[**row]) == Ok(i)));
                pair.add(cores, t, x, scratch, y)?;
            }
            Ok(())
        })
    }
}

impl Pair {
    fn add(&self, cores: &Cores, t: usize, x: &[f32], scratch: &mut Scratch, y: &mut [f32]) -> Result<()> {
        let Scratch { rows, inner, sum } = scratch;
        let Some(last) = rows.last() else { return Ok(()) };
        let (values, n) = ((last + 1) * t, self.up.n());
        check("output of an adapter", values * n, y.len())?;
        grow(inner, values * self.down.n());
        grow(sum, values * n);
        product(cores, &self.down, &Layout::linear(rows, t, &self.down), x, inner)?; // [b, t, r]
        product(cores, &self.up, &Layout::linear(rows, t, &self.up), inner, sum)?; // [b, t, n]
        for row in rows.iter() {
            let range = row * t * n..(row + 1) * t * n;
            y[range.clone()].iter_mut().zip(&sum[range]).for_each(|(y, sum)| *y += sum);
        }
        Ok(())
    }
}

fn grow(values: &mut Vec<f32>, len: usize) {
    if values.len() < len {
        values.resize(len, 0.0);
    }
}
