//! Integers laid out in panels for dot products: `[panel][word][16 outputs][4 inputs]`.

use half::{bf16, f16};

use super::table::Kind;
use crate::cores::Cores;
use crate::memory::Block;
use crate::product::each_panel;
use crate::simd::LANES;
use moshi_tensor::weight::{Grouped, HostWeight, Quants, WeightData};

/// Numbers that belong to groups or outputs, in the format that the kernel reads.
#[derive(Debug)]
pub(super) enum Numbers {
    None,
    F16(Block<f16>),
    Bf16(Block<bf16>),
    F32(Block<f32>),
}

impl Numbers {
    pub(super) fn as_ptr(&self) -> *const u8 {
        match self {
            Self::None => std::ptr::null(),
            Self::F16(b) => b.as_ptr().cast(),
            Self::Bf16(b) => b.as_ptr().cast(),
            Self::F32(b) => b.as_ptr().cast(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::F16(b) => size_of_val(&**b),
            Self::Bf16(b) => size_of_val(&**b),
            Self::F32(b) => size_of_val(&**b),
        }
    }
}

/// A matrix of integers, laid out.
#[derive(Debug)]
pub(super) struct Panels {
    pub(super) kind: Kind,
    /// Inputs of a block.
    pub(super) block: usize,
    pub(super) blocks: usize,
    /// Logarithm of the blocks of a group.
    pub(super) group_shift: u32,
    pub(super) weights: Block<u8>,
    pub(super) scales: Numbers,
    pub(super) biases: Numbers,
    /// Of outputs, padded to whole panels.
    pub(super) output_scales: Numbers,
}

impl Panels {
    /// Lays out `weight`; nothing when it does not hold integers that a kernel exists for.
    pub(super) fn new(cores: &Cores, weight: &HostWeight<'_>) -> Option<Self> {
        let (n, k) = (weight.rows(), weight.cols());
        match weight.data() {
            WeightData::Int8 { values, scales } => {
                let blocks = k.div_ceil(32);
                let bytes = bytemuck::cast_slice(values);
                Some(Self {
                    kind: Kind::Rows,
                    block: 32,
                    blocks,
                    group_shift: 0,
                    weights: pack_bytes(cores, (n, k, blocks * 8), bytes, 0),
                    scales: Numbers::None,
                    biases: Numbers::None,
                    output_scales: Numbers::F32(crate::product::padded(scales)),
                })
            }
            WeightData::Grouped(g) => Self::grouped(cores, n, k, g),
            _ => None,
        }
    }

    fn grouped(cores: &Cores, n: usize, k: usize, g: &Grouped<'_>) -> Option<Self> {
        // Four bits in groups of sixteen (Q2_K, Q3_K) and smaller groups are left to the exact products.
        let block = match g.group {
            16 if g.quants != Quants::U4 => 16,
            32.. => 32,
            _ => return None,
        };
        let symmetric = g.quants == Quants::U4 && g.scales.iter().zip(&*g.biases).all(|(s, b)| *b == -8.0 * s);
        let biased = g.quants.has_biases() && !symmetric;
        let narrow = block == 32
            && match biased {
                false => g.scales.iter().all(|&s| f16::from_f32(s).to_f32() == s),
                true => g.scales.iter().chain(&*g.biases).all(|&s| bf16::from_f32(s).to_f32() == s),
            };
        let kind = Kind::grouped(g.quants, block, symmetric, narrow);
        let groups = k / g.group;
        let numbers = |values: &[f32]| match (narrow, biased) {
            (false, _) => Numbers::F32(pack_numbers(n, groups, values, |s| s)),
            (true, false) => Numbers::F16(pack_numbers(n, groups, values, f16::from_f32)),
            (true, true) => Numbers::Bf16(pack_numbers(n, groups, values, bf16::from_f32)),
        };
        let (blocks, words) = (k / block, k / 4);
        Some(Self {
            kind,
            block,
            blocks,
            group_shift: (g.group / block).trailing_zeros(),
            weights: match g.quants {
                Quants::U4 => pack_halves(cores, n, k, &g.packed),
                Quants::I8 => pack_bytes(cores, (n, k, words), &g.packed, 0),
                Quants::U8 => pack_bytes(cores, (n, k, words), &g.packed, 0x80),
            },
            scales: numbers(&g.scales),
            biases: if biased { numbers(&g.biases) } else { Numbers::None },
            output_scales: Numbers::None,
        })
    }

