//! Causal attention over a ring of keys and values.
//!
//! A [`Ring`] holds, for every row (session) and key head, the keys and values of the last `context` positions and of
//! the chunk being computed. A row's ring is `[kv_head][slot][channel]`, so that one query reads one stretch of memory.

pub(crate) mod kernel;
mod memory;

use std::cell::RefCell;

use bytemuck::Pod;
use half::bf16;

use crate::KernelError;
use crate::cores::{Cores, Shared};
use crate::memory::Block;
use crate::rope::Rotations;
use crate::simd::{Element, LANES};
use crate::table::Table;
use kernel::Head;

pub use memory::attend_filled;

/// The shape of an attention operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; `heads` is a multiple of it.
    pub kv_heads: usize,
    /// Channels per head.
    pub head_dim: usize,
    /// A query at position p sees keys p - context < k <= p.
    pub context: usize,
}

impl AttentionShape {
    fn check(&self) -> Result<(), KernelError> {
        let unsupported = |what, found, expected| Err(KernelError::Unsupported { what, found, expected });
        if self.kv_heads == 0 || self.heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            return unsupported("attention heads", self.heads, "heads are a multiple of key heads");
        }
        if self.head_dim == 0 {
            return unsupported("channels per head", 0, "there is at least 1");
        }
        if self.context == 0 {
            return unsupported("attention context", 0, "it is at least 1");
        }
        Ok(())
    }

    /// Values of queries, keys and values of one position.
    fn inputs(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }
}

/// How a ring lies in memory: `[row][kv_head][slot][width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Geometry {
    shape: AttentionShape,
    rows: usize,
    slots: usize,
    /// Channels of a head, padded to whole vectors.
    width: usize,
}

impl Geometry {
    /// Values of one head of one row.
    fn head_len(&self) -> usize {
        self.slots * self.width
    }

    /// Values of one row.
    fn row_len(&self) -> usize {
        self.shape.kv_heads * self.head_len()
    }

    /// The keys that a query at `position` sees, oldest first.
    fn runs(&self, position: u64) -> [(usize, usize); 2] {
        let oldest = (position + 1).saturating_sub(self.shape.context as u64);
        let count = (position + 1 - oldest) as usize;
        let first = (oldest % self.slots as u64) as usize;
        let until_end = count.min(self.slots - first);
        [(first, until_end), (0, count - until_end)]
    }
}

/// The number format of a ring's keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RingFormat {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16, rounded to nearest: half the memory, and half of what a step reads.
    Bf16,
}

/// Keys and values of one attention layer, all rows.
#[derive(Debug)]
pub struct Ring {
    geometry: Geometry,
    memory: Memory,
    /// Of each row, the first slots that hold something it still sees: what a copy takes.
    used: Vec<usize>,
}

#[derive(Debug)]
enum Memory {
    F32 { keys: Block<f32>, values: Block<f32> },
    Bf16 { keys: Block<bf16>, values: Block<bf16> },
}

/// A number format of keys and values.
trait Key: Element + Pod + Send {
    fn store(x: &[f32], to: &mut [Self]);
    fn kernel(table: &Table) -> unsafe fn(&Head<'_, Self>, &mut [f32], &mut [f32]);
}

impl Key for f32 {
    fn store(x: &[f32], to: &mut [Self]) {
        to.copy_from_slice(x);
    }

    fn kernel(table: &Table) -> unsafe fn(&Head<'_, Self>, &mut [f32], &mut [f32]) {
        table.attend_f32
    }
}

impl Key for bf16 {
    fn store(x: &[f32], to: &mut [Self]) {
        to.iter_mut().zip(x).for_each(|(to, &x)| *to = bf16::from_f32(x));
    }

    fn kernel(table: &Table) -> unsafe fn(&Head<'_, Self>, &mut [f32], &mut [f32]) {
        table.attend_bf16
    }
}

impl Ring {
    /// An empty ring in single precision for `rows` rows and chunks of up to `max_chunk` positions.
    ///
    /// # Errors
    /// [`KernelError::Unsupported`] for a shape that makes no sense.
    pub fn new(shape: AttentionShape, rows: usize, max_chunk: usize) -> Result<Self, KernelError> {
        Self::with_format(shape, rows, max_chunk, RingFormat::F32)
    }

