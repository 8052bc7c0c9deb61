//! Embedding tables, in the number format that the file holds.

pub(crate) mod kernel;

use half::{bf16, f16};

use crate::KernelError;
use crate::cores::Cores;
use crate::memory::Block;
use moshi_tensor::weight::{Grouped, HostWeight, WeightData};

#[derive(Debug)]
enum Vectors {
    F32(Block<f32>),
    Bf16(Block<bf16>),
    F16(Block<f16>),
    Grouped(Grouped<'static>),
}

/// An embedding table `[v, d]`.
#[derive(Debug)]
pub struct Embedding {
    v: usize,
    d: usize,
    vectors: Vectors,
}

fn copy<T: bytemuck::Pod>(values: &[T]) -> Block<T> {
    let mut block = Block::zeros(values.len());
    block.copy_from_slice(values);
    block
}

impl Embedding {
    /// Copies a table.
    ///
    /// # Errors
    /// Those of [`HostWeight::to_f32`].
    pub fn new(weight: &HostWeight<'_>) -> Result<Self, KernelError> {
        let vectors = match weight.data() {
            WeightData::F32(w) => Vectors::F32(copy(w)),
            WeightData::Bf16(w) => Vectors::Bf16(copy(w)),
            WeightData::F16(w) => Vectors::F16(copy(w)),
            // No published layout quantizes embeddings by rows.
            WeightData::Int8 { .. } => Vectors::F32(copy(&weight.to_f32()?)),
            WeightData::Grouped(g) => Vectors::Grouped(g.owned()),
        };
        Ok(Self { v: weight.rows(), d: weight.cols(), vectors })
    }

    /// Number of entries.
    pub fn v(&self) -> usize {
        self.v
    }

    /// Width of an entry.
    pub fn d(&self) -> usize {
        self.d
    }

    /// Bytes of all entries.
    pub fn bytes(&self) -> usize {
        match &self.vectors {
            Vectors::F32(v) => size_of_val(&**v),
            Vectors::Bf16(v) => size_of_val(&**v),
            Vectors::F16(v) => size_of_val(&**v),
            Vectors::Grouped(g) => g.bytes(),
        }
    }

    /// Adds entry `id` to `y [d]`.
    ///
    /// # Errors
    /// [`KernelError`] when there is no such entry or `y` has another width.
    pub fn add(&self, cores: &Cores, id: usize, y: &mut [f32]) -> Result<(), KernelError> {
        KernelError::length("output of an embedding", self.d, y.len())?;
        if id >= self.v {
            return Err(KernelError::Entry { entries: self.v, found: id });
        }
        let range = id * self.d..(id + 1) * self.d;
        // SAFETY: `Cores` has checked the instruction set; slices carry their bounds.
        unsafe {
            match &self.vectors {
                Vectors::F32(v) => (cores.table().add_f32)(&v[range], y),
                Vectors::Bf16(v) => (cores.table().add_bf16)(&v[range], y),
                Vectors::F16(v) => (cores.table().add_f16)(&v[range], y),
                // A row of a table is read a few times a step; what it takes to widen it is not worth a kernel.
                Vectors::Grouped(g) => g.row(id, self.d, |i, value| y[i] += value),
            }
        }
        Ok(())
    }
}
