//! Attention over a ring, one row and one key head at a time.

use candle_core::{D, Tensor};

use crate::Result;
use crate::memory::{Buf, Ring, Rows};
use crate::ops::softmax;
use crate::{Candle, check, exact};
use moshi_nn::backend::{AttentionSpec, Rope, RopeLayout, Span};

impl Candle {
    pub(super) fn attend(
        &self,
        rows: &Rows,
        Span { first, t }: Span,
        qkv: &Buf,
        spec: &AttentionSpec,
        ring: &mut Ring,
        y: &mut Buf,
    ) -> Result<()> {
        check("rows of a ring", rows.active.len(), ring.spec.rows)?;
        let kv = spec.kv_heads * spec.head_dim;
        check("context of a ring", spec.context, ring.spec.attention.context)?;
        exact("key channels of a ring", ring.spec.attention.kv_heads * ring.spec.attention.head_dim, kv)?;
        let width = spec.heads * spec.head_dim;
        for row in rows.active() {
            let position = rows.position[row] + first as u64;
            // Before the ring is full, nothing that is still seen is written over.
            if position + t as u64 > ring.slots as u64 {
                check("steps of a chunk", t, ring.spec.max_chunk)?;
            }
            let x = qkv.row("attention input", row, t, width + 2 * kv)?;
            let q = self.rotate(&x.narrow(1, 0, width)?, spec, position)?; // [t, heads * d]
            let k = self.rotate(&x.narrow(1, width, kv)?, spec, position)?; // [t, kv_heads * d]
            let v = x.narrow(1, width + kv, kv)?.contiguous()?; // [t, kv_heads * d]
            ring.append(row, position, &k, &v)?;
            let out = self.attend_row(&q, spec, ring, row, position)?;
            y.set_row("attention output", row, &out)?;
        }
        Ok(())
    }

    /// See [`moshi_nn::Backend::attend_ring`].
    pub(super) fn attend_filled(
        &self,
        rows: &Rows,
        t: usize,
        q: &Buf,
        lengths: &[i32],
        ring: &Ring,
        y: &mut Buf,
    ) -> Result<()> {
        let AttentionSpec { heads, kv_heads, head_dim: d, context, .. } = ring.spec.attention;
        check("rows of a ring", rows.active.len(), ring.spec.rows)?;
        check("lengths of memories", rows.active.len(), lengths.len())?;
        for row in rows.active() {
            let q = (q.row("queries", row, t, heads * d)? / (d as f64).sqrt())?;
            let len = usize::try_from(lengths[row]).unwrap_or(0).min(context);
            if len == 0 {
                y.set_row("attention output", row, &q.zeros_like()?)?;
                continue;
            }
            let (keys, values) = ring.range(row, 0, len)?; // [len, kv_heads * d]
            let head = |head: usize| -> Result<Tensor> {
                let kv = head / (heads / kv_heads) * d;
                let q = q.narrow(1, head * d, d)?.contiguous()?; // [t, d]
                let scores = q.matmul(&keys.narrow(1, kv, d)?.contiguous()?.t()?)?; // [t, len]
                Ok(softmax(&scores)?.matmul(&values.narrow(1, kv, d)?.contiguous()?)?) // [t, d]
            };
            let all = (0..heads).map(head).collect::<Result<Vec<_>>>()?;
            y.set_row("attention output", row, &Tensor::cat(&all, D::Minus1)?)?;
        }
        Ok(())
    }

