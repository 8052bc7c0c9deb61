//! Products, norms, activations, embeddings and the code search, one row at a time.

use candle_core::{D, Tensor};

use crate::Result;
use crate::memory::{Buf, Codebook, LowRank, Matrix, Rows, Table};
use crate::{Candle, check};
use moshi_nn::backend::Column;
use moshi_nn::{Error, Fault, FaultKind};

/// What embeddings are added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Onto {
    Nothing,
    Output,
}

/// Softmax over the last dimension.
pub(super) fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    Ok(e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?)
}

/// `y[row] = f(x[row])` for the active rows, `[t, c_in]` to `[t, c_out]`.
pub(super) fn map(
    rows: &Rows,
    (t, c_in): (usize, usize),
    x: &Buf,
    y: &mut Buf,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    for row in rows.active() {
        y.set_row("output", row, &f(&x.row("input", row, t, c_in)?)?)?;
    }
    Ok(())
}

/// As [`map`], onto its input.
pub(super) fn map_in_place(
    rows: &Rows,
    (t, c): (usize, usize),
    x: &mut Buf,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    for row in rows.active() {
        let new = f(&x.row("input", row, t, c)?)?;
        x.set_row("output", row, &new)?;
    }
    Ok(())
}

/// The first `c` values of a constant vector.
pub(super) fn constant(what: &'static str, buf: &Buf, c: usize) -> Result<Tensor> {
    check(what, c, buf.len())?;
    Ok(buf.0.narrow(0, 0, c)?)
}

pub(super) fn linear(rows: &Rows, t: usize, x: &Buf, w: &Matrix, y: &mut Buf) -> Result<()> {
    map(rows, (t, w.k()), x, y, |x| w.apply(x))
}

pub(super) fn low_rank_add(rows: &Rows, t: usize, x: &Buf, pairs: &LowRank, which: &[i32], y: &mut Buf) -> Result<()> {
    check("adapters of rows", rows.active.len(), which.len())?;
    for row in rows.active() {
        let pair = usize::try_from(which[row]).ok().and_then(|which| pairs.0.get(which)?.as_ref());
        let Some((down, up)) = pair else { continue };
        let delta = up.apply(&down.apply(&x.row("input", row, t, down.k())?)?)?; // [t, n]
        let sum = (y.row("output", row, t, delta.dims()[1])? + delta)?;
        y.set_row("output", row, &sum)?;
    }
    Ok(())
}

pub(super) fn guide(rows: &Rows, v: usize, guides: &[i32], coefficients: &Buf, logits: &mut Buf) -> Result<()> {
    let count = rows.active.len();
    check("guides of rows", count, guides.len())?;
    check("coefficients", count, coefficients.len())?;
    let mut factors = vec![0.0; count];
    coefficients.read(&mut factors)?;
    for row in rows.active() {
        let guide = usize::try_from(guides[row]).ok().filter(|guide| *guide < count && *guide != row);
        let Some(guide) = guide else { continue };
        let null = logits.row("logits", guide, 1, v)?;
        let difference = (logits.row("logits", row, 1, v)? - &null)?;
        let guided = (null + (difference * f64::from(factors[row]))?)?;
        logits.set_row("logits", row, &guided)?;
        logits.set_row("logits", guide, &guided)?;
    }
    Ok(())
}

pub(super) fn residual_add(
    rows: &Rows,
    (t, c): (usize, usize),
    y: &Buf,
    scale: Option<&Buf>,
    x: &mut Buf,
) -> Result<()> {
    let scale = scale.map(|s| constant("residual scale", s, c)).transpose()?;
    for row in rows.active() {
        let y = y.row("branch", row, t, c)?;
        let y = match &scale {
            Some(scale) => y.broadcast_mul(scale)?,
            None => y,
        };
        let sum = (x.row("stream", row, t, c)? + y)?;
        x.set_row("stream", row, &sum)?;
    }
    Ok(())
}

pub(super) fn rms_norm(x: &Tensor, alpha: &Tensor, eps: f32) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(x.broadcast_div(&(mean + f64::from(eps))?.sqrt()?)?.broadcast_mul(alpha)?)
}

pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let unit = centred.broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?;
    Ok(unit.broadcast_mul(weight)?.broadcast_add(bias)?)
}

pub(super) fn silu_gate(x: &Tensor, h: usize) -> Result<Tensor> {
    let gate = x.narrow(1, 0, h)?.contiguous()?.silu()?;
    Ok((gate * x.narrow(1, h, h)?)?)
}

pub(super) fn nearest_code(
    rows: &Rows,
    t: usize,
    codebook: &Codebook,
    residual: &mut Buf,
    (codes, column): (&mut [i32], Column),
    status: &mut [i32],
) -> Result<()> {
    let (_, d) = codebook.0.dims2()?;
    check("column of codes", column.index + 1, column.of)?;
    check("codes", rows.active.len() * t * column.of, codes.len())?;
    check("status", rows.active.len(), status.len())?;
    for row in rows.active() {
        let x = residual.row("residual", row, t, d)?; // [t, d]
        let mut rest = Vec::with_capacity(t);
        for step in 0..t {
            let x = x.narrow(0, step, 1)?; // [1, d]
            let at = (row * t + step) * column.of + column.index;
            if !x.flatten_all()?.to_vec1::<f32>()?.iter().all(|x| x.is_finite()) {
                Fault { kind: FaultKind::Vector, column: column.index }.note(&mut status[row]);
                codes[at] = -1;
                rest.push(x.copy()?);
                continue;
            }
            let distances = codebook.0.broadcast_sub(&x)?.sqr()?.sum(1)?.to_vec1::<f32>()?; // [bins]
            let code = lowest(&distances);
            codes[at] = code as i32;
            rest.push((x - codebook.0.narrow(0, code, 1)?)?);
        }
        residual.set_row("residual", row, &Tensor::cat(&rest, 0)?)?;
    }
    Ok(())
}

/// Index of the smallest value; ties go to the lowest index.
fn lowest(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value < values[best] {
            best = i;
        }
    }
    best
}

impl Candle {
    pub(super) fn embed_onto(
        &self,
        rows: &Rows,
        t: usize,
        (ids, column): (&[i32], Column),
        tables: &[&Table],
        (y, onto): (&mut Buf, Onto),
        status: &mut [i32],
    ) -> Result<()> {
        for row in rows.active() {
            self.embed_row(row, t, (ids, column), tables, (y, onto), status)?;
        }
        Ok(())
    }

    /// As [`Candle::embed_onto`] for one row.
    pub(super) fn embed_row(
        &self,
        row: usize,
        t: usize,
        (ids, column): (&[i32], Column),
        tables: &[&Table],
        (y, onto): (&mut Buf, Onto),
        status: &mut [i32],
    ) -> Result<()> {
        let Some(first) = tables.first() else {
            return Err(Error::Shape { what: "tables", expected: 1, found: 0 }.into());
        };
        let d = first.0.dims()[1];
        check("columns of ids", column.index + tables.len(), column.of)?;
        check("ids", (row + 1) * t * column.of, ids.len())?;
        check("status", row + 1, status.len())?;
        let mut steps = Vec::with_capacity(t);
        for step in 0..t {
            let start = (row * t + step) * column.of + column.index;
            let mut sum = match onto {
                // A copy: where nothing is added, the line would go back onto its own storage, which candle refuses.
                Onto::Output => y.row("embedding", row, t, d)?.narrow(0, step, 1)?.copy()?,
                Onto::Nothing => Tensor::zeros((1, d), candle_core::DType::F32, &self.device)?,
            };
            for (i, (&id, table)) in ids[start..start + tables.len()].iter().zip(tables).enumerate() {
                match usize::try_from(id) {
                    Ok(id) if id < table.0.dims()[0] => sum = (sum + table.0.narrow(0, id, 1)?)?,
                    _ if id == -1 => {}
                    _ => Fault { kind: FaultKind::Id, column: column.index + i }.note(&mut status[row]),
                }
            }
            steps.push(sum);
        }
        y.set_row("embedding", row, &Tensor::cat(&steps, 0)?)
    }
}
