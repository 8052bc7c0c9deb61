//! Weights laid out in panels, in the number format that the file holds.

use bytemuck::Pod;
use half::{bf16, f16};

use super::format::Groups;
use super::part::Part;
use crate::cores::{Cores, Shared};
use crate::memory::Block;
use crate::simd::LANES;
use crate::table::Table;
use moshi_tensor::weight::{Grouped, HostWeight, Quants, WeightData};

/// The numbers of a matrix, in panels. Each format has its own entry in the kernels' table.
#[derive(Debug)]
pub(super) enum Packed {
    F32(Block<f32>),
    Bf16(Block<bf16>),
    F16(Block<f16>),
    /// With a scale for each output, padded to whole panels.
    Int8(Block<i8>, Block<f32>),
    Grouped(GroupPanels),
}

/// Integers in groups, with their scales and biases in panels of their own, `[panel][group][16]`.
#[derive(Debug)]
pub(super) struct GroupPanels {
    quants: Quants,
    shift: u32,
    count: usize,
    weights: Block<u8>,
    scales: Block<f32>,
    biases: Block<f32>,
}

/// Where a kernel finds the weights.
pub(super) struct Addresses {
    pub(super) weights: *const u8,
    /// A scale for each output; null for formats without.
    pub(super) scales: *const f32,
    pub(super) groups: Groups,
}

// SAFETY: parts only read what lies there, which is alive for the whole operation.
unsafe impl Sync for Addresses {}

impl Packed {
    pub(super) fn new(cores: &Cores, weight: &HostWeight<'_>) -> Self {
        let (n, k) = (weight.rows(), weight.cols());
        match weight.data() {
            WeightData::F32(w) => Self::F32(pack(cores, n, k, w)),
            WeightData::Bf16(w) => Self::Bf16(pack(cores, n, k, w)),
            WeightData::F16(w) => Self::F16(pack(cores, n, k, w)),
            WeightData::Int8 { values, scales } => Self::Int8(pack(cores, n, k, values), padded(scales)),
            WeightData::Grouped(g) => Self::Grouped(GroupPanels::new(cores, n, k, g)),
        }
    }

    /// The panels, and the scales if there are any.
    pub(super) fn addresses(&self) -> Addresses {
        let plain = |weights| Addresses { weights, scales: std::ptr::null(), groups: Groups::NONE };
        match self {
            Self::F32(p) => plain(p.as_ptr().cast()),
            Self::Bf16(p) => plain(p.as_ptr().cast()),
            Self::F16(p) => plain(p.as_ptr().cast()),
            Self::Int8(p, scales) => Addresses { scales: scales.as_ptr(), ..plain(p.as_ptr().cast()) },
            Self::Grouped(g) => {
                let (scales, biases) = (g.scales.as_ptr(), g.biases.as_ptr());
                Addresses {
                    groups: Groups { scales, biases, count: g.count, shift: g.shift },
                    ..plain(g.weights.as_ptr())
                }
            }
        }
    }

    /// The kernel of this format.
    pub(super) fn kernel(&self, table: &Table) -> unsafe fn(&Part<'_>) {
        match self {
            Self::F32(_) => table.product_f32,
            Self::Bf16(_) => table.product_bf16,
            Self::F16(_) => table.product_f16,
            Self::Int8(..) => table.product_i8,
            Self::Grouped(g) => match g.quants {
                Quants::I8 => table.product_grouped_i8,
                Quants::U8 => table.product_grouped_u8,
                Quants::U4 => table.product_grouped_u4,
            },
        }
    }

    /// Bytes that one product reads.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::F32(p) => size_of_val(&**p),
            Self::Bf16(p) => size_of_val(&**p),
            Self::F16(p) => size_of_val(&**p),
            Self::Int8(p, _) => p.len(),
            Self::Grouped(g) => g.weights.len() + size_of_val(&*g.scales) + size_of_val(&*g.biases),
        }
    }
}

impl GroupPanels {
    fn new(cores: &Cores, n: usize, k: usize, g: &Grouped<'_>) -> Self {
        let count = k / g.group;
        Self {
            quants: g.quants,
            shift: g.group.trailing_zeros(),
            count,
            weights: if g.quants == Quants::U4 {
                pack_halves(cores, n, k, &g.packed)
            } else {
                pack(cores, n, k, &g.packed)
            },
            scales: pack(cores, n, count, &g.scales),
            biases: if g.quants.has_biases() { pack(cores, n, count, &g.biases) } else { Block::zeros(0) },
        }
    }
}

/// Values per output, in whole panels.
pub(crate) fn padded(values: &[f32]) -> Block<f32> {
    let mut padded = Block::zeros(values.len().next_multiple_of(LANES));
    padded[..values.len()].copy_from_slice(values);
    padded
}

/// Calls `each` for every panel of `len` values, in parallel.
pub(crate) fn each_panel<T: Pod + Send>(
    cores: &Cores,
    n: usize,
    len: usize,
    each: &(dyn Fn(usize, &mut [T]) + Sync),
) -> Block<T> {
    let panels = n.div_ceil(LANES);
    let mut packed = Block::streamed(panels * len);
    let shared = Shared::new(&mut packed);
    cores.run(panels, usize::MAX, &|panel| {
        // SAFETY: every panel is one part's alone.
        each(panel, unsafe { shared.range(panel * len..(panel + 1) * len) });
    });
    packed
}

/// The rows of a panel, each `len` values.
fn rows_of<T>(w: &[T], panel: usize, len: usize) -> &[T] {
    let bound = |panel: usize| (panel * LANES * len).min(w.len());
    &w[bound(panel)..bound(panel + 1)]
}

/// `[n, k]` to `[panel][k][16]`; outputs past the last are zero.
fn pack<T: Pod + Send + Sync>(cores: &Cores, n: usize, k: usize, w: &[T]) -> Block<T> {
    /// Inputs at a time: sixteen rows of them stay in the first cache.
    const STRIP: usize = 64;
    each_panel(cores, n, LANES * k, &|index, panel| {
        for start in (0..k).step_by(STRIP) {
            let end = (start + STRIP).min(k);
            for (lane, row) in rows_of(w, index, k).chunks_exact(k).enumerate() {
                for (i, &value) in row[start..end].iter().enumerate() {
                    panel[(start + i) * LANES + lane] = value;
                }
            }
        }
    })
}

/// `[n, k]` of four bits, two columns in a byte, to `[panel][k][8]`: lanes 0 to 7 in the lower halves.
fn pack_halves(cores: &Cores, n: usize, k: usize, w: &[u8]) -> Block<u8> {
    /// Bytes of a row at a time.
    const STRIP: usize = 64;
    each_panel(cores, n, LANES / 2 * k, &|index, panel| {
        for start in (0..k / 2).step_by(STRIP) {
            let end = (start + STRIP).min(k / 2);
            for (lane, row) in rows_of(w, index, k / 2).chunks_exact(k / 2).enumerate() {
                let (byte, shift) = (lane % (LANES / 2), lane / (LANES / 2) * 4);
                for (i, &pair) in row[start..end].iter().enumerate() {
                    let at = 2 * (start + i) * (LANES / 2) + byte;
                    panel[at] |= (pair & 15) << shift;
                    panel[at + LANES / 2] |= (pair >> 4) << shift;
                }
            }
        }
    })
}