    /// Bytes that one product reads.
    pub(super) fn bytes(&self) -> usize {
        self.weights.len() + self.scales.bytes() + self.biases.bytes() + self.output_scales.bytes()
    }
}

/// `[n, groups]` to `[panel][group][16]`.
fn pack_numbers<T: bytemuck::Pod>(n: usize, groups: usize, values: &[f32], convert: impl Fn(f32) -> T) -> Block<T> {
    let mut packed = Block::streamed(n.div_ceil(LANES) * LANES * groups);
    for (row, values) in values.chunks_exact(groups.max(1)).enumerate() {
        let first = row / LANES * LANES * groups + row % LANES;
        for (g, &value) in values.iter().enumerate() {
            packed[first + g * LANES] = convert(value);
        }
    }
    packed
}

/// Words that are read from all rows of a panel before the next are.
const STRIP: usize = 16;

/// `[n, k]` bytes to `[panel][word][16][4]`, every byte XOR `flip`; inputs and outputs past the last are zero.
fn pack_bytes(cores: &Cores, (n, k, words): (usize, usize, usize), w: &[u8], flip: u8) -> Block<u8> {
    let flip = u32::from_ne_bytes([flip; 4]);
    let packed = each_panel(cores, n, words * LANES, &|panel, packed: &mut [u32]| {
        let rows = &w[(panel * LANES * k).min(w.len())..((panel + 1) * LANES * k).min(w.len())];
        for start in (0..k / 4).step_by(STRIP) {
            let end = (start + STRIP).min(k / 4);
            for (lane, row) in rows.chunks_exact(k).enumerate() {
                for (word, bytes) in (start..end).zip(row[4 * start..4 * end].chunks_exact(4)) {
                    packed[word * LANES + lane] = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) ^ flip;
                }
            }
        }
        if !k.is_multiple_of(4) {
            for (lane, row) in rows.chunks_exact(k).enumerate() {
                let mut last = [0; 4];
                last[..k % 4].copy_from_slice(&row[k / 4 * 4..]);
                packed[k / 4 * LANES + lane] = u32::from_ne_bytes(last);
            }
        }
    });
    packed.into_bytes()
}

/// `[n, k]` of four bits, neighbours in a byte, to `[panel][pair of words][16][4]`, the first word in the lower halves.
fn pack_halves(cores: &Cores, n: usize, k: usize, w: &[u8]) -> Block<u8> {
    let (row_len, pairs) = (k / 2, k / 8);
    let packed = each_panel(cores, n, pairs * LANES, &|panel, packed: &mut [u32]| {
        let rows = &w[panel * LANES * row_len..((panel + 1) * LANES * row_len).min(w.len())];
        for start in (0..pairs).step_by(STRIP) {
            let end = (start + STRIP).min(pairs);
            for (lane, row) in rows.chunks_exact(row_len).enumerate() {
                for (pair, b) in (start..end).zip(row[4 * start..4 * end].chunks_exact(4)) {
                    let bytes = [
                        b[0] & 15 | b[2] << 4,
                        b[0] >> 4 | b[2] & 0xF0,
                        b[1] & 15 | b[3] << 4,
                        b[1] >> 4 | b[3] & 0xF0,
                    ];
                    packed[pair * LANES + lane] = u32::from_ne_bytes(bytes);
                }
            }
        }
    });
    packed.into_bytes()
}