    /// As [`Ring::new`], in a format of choice. Memory is taken from the system as positions are first used.
    ///
    /// # Errors
    /// As [`Ring::new`].
    pub fn with_format(
        shape: AttentionShape,
        rows: usize,
        max_chunk: usize,
        format: RingFormat,
    ) -> Result<Self, KernelError> {
        shape.check()?;
        let slots = shape.context + max_chunk.max(1) - 1;
        let geometry = Geometry { shape, rows, slots, width: shape.head_dim.next_multiple_of(LANES) };
        let len = rows * geometry.row_len();
        let memory = match format {
            RingFormat::F32 => Memory::F32 { keys: Block::streamed(len), values: Block::streamed(len) },
            RingFormat::Bf16 => Memory::Bf16 { keys: Block::streamed(len), values: Block::streamed(len) },
        };
        Ok(Self { geometry, memory, used: vec![0; rows] })
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        match &self.memory {
            Memory::F32 { keys, values } => size_of_val(&**keys) + size_of_val(&**values),
            Memory::Bf16 { keys, values } => size_of_val(&**keys) + size_of_val(&**values),
        }
    }

    /// Gives the memory of a row back to the system where it has pages of its own: it holds zeros then. A row that does
    /// not exist has none.
    pub fn release_row(&mut self, row: usize) {
        let Geometry { rows, .. } = self.geometry;
        if row >= rows {
            return;
        }
        self.used[row] = 0;
        let len = self.geometry.row_len();
        let range = row * len..(row + 1) * len;
        match &mut self.memory {
            Memory::F32 { keys, values } => [keys, values].map(|block| block.release(range.clone())),
            Memory::Bf16 { keys, values } => [keys, values].map(|block| block.release(range.clone())),
        };
    }

    /// The attention that the ring was made for.
    pub fn shape(&self) -> &AttentionShape {
        &self.geometry.shape
    }

    /// Copies one row's keys and values from another ring of the same shape: as many as it has written, so that a short
    /// conversation is copied fast however long the window is.
    ///
    /// # Errors
    /// [`KernelError`] when the shapes differ or a row does not exist.
    pub fn copy_row(&mut self, row: usize, from: &Ring, from_row: usize) -> Result<(), KernelError> {
        let (to_shape, from_shape) = (self.geometry, from.geometry);
        if (Geometry { rows: 0, ..to_shape }) != (Geometry { rows: 0, ..from_shape }) {
            let expected = "both rings have one shape";
            return Err(KernelError::Unsupported {
                what: "slots of a ring to copy",
                found: from_shape.slots,
                expected,
            });
        }
        KernelError::row(from_row, from_shape.rows)?;
        KernelError::row(row, to_shape.rows)?;
        let used = from.used[from_row];
        let copy = RowCopy { geometry: to_shape, to: row, from: from_row, used };
        match (&mut self.memory, &from.memory) {
            (Memory::F32 { keys, values }, Memory::F32 { keys: from_keys, values: from_values }) => {
                copy.run(keys, from_keys);
                copy.run(values, from_values);
            }
            (Memory::Bf16 { keys, values }, Memory::Bf16 { keys: from_keys, values: from_values }) => {
                copy.run(keys, from_keys);
                copy.run(values, from_values);
            }
            _ => {
                let expected = "both rings have one number format";
                return Err(KernelError::Unsupported { what: "row of a ring to copy", found: from_row, expected });
            }
        }
        self.used[row] = used;
        Ok(())
    }
}

/// A copy of the first slots of a row, head by head.
struct RowCopy {
    geometry: Geometry,
    to: usize,
    from: usize,
    used: usize,
}

impl RowCopy {
    fn run<E: Key>(&self, to: &mut [E], from: &[E]) {
        let (row, head, len) = (self.geometry.row_len(), self.geometry.head_len(), self.used * self.geometry.width);
        for at in (0..self.geometry.shape.kv_heads).map(|i| i * head) {
            let (to_at, from_at) = (self.to * row + at, self.from * row + at);
            to[to_at..to_at + len].copy_from_slice(&from[from_at..from_at + len]);
        }
    }
}

/// The positions that an attention operation computes: `t` from `positions[row] + first` on, for each row of `rows`.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// The rows to compute, ascending.
    pub rows: &'a [usize],
    /// The first position of every row, computed or not.
    pub positions: &'a [u64],
    /// Steps that each row has taken beyond its position.
    pub first: usize,
    /// Positions of each row.
    pub t: usize,
}