    /// `x [t, heads * d]`, rotated at positions `position..position + t`. Angles are made in double precision, so that
    /// they stay exact however long a session runs.
    fn rotate(&self, x: &Tensor, spec: &AttentionSpec, position: u64) -> Result<Tensor> {
        let Some(Rope { max_period, layout }) = spec.rope else { return Ok(x.contiguous()?) };
        let (t, width) = x.dims2()?;
        let (d, half) = (spec.head_dim, spec.head_dim / 2);
        let heads = width / d;
        let mut angles = Vec::with_capacity(t * half);
        for step in 0..t as u64 {
            for i in 0..half {
                let frequency = f64::from(max_period).powf(-2.0 * i as f64 / d as f64);
                angles.push((position + step) as f64 * frequency);
            }
        }
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&a| f(a) as f32).collect();
            Tensor::from_vec(values, (t, 1, half), &self.device)
        };
        let (cos, sin) = (table(f64::cos)?, table(f64::sin)?); // [t, 1, d/2]
        let (a, b) = match layout {
            RopeLayout::Interleaved => {
                let pairs = x.contiguous()?.reshape((t, heads, half, 2))?;
                (pairs.narrow(3, 0, 1)?.squeeze(3)?, pairs.narrow(3, 1, 1)?.squeeze(3)?)
            }
            RopeLayout::Halves => {
                let halves = x.contiguous()?.reshape((t, heads, d))?;
                (halves.narrow(2, 0, half)?, halves.narrow(2, half, half)?)
            }
        }; // [t, heads, d/2]
        let real = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let imaginary = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
        let out = match layout {
            RopeLayout::Interleaved => Tensor::stack(&[real, imaginary], 3)?,
            RopeLayout::Halves => Tensor::cat(&[real, imaginary], 2)?,
        };
        Ok(out.reshape((t, width))?)
    }

    fn attend_row(&self, q: &Tensor, spec: &AttentionSpec, ring: &Ring, row: usize, position: u64) -> Result<Tensor> {
        let t = q.dims()[0];
        let d = spec.head_dim;
        let group = spec.heads / spec.kv_heads;
        let first = (position + 1).saturating_sub(spec.context as u64); // oldest key that any query sees
        let count = (position + t as u64 - first) as usize;
        let (keys, values) = ring.range(row, first, count)?; // [count, kv_heads * d]
        let mask = self.mask(t, position, first, count, spec.context)?; // [t, count]
        let q = (q / (d as f64).sqrt())?;
        let mut heads = Vec::with_capacity(spec.heads);
        for head in 0..spec.heads {
            let kv = head / group;
            let q = q.narrow(1, head * d, d)?.contiguous()?; // [t, d]
            let k = keys.narrow(1, kv * d, d)?.contiguous()?; // [count, d]
            let v = values.narrow(1, kv * d, d)?.contiguous()?;
            let scores = (q.matmul(&k.t()?)? + &mask)?; // [t, count]
            heads.push(softmax(&scores)?.matmul(&v)?); // [t, d]
        }
        Ok(Tensor::cat(&heads, D::Minus1)?) // [t, heads * d]
    }

    /// 0 where the query at `position + i` sees the key at `first + j`, minus infinity elsewhere.
    fn mask(&self, t: usize, position: u64, first: u64, count: usize, context: usize) -> Result<Tensor> {
        let mut mask = Vec::with_capacity(t * count);
        for i in 0..t as u64 {
            for j in 0..count as u64 {
                let (query, key) = (position + i, first + j);
                let seen = key <= query && key + context as u64 > query;
                mask.push(if seen { 0f32 } else { f32::NEG_INFINITY });
            }
        }
        Ok(Tensor::from_vec(mask, (t, count), &self.device)?)
    }
}

impl Ring {
    /// See [`moshi_nn::Backend::fill_ring`].
    pub(super) fn fill(&mut self, kv: &Buf, len: usize, row: usize) -> Result<()> {
        let width = self.spec.attention.kv_heads * self.spec.attention.head_dim;
        check("row of a ring", row + 1, self.spec.rows)?;
        check("positions of a ring", len, self.spec.attention.context)?;
        if len == 0 {
            return Ok(());
        }
        let kv = kv.row("keys and values", 0, len, 2 * width)?; // [len, 2 * width]
        for (ring, from) in [(&self.keys, 0), (&self.values, width)] {
            let new = kv.narrow(1, from, width)?.copy()?.unsqueeze(0)?; // [1, len, width]
            ring.narrow(0, row, 1)?.slice_set(&new.contiguous()?, 1, 0)?;
        }
        Ok(())
    }

    fn append(&mut self, row: usize, position: u64, k: &Tensor, v: &Tensor) -> Result<()> {
        let t = k.dims()[0];
        for i in 0..t {
            let slot = ((position + i as u64) % self.slots as u64) as usize;
            for (ring, new) in [(&self.keys, k), (&self.values, v)] {
                let line = new.narrow(0, i, 1)?.copy()?.unsqueeze(0)?; // [1, 1, kv]
                let target = ring.narrow(0, row, 1)?;
                target.slice_set(&line, 1, slot)?;
            }
        }
        Ok(())
    }

    /// Keys and values of positions `first..first + count`, oldest first.
    fn range(&self, row: usize, first: u64, count: usize) -> Result<(Tensor, Tensor)> {
        let start = (first % self.slots as u64) as usize;
        let head = count.min(self.slots - start);
        let read = |ring: &Tensor| -> Result<Tensor> {
            let all = ring.get(row)?;
            let before = all.narrow(0, start, head)?;
            if head == count {
                return Ok(before);
            }
            Ok(Tensor::cat(&[before, all.narrow(0, 0, count - head)?], 0)?)
        };
        Ok((read(&self.keys)?, read(&self.values)?))
    }
}
