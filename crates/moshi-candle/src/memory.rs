//! What the reference executor keeps: weights, buffers, rings, windows, rows.

use candle_core::{DType, Device, Tensor};
use moshi_tensor::weight::HostWeight;

use crate::Result;
use crate::{check, exact};
use moshi_nn::backend::{Padding, RingSpec, WindowSpec};
use moshi_nn::{Error, LowRankPair};

/// f32 values in one dimension. The tensor's storage is never shared, so it can be written in place.
#[derive(Debug)]
pub struct Buf(pub(super) Tensor);

impl Buf {
    pub(super) fn zeros(len: usize, device: &Device) -> Result<Self> {
        Ok(Self(Tensor::zeros(len, DType::F32, device)?))
    }

    pub(super) fn len(&self) -> usize {
        self.0.elem_count()
    }

    /// Copies `src` to the beginning.
    pub(super) fn write(&mut self, src: &[f32], device: &Device) -> Result<()> {
        Ok(self.0.slice_set(&Tensor::from_slice(src, src.len(), device)?, 0, 0)?)
    }

    /// Copies the beginning to `dst`.
    pub(super) fn read(&self, dst: &mut [f32]) -> Result<()> {
        dst.copy_from_slice(&self.0.narrow(0, 0, dst.len())?.to_vec1::<f32>()?);
        Ok(())
    }

    /// Values `row * n .. (row + 1) * n` as `[n / c, c]`, where `n = t * c`.
    pub(super) fn row(&self, what: &'static str, row: usize, t: usize, c: usize) -> Result<Tensor> {
        check(what, (row + 1) * t * c, self.len())?;
        Ok(self.0.narrow(0, row * t * c, t * c)?.reshape((t, c))?)
    }

    /// Writes one row's values back.
    pub(super) fn set_row(&mut self, what: &'static str, row: usize, values: &Tensor) -> Result<()> {
        let n = values.elem_count();
        check(what, (row + 1) * n, self.len())?;
        Ok(self.0.slice_set(&values.contiguous()?.reshape(n)?, 0, row * n)?)
    }
}

/// A weight matrix `[n, k]` and its bias `[n]`.
#[derive(Debug)]
pub struct Matrix {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Matrix {
    pub(super) fn new(weight: &HostWeight<'_>, bias: Option<&[f32]>, device: &Device) -> Result<Self> {
        if let Some(bias) = bias {
            exact("bias", weight.rows(), bias.len())?;
        }
        Ok(Self {
            weight: host_tensor(weight, device)?,
            bias: bias.map(|b| Tensor::from_slice(b, b.len(), device)).transpose()?,
        })
    }

    pub(super) fn k(&self) -> usize {
        self.weight.dims()[1]
    }

    pub(super) fn bytes(&self) -> usize {
        4 * self.weight.elem_count()
    }

    /// `x [t, k]` -> `[t, n]`.
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?; // [t, n]
        Ok(match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }
}

/// The low-rank pairs `(down [r, k], up [n, r])` of a matrix.
#[derive(Debug)]
pub struct LowRank(pub(super) Vec<Option<(Matrix, Matrix)>>);

impl LowRank {
    pub(super) fn new(pairs: &[Option<LowRankPair<'_>>], device: &Device) -> Result<Self> {
        let lay_out = |pair: &LowRankPair<'_>| -> Result<_> {
            exact("rank of a pair", pair.down.rows(), pair.up.cols())?;
            Ok((Matrix::new(&pair.down, None, device)?, Matrix::new(&pair.up, None, device)?))
        };
        Ok(Self(pairs.iter().map(|pair| pair.as_ref().map(lay_out).transpose()).collect::<Result<_>>()?))
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().flatten().map(|(down, up)| down.bytes() + up.bytes()).sum()
    }
}

/// An embedding table `[v, d]`.
#[derive(Debug)]
pub struct Table(pub(super) Tensor);

impl Table {
    pub(super) fn new(weight: &HostWeight<'_>, device: &Device) -> Result<Self> {
        Ok(Self(host_tensor(weight, device)?))
    }
}

/// A codebook `[bins, d]`.
#[derive(Debug)]
pub struct Codebook(pub(super) Tensor);

impl Codebook {
    pub(super) fn new(vectors: &[f32], bins: usize, device: &Device) -> Result<Self> {
        if bins == 0 || vectors.is_empty() || !vectors.len().is_multiple_of(bins) {
            return Err(Error::Shape { what: "codebook", expected: bins, found: vectors.len() }.into());
        }
        Ok(Self(Tensor::from_slice(vectors, (bins, vectors.len() / bins), device)?))
    }
}

fn host_tensor(weight: &HostWeight<'_>, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_vec(weight.to_f32()?, (weight.rows(), weight.cols()), device)?)
}

/// Embedding tables of one shape, of which each row reads its own. `None` stands for the first.
#[derive(Debug)]
pub struct Tables(pub(super) Vec<Option<Table>>);

impl Tables {
    /// The table of a row with this number.
    pub(super) fn of(&self, which: i32) -> Result<&Table> {
        let own = usize::try_from(which).ok().and_then(|which| self.0.get(which)?.as_ref());
        let first = || self.0.first().and_then(Option::as_ref);
        own.or_else(first).ok_or_else(|| Error::Shape { what: "tables", expected: 1, found: 0 }.into())
    }
}

/// Keys and values `[rows, slots, kv_heads * head_dim]`; the key of position p lies in slot p modulo `slots`.
#[derive(Debug)]
pub struct Ring {
    pub(super) spec: RingSpec,
    pub(super) slots: usize,
    pub(super) keys: Tensor,
    pub(super) values: Tensor,
}

impl Ring {
    pub(super) fn new(spec: &RingSpec, device: &Device) -> Result<Self> {
        let attention = &spec.attention;
        if attention.kv_heads == 0 || !attention.heads.is_multiple_of(attention.kv_heads) {
            return Err(Error::Shape {
                what: "heads per key head",
                expected: attention.kv_heads,
                found: attention.heads,
            }
            .into());
        }
        if attention.rope.is_some() && !attention.head_dim.is_multiple_of(2) {
            return Err(Error::Shape {
                what: "even head width",
                expected: attention.head_dim + 1,
                found: attention.head_dim,
            }
            .into());
        }
        if attention.context == 0 || spec.max_chunk == 0 {
            return Err(Error::Shape { what: "context and chunk of a ring", expected: 1, found: 0 }.into());
        }
        let slots = attention.context + spec.max_chunk - 1;
        let shape = (spec.rows, slots, attention.kv_heads * attention.head_dim);
        Ok(Self {
            spec: *spec,
            slots,
            keys: Tensor::zeros(shape, DType::F32, device)?,
            values: Tensor::zeros(shape, DType::F32, device)?,
        })
    }