impl Chunk<'_> {
    /// The position of a row at one of the chunk's steps.
    fn position(&self, row: usize, step: usize) -> u64 {
        self.positions[row] + (self.first + step) as u64
    }
}

thread_local! {
    /// A rotated query and its scores.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Writes the keys and values of `qkv [b, t, (heads + 2 kv_heads) * head_dim]` to the ring and attends:
/// `y [b, t, heads * head_dim]`. Queries and keys are rotated if there are `rotations`, which must be prepared for the
/// chunk. Scores are divided by sqrt(head_dim).
///
/// # Errors
/// [`KernelError`] when an operand is too short, the chunk longer than the ring has room for, or a row does not exist.
pub fn attend(
    cores: &Cores,
    chunk: &Chunk<'_>,
    rotations: Option<&Rotations>,
    qkv: &[f32],
    ring: &mut Ring,
    y: &mut [f32],
) -> Result<(), KernelError> {
    let Ring { geometry, memory, used } = ring;
    check(chunk, rotations, qkv, geometry, y.len())?;
    for &row in chunk.rows {
        // What was written beyond that belongs to an earlier conversation.
        used[row] = usize::try_from(chunk.position(row, chunk.t)).unwrap_or(usize::MAX).min(geometry.slots);
    }
    let step = Step { cores, chunk, rotations, qkv, ring: geometry };
    match memory {
        Memory::F32 { keys, values } => step.run(keys, values, y),
        Memory::Bf16 { keys, values } => step.run(keys, values, y),
    }
    Ok(())
}

fn check(
    chunk: &Chunk<'_>,
    rotations: Option<&Rotations>,
    qkv: &[f32],
    ring: &Geometry,
    y: usize,
) -> Result<(), KernelError> {
    let shape = &ring.shape;
    let Some(&last) = chunk.rows.last() else { return Ok(()) };
    if !chunk.rows.is_sorted_by(|a, b| a < b) {
        return Err(KernelError::Unsupported { what: "rows", found: last, expected: "rows ascend" });
    }
    KernelError::row(last, ring.rows.min(chunk.positions.len()))?;
    if chunk.rows.iter().any(|&row| chunk.positions[row] > u64::MAX / 2) {
        return Err(KernelError::Unsupported { what: "position", found: usize::MAX, expected: "it is below 2^63" });
    }
    // Before the ring is full, nothing that is still seen is written over.
    let wraps = |row: &usize| chunk.position(*row, chunk.t) > ring.slots as u64;
    if chunk.t + shape.context > ring.slots + 1 && chunk.rows.iter().any(wraps) {
        let expected = "the chunk is at most as long as the ring was made for";
        return Err(KernelError::Unsupported { what: "positions of an attention step", found: chunk.t, expected });
    }
    let vectors = (last + 1) * chunk.t;
    KernelError::at_least("input of attention", vectors * shape.inputs(), qkv.len())?;
    KernelError::at_least("output of attention", vectors * shape.heads * shape.head_dim, y)?;
    if let Some(rotations) = rotations {
        KernelError::length("rows with rotations", chunk.rows.len(), rotations.rows())?;
        KernelError::at_least("prepared rotations", chunk.first + chunk.t, rotations.steps())?;
        KernelError::length("channels per head, rotated", shape.head_dim, rotations.head_dim())?;
    }
    Ok(())
}

/// An attention operation, as its parts see it.
struct Step<'a> {
    cores: &'a Cores,
    chunk: &'a Chunk<'a>,
    rotations: Option<&'a Rotations>,
    qkv: &'a [f32],
    ring: &'a Geometry,
}

