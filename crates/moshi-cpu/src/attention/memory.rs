//! Attention to a memory that does not move: what is written to a ring once and read in every step.

use super::kernel::Head;
use super::{Key, Memory, Ring, SCRATCH};
use crate::KernelError;
use crate::cores::{Cores, Shared};
use crate::simd::LANES;

impl Ring {
    /// Makes the first `len` positions of a row those of `kv [len, 2 * kv_heads * head_dim]`, keys then values.
    ///
    /// # Errors
    /// [`KernelError`] when `kv` is too short, the ring has room for fewer, or the row does not exist.
    pub fn fill(&mut self, row: usize, kv: &[f32], len: usize) -> Result<(), KernelError> {
        let Ring { geometry, memory, used } = self;
        let shape = geometry.shape;
        KernelError::row(row, geometry.rows)?;
        KernelError::at_least("positions of a ring", len, shape.context)?;
        KernelError::at_least("keys and values", len * 2 * shape.kv_heads * shape.head_dim, kv.len())?;
        used[row] = len;
        let start = row * geometry.row_len();
        let mut put = |head: usize, slot: usize, key: &[f32], value: &[f32]| {
            let to = start + head * geometry.head_len() + slot * geometry.width;
            let to = to..to + shape.head_dim;
            match memory {
                Memory::F32 { keys, values } => {
                    Key::store(key, &mut keys[to.clone()]);
                    Key::store(value, &mut values[to]);
                }
                Memory::Bf16 { keys, values } => {
                    Key::store(key, &mut keys[to.clone()]);
                    Key::store(value, &mut values[to]);
                }
            }
        };
        let half = shape.kv_heads * shape.head_dim;
        for (slot, position) in kv.chunks_exact(2 * half).take(len).enumerate() {
            let (keys, values) = position.split_at(half);
            let heads = keys.chunks_exact(shape.head_dim).zip(values.chunks_exact(shape.head_dim));
            heads.enumerate().for_each(|(head, (key, value))| put(head, slot, key, value));
        }
        Ok(())
    }
}

/// `y [b, t, heads * head_dim]`: attention of `q` in the same shape to the first `lengths[b]` positions of each row's
/// ring, zeros where there are none.
///
/// # Errors
/// [`KernelError`] when an operand is too short or a row does not exist.
pub fn attend_filled(
    cores: &Cores,
    (rows, t): (&[usize], usize),
    q: &[f32],
    lengths: &[i32],
    ring: &Ring,
    y: &mut [f32],
) -> Result<(), KernelError> {
    let Some(&last) = rows.last() else { return Ok(()) };
    let shape = &ring.geometry.shape;
    KernelError::row(last, ring.geometry.rows)?;
    KernelError::at_least("lengths of memories", last + 1, lengths.len())?;
    let values = (last + 1) * t * shape.heads * shape.head_dim;
    KernelError::at_least("queries", values, q.len())?;
    KernelError::at_least("output of attention", values, y.len())?;
    let step = Step { cores, rows, t, q, lengths, ring };
    match &ring.memory {
        Memory::F32 { keys, values } => step.run(keys, values, y),
        Memory::Bf16 { keys, values } => step.run(keys, values, y),
    }
    Ok(())
}

/// The operation, as its parts see it.
struct Step<'a> {
    cores: &'a Cores,
    rows: &'a [usize],
    t: usize,
    q: &'a [f32],
    lengths: &'a [i32],
    ring: &'a Ring,
}

impl Step<'_> {
    fn length(&self, row: usize) -> usize {
        usize::try_from(self.lengths[row]).unwrap_or(0).min(self.ring.geometry.shape.context)
    }

    fn run<E: Key + Sync>(&self, keys: &[E], values: &[E], y: &mut [f32]) {
        let (geometry, y) = (&self.ring.geometry, Shared::new(y));
        let heads = geometry.shape.heads;
        let places: usize = self.rows.iter().map(|&row| self.length(row)).sum();
        let cost = places * self.t * heads * geometry.width / LANES * 2;
        self.cores.run(self.rows.len() * heads, cost, &|part| {
            let (row, head) = (self.rows[part / heads], part % heads);
            self.head(row, head, (keys, values), &y);
        });
    }

    /// One query head of a row.
    fn head<E: Key>(&self, row: usize, head: usize, (keys, values): (&[E], &[E]), y: &Shared<'_>) {
        let geometry = &self.ring.geometry;
        let (shape, width, len) = (&geometry.shape, geometry.width, self.length(row));
        let group = shape.heads / shape.kv_heads;
        let start = row * geometry.row_len() + head / group * geometry.head_len();
        let memory = start..start + geometry.head_len();
        let (keys, values) = (&keys[memory.clone()], &values[memory]);
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.len() < width + shape.context {
                scratch.resize(width + shape.context, 0.0);
            }
            let (q, scores) = scratch.split_at_mut(width);
            q.fill(0.0);
            for step in 0..self.t {
                let at = ((row * self.t + step) * shape.heads + head) * shape.head_dim;
                let range = at..at + shape.head_dim;
                let scale = 1.0 / (shape.head_dim as f32).sqrt();
                q.iter_mut().zip(&self.q[range.clone()]).for_each(|(to, x)| *to = x * scale);
                // SAFETY: this head of this row and step is written by this part alone.
                let y = unsafe { y.range(range) };
                if len == 0 {
                    y.fill(0.0);
                    continue;
                }
                let head = Head { q, keys, values, width, runs: [(0, len), (0, 0)] };
                // SAFETY: the instruction set is that of `Cores`, the run lies inside of the ring, and there is a score
                // for every position of the context.
                unsafe { (E::kernel(self.cores.table()))(&head, scores, y) }
            }
        });
    }
}