    pub(super) fn copy_row(&mut self, row: usize, src: &Self, src_row: usize) -> Result<()> {
        check("row of a ring", row + 1, self.spec.rows)?;
        check("source row of a ring", src_row + 1, src.spec.rows)?;
        exact("slots of a ring", self.slots, src.slots)?;
        copy_outer(&self.keys, row, &src.keys, src_row)?;
        copy_outer(&self.values, row, &src.values, src_row)
    }
}

/// The last input columns `[rows, history, channels]`.
#[derive(Debug)]
pub struct Window {
    pub(super) spec: WindowSpec,
    columns: Tensor,
}

impl Window {
    pub(super) fn new(spec: &WindowSpec, device: &Device) -> Result<Self> {
        let columns = Tensor::zeros((spec.rows, spec.history, spec.channels), DType::F32, device)?;
        Ok(Self { spec: *spec, columns })
    }

    /// One row's history followed by `x [t, channels]`: `[history + t, channels]`. Keeps the last `history` columns.
    pub(super) fn extend(&mut self, rows: &Rows, row: usize, x: &Tensor) -> Result<Tensor> {
        let WindowSpec { history, padding, .. } = self.spec;
        check("row of a window", row + 1, self.spec.rows)?;
        exact("channels of a window", self.spec.channels, x.dims()[1])?;
        check("columns of a step", x.dims()[0], self.spec.max_chunk)?;
        if history == 0 {
            return Ok(x.contiguous()?);
        }
        let before = if padding == Padding::Replicate && rows.position[row] == 0 {
            x.narrow(0, 0, 1)?.repeat((history, 1))?
        } else {
            self.columns.get(row)?
        };
        let all = Tensor::cat(&[&before, x], 0)?;
        let kept = all.narrow(0, all.dims()[0] - history, history)?.unsqueeze(0)?;
        self.columns.slice_set(&kept.copy()?, 0, row)?;
        Ok(all)
    }

    pub(super) fn reset_row(&mut self, row: usize) -> Result<()> {
        check("row of a window", row + 1, self.spec.rows)?;
        if self.spec.history > 0 {
            let zeros = self.columns.narrow(0, row, 1)?.zeros_like()?;
            self.columns.slice_set(&zeros, 0, row)?;
        }
        Ok(())
    }

    pub(super) fn copy_row(&mut self, row: usize, src: &Self, src_row: usize) -> Result<()> {
        check("row of a window", row + 1, self.spec.rows)?;
        check("source row of a window", src_row + 1, src.spec.rows)?;
        exact("history of a window", self.spec.history, src.spec.history)?;
        exact("channels of a window", self.spec.channels, src.spec.channels)?;
        if self.spec.history > 0 { copy_outer(&self.columns, row, &src.columns, src_row) } else { Ok(()) }
    }
}

fn copy_outer(dst: &Tensor, row: usize, src: &Tensor, src_row: usize) -> Result<()> {
    Ok(dst.slice_set(&src.narrow(0, src_row, 1)?.copy()?, 0, row)?)
}

/// Which rows run, and where each of them is.
#[derive(Debug)]
pub struct Rows {
    pub(super) active: Vec<bool>,
    pub(super) position: Vec<u64>,
}

impl Rows {
    pub(super) fn new(count: usize) -> Self {
        Self { active: vec![false; count], position: vec![0; count] }
    }

    /// The active rows, in order.
    pub(super) fn active(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.active.len()).filter(|&row| self.active[row])
    }

    pub(super) fn put(&mut self, active: &[bool], positions: &[u64]) -> Result<()> {
        exact("active flags", self.active.len(), active.len())?;
        exact("positions", self.active.len(), positions.len())?;
        self.active.copy_from_slice(active);
        self.position.copy_from_slice(positions);
        Ok(())
    }
}