impl Step<'_> {
    /// Vector operations of the whole.
    fn cost(&self) -> usize {
        let furthest = self.chunk.rows.iter().map(|&row| self.chunk.position(row, 0)).max().unwrap_or(0);
        let keys = (self.ring.shape.context as u64).min(furthest + 1) as usize;
        self.chunk.rows.len() * self.chunk.t * self.ring.shape.heads * keys * self.ring.width / LANES * 2
    }

    fn run<E: Key>(&self, keys: &mut [E], values: &mut [E], y: &mut [f32]) {
        // Both blocks are cut into heads of rows, of which each part of the operation takes its own.
        let (keys, values, y) = (Shared::new(keys), Shared::new(values), Shared::new(y));
        let heads = self.ring.shape.kv_heads;
        self.cores.run(self.chunk.rows.len() * heads, self.cost(), &|part| {
            let (i, head) = (part / heads, part % heads);
            let start = (self.chunk.rows[i] * heads + head) * self.ring.head_len();
            let range = start..start + self.ring.head_len();
            // SAFETY: rows are distinct, so every part has its own range, and `head` writes its own heads of its row
            // of y.
            let memory = unsafe { (keys.range(range.clone()), values.range(range)) };
            self.head(i, head, memory, &y);
        });
    }

    /// Key head `head` of the `i`th active row, and the query heads that read it.
    fn head<E: Key>(&self, i: usize, head: usize, (keys, values): (&mut [E], &mut [E]), y: &Shared<'_>) {
        let (shape, t) = (&self.ring.shape, self.chunk.t);
        let row = self.chunk.rows[i];
        let group = shape.heads / shape.kv_heads;
        SCRATCH.with_borrow_mut(|scratch| {
            let len = self.ring.width + shape.context;
            if scratch.len() < len {
                scratch.resize(len, 0.0);
            }
            let (q, scores) = scratch.split_at_mut(self.ring.width);
            q.fill(0.0);
            self.append(i, head, &mut q[..shape.head_dim], (keys, values));
            for (step, query) in (0..t).flat_map(|step| (head * group..(head + 1) * group).map(move |q| (step, q))) {
                let from = (row * t + step) * shape.inputs() + query * shape.head_dim;
                let x = &self.qkv[from..from + shape.head_dim];
                self.rotate((i, step), 1.0 / (shape.head_dim as f32).sqrt(), x, q);
                let runs = self.ring.runs(self.chunk.position(row, step));
                let head = Head { q, keys, values, width: self.ring.width, runs };
                let to = ((row * t + step) * shape.heads + query) * shape.head_dim;
                // SAFETY: this query head of this row and step is written by this part alone. The instruction set is
                // that of `Cores`, runs lie inside of the ring, and there is a score for every key of the context.
                unsafe { (E::kernel(self.cores.table()))(&head, scores, y.range(to..to + shape.head_dim)) }
            }
        });
    }

    /// Writes the chunk's keys and values of a head; `rotated` is room for a key.
    fn append<E: Key>(&self, i: usize, head: usize, rotated: &mut [f32], (keys, values): (&mut [E], &mut [E])) {
        let (shape, t) = (&self.ring.shape, self.chunk.t);
        let row = self.chunk.rows[i];
        for step in 0..t {
            let slot = (self.chunk.position(row, step) % self.ring.slots as u64) as usize;
            let to = slot * self.ring.width..slot * self.ring.width + shape.head_dim;
            let inputs = &self.qkv[(row * t + step) * shape.inputs()..];
            let key = &inputs[(shape.heads + head) * shape.head_dim..][..shape.head_dim];
            let value = &inputs[(shape.heads + shape.kv_heads + head) * shape.head_dim..][..shape.head_dim];
            self.rotate((i, step), 1.0, key, rotated);
            E::store(rotated, &mut keys[to.clone()]);
            E::store(value, &mut values[to]);
        }
    }

    /// `x` of the `i`th active row at one of the chunk's steps, rotated and scaled.
    fn rotate(&self, (i, step): (usize, usize), scale: f32, x: &[f32], y: &mut [f32]) {
        match self.rotations {
            Some(rotations) => {
                rotations.rotate(rotations.index(i, self.chunk.first + step), scale, x, &mut y[..x.len()])
            }
            None => y.iter_mut().zip(x).for_each(|(y, x)| *y = x * scale),
        }
    }
}
