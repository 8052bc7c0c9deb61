//! The block formats of GGUF tensors, taken apart without rounding.
//!
//! Each format stores a fixed number of weights of a row in a block: integers of two to eight bits, scales, and for
//! some a minimum. All are `value * scale + bias` over groups of 16 or 32 neighbours, which is what [`Grouped`] holds.
//! Scales of sub-blocks are products of a half-precision number and an integer of at most eight bits, which are exact
//! in single precision; so the weights are those that the format defines, to the bit.
//!
//! The layouts are facts of the ggml library's block definitions; `tests/fixtures/gguf` holds random blocks of every
//! format beside what the Python package `gguf` makes of them.

use std::borrow::Cow;
use std::fmt;

use half::f16;
use moshi_tensor::weight::{Grouped, Quants};

/// A block format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocks {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
}

/// Weights of a block whose name ends in `_K`.
const SUPER: usize = 256;

/// The sixteen values of the `IQ4` formats, in steps that are finer near zero.
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

impl Blocks {
    /// By the number that GGUF files give a tensor type.
    pub(crate) fn of(kind: u32) -> Option<Self> {
        Some(match kind {
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2K,
            11 => Self::Q3K,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            20 => Self::Iq4Nl,
            23 => Self::Iq4Xs,
            _ => return None,
        })
    }

    /// Weights and bytes of a block.
    pub(crate) fn size(self) -> (usize, usize) {
        match self {
            Self::Q4_0 | Self::Iq4Nl => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (SUPER, 84),
            Self::Q3K => (SUPER, 110),
            Self::Q4K => (SUPER, 144),
            Self::Q5K => (SUPER, 176),
            Self::Q6K => (SUPER, 210),
            Self::Iq4Xs => (SUPER, 136),
        }
    }

    /// How the weights are kept, and in groups of how many.
    fn kept_as(self) -> (Quants, usize) {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => (Quants::U4, 32),
            Self::Q2K | Self::Q3K => (Quants::U4, 16),
            Self::Q5_1 | Self::Q5K => (Quants::U8, 32),
            Self::Q5_0 | Self::Q8_0 | Self::Iq4Nl | Self::Iq4Xs => (Quants::I8, 32),
            Self::Q6K => (Quants::I8, 16),
        }
    }

    /// Takes whole blocks apart.
    pub(crate) fn unpack(self, bytes: &[u8]) -> Grouped<'static> {
        let (weights, size) = self.size();
        let (quants, group) = self.kept_as();
        let count = bytes.len() / size * weights;
        let packed = vec![0; count * quants.bits() / 8];
        let biases = if quants.has_biases() { count / group } else { 0 };
        let mut out = Taken { packed, scales: vec![0.0; count / group], biases: vec![0.0; biases] };
        let (quant_bytes, groups) = (weights * quants.bits() / 8, weights / group);
        for (i, block) in bytes.chunks_exact(size).enumerate() {
            let biases = if quants.has_biases() { i * groups..(i + 1) * groups } else { 0..0 };
            self.block(Slot {
                block,
                quants: &mut out.packed[i * quant_bytes..(i + 1) * quant_bytes],
                scales: &mut out.scales[i * groups..(i + 1) * groups],
                biases: &mut out.biases[biases],
            });
        }
        let Taken { packed, scales, biases } = out;
        Grouped { quants, group, packed: Cow::Owned(packed), scales: Cow::Owned(scales), biases: Cow::Owned(biases) }
    }

    fn block(self, slot: Slot<'_>) {
        match self {
            Self::Q4_0 => q4_0(slot),
            Self::Q4_1 => q4_1(slot),
            Self::Q5_0 => q5_0(slot),
            Self::Q5_1 => q5_1(slot),
            Self::Q8_0 => q8_0(slot),
            Self::Q2K => q2_k(slot),
            Self::Q3K => q3_k(slot),
            Self::Q4K => q4_k(slot),
            Self::Q5K => q5_k(slot),
            Self::Q6K => q6_k(slot),
            Self::Iq4Nl => iq4_nl(slot),
            Self::Iq4Xs => iq4_xs(slot),
        }
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Iq4Nl => "IQ4_NL",
            Self::Iq4Xs => "IQ4_XS",
        })
    }
}

/// Room for all blocks.
struct Taken {
    packed: Vec<u8>,
    scales: Vec<f32>,
    biases: Vec<f32>,
}

/// One block, and where its parts go.
struct Slot<'a> {
    block: &'a [u8],
    quants: &'a mut [u8],
    scales: &'a mut [f32],
    biases: &'a mut [f32],
}

impl Slot<'_> {
    /// The half-precision number at a byte of the block.
    fn half(&self, at: usize) -> f32 {
        f16::from_le_bytes([self.block[at], self.block[at + 1]]).to_f32()
    }
}

/// Sixteen bytes or more whose lower halves are the first half of the weights, to neighbours in a byte.
fn neighbours(halves: &[u8], out: &mut [u8]) {
    let (low, high) = out.split_at_mut(halves.len() / 2);
    for ((pair, low), high) in halves.as_chunks::<2>().0.iter().zip(low).zip(high) {
        let [first, second] = *pair;
        *low = (first & 15) | (second << 4);
        *high = (first >> 4) | (second & 0xf0);
    }
}

/// The same, one weight a byte, each made of its half and its place.
fn widened(halves: &[u8], out: &mut [u8], value: impl Fn(usize, u8) -> u8) {
    let (low, high) = out.split_at_mut(halves.len());
    for (i, ((&both, low), high)) in halves.iter().zip(low).zip(high).enumerate() {
        *low = value(i, both & 15);
        *high = value(i + halves.len(), both >> 4);
    }
}

/// d, then 32 x 4 bits: (q - 8) * d.
fn q4_0(slot: Slot<'_>) {
    let d = slot.half(0);
    (slot.scales[0], slot.biases[0]) = (d, -8.0 * d);
    neighbours(&slot.block[2..18], slot.quants);
}

/// d, m, then 32 x 4 bits: q * d + m.
fn q4_1(slot: Slot<'_>) {
    (slot.scales[0], slot.biases[0]) = (slot.half(0), slot.half(2));
    neighbours(&slot.block[4..20], slot.quants);
}

/// The fifth bits of 32 weights, from four bytes.
fn fifth(bits: &[u8]) -> impl Fn(usize) -> u8 {
    let bits = u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]);
    move |i| ((bits >> i & 1) as u8) << 4
}

/// d, 32 fifth bits, then 32 x 4 bits: (q - 16) * d.
fn q5_0(slot: Slot<'_>) {
    slot.scales[0] = slot.half(0);
    let fifth = fifth(&slot.block[2..6]);
    widened(&slot.block[6..22], slot.quants, |i, q| (q | fifth(i)).wrapping_sub(16));
}

/// d, m, 32 fifth bits, then 32 x 4 bits: q * d + m.
fn q5_1(slot: Slot<'_>) {
    (slot.scales[0], slot.biases[0]) = (slot.half(0), slot.half(2));
    let fifth = fifth(&slot.block[4..8]);
    widened(&slot.block[8..24], slot.quants, |i, q| q | fifth(i));
}

/// d, then 32 signed bytes: q * d.
fn q8_0(slot: Slot<'_>) {
    slot.scales[0] = slot.half(0);
    slot.quants.copy_from_slice(&slot.block[2..34]);
}

/// Two bits of each of 256 weights, in the order of the weights: runs of 128 over 32 bytes, four shifts each.
fn two_bits(quarters: &[u8]) -> impl Iterator<Item = u8> {
    quarters.chunks_exact(32).flat_map(|bytes| (0..4).flat_map(move |j| bytes.iter().map(move |b| b >> (2 * j) & 3)))
}

/// Fills bytes with pairs of neighbours.
fn pairs(mut weights: impl Iterator<Item = u8>, out: &mut [u8]) {
    for byte in out {
        let first = weights.next().unwrap_or(0);
        *byte = first | weights.next().unwrap_or(0) << 4;
    }
}

/// 16 x (4 bits of scale, 4 of minimum), 256 x 2 bits, d, dmin: q * (d * scale) - dmin * minimum.
fn q2_k(slot: Slot<'_>) {
    let (d, dmin) = (slot.half(80), slot.half(82));
    for (i, &both) in slot.block[..16].iter().enumerate() {
        slot.scales[i] = d * f32::from(both & 15);
        slot.biases[i] = -(dmin * f32::from(both >> 4));
    }
    pairs(two_bits(&slot.block[16..80]), slot.quants);
}

/// 256 third bits, 256 x 2 bits, 16 x 6 bits of scale, d: (q - 4) * (d * (scale - 32)). Four are added to q so that the
/// middle is where four-bit formats have it.
fn q3_k(slot: Slot<'_>) {
    let (high, low, scales) = (&slot.block[..32], &slot.block[32..96], &slot.block[96..108]);
    let d = slot.half(108);
    for (i, (scale, bias)) in slot.scales.iter_mut().zip(slot.biases).enumerate() {
        let four = if i < 8 { scales[i] & 15 } else { scales[i - 8] >> 4 };
        let two = scales[8 + i % 4] >> (2 * (i / 4)) & 3;
        *scale = d * (f32::from(four | two << 4) - 32.0);
        *bias = -8.0 * *scale;
    }
    let third = (0..8).flat_map(|bit| high.iter().map(move |h| (h >> bit & 1) << 2));
    pairs(two_bits(low).zip(third).map(|(q, third)| (q | third) + 4), slot.quants);
}

/// The eight scales and minima of six bits that `Q4_K` and `Q5_K` keep in twelve bytes.
fn six_bits(bytes: &[u8], i: usize) -> (u8, u8) {
    if i < 4 {
        (bytes[i] & 63, bytes[i + 4] & 63)
    } else {
        let (four, scale, minimum) = (bytes[i + 4], bytes[i - 4] >> 6, bytes[i] >> 6);
        (four & 15 | scale << 4, four >> 4 | minimum << 4)
    }
}

/// d, dmin and twelve bytes of scales and minima: (d * scale, -dmin * minimum) of 8 groups of 32.
fn eight_groups(slot: &mut Slot<'_>) {
    let (d, dmin) = (slot.half(0), slot.half(2));
    for i in 0..8 {
        let (scale, minimum) = six_bits(&slot.block[4..16], i);
        slot.scales[i] = d * f32::from(scale);
        slot.biases[i] = -(dmin * f32::from(minimum));
    }
}

/// Scales of eight groups, 256 x 4 bits: q * (d * scale) - dmin * minimum.
fn q4_k(mut slot: Slot<'_>) {
    eight_groups(&mut slot);
    for (halves, out) in slot.block[16..144].chunks_exact(32).zip(slot.quants.chunks_exact_mut(32)) {
        neighbours(halves, out);
    }
}

/// Scales of eight groups, 256 fifth bits, 256 x 4 bits: q * (d * scale) - dmin * minimum.
fn q5_k(mut slot: Slot<'_>) {
    eight_groups(&mut slot);
    let (fifth, halves) = slot.block[16..176].split_at(32);
    for (j, (halves, out)) in halves.chunks_exact(32).zip(slot.quants.chunks_exact_mut(64)).enumerate() {
        widened(halves, out, |i, q| q | (fifth[i % 32] >> (2 * j + i / 32) & 1) << 4);
    }
}

/// 256 x 4 bits, 256 x 2 bits, 16 signed scales, d: (q - 32) * (d * scale).
fn q6_k(slot: Slot<'_>) {
    let d = slot.half(208);
    for (scale, &byte) in slot.scales.iter_mut().zip(&slot.block[192..208]) {
        *scale = d * f32::from(byte as i8);
    }
    let (fours, twos) = (slot.block[..128].chunks_exact(64), slot.block[128..192].chunks_exact(32));
    for ((fours, twos), out) in fours.zip(twos).zip(slot.quants.chunks_exact_mut(128)) {
        // Low halves of 64 bytes, then high halves; each run of 32 has its own two bits of the same 32 bytes.
        widened(fours, out, |i, q| (q | (twos[i % 32] >> (2 * (i / 32)) & 3) << 4).wrapping_sub(32));
    }
}

/// d, then 32 x 4 bits: the value of q, times d.
fn iq4_nl(slot: Slot<'_>) {
    slot.scales[0] = slot.half(0);
    widened(&slot.block[2..18], slot.quants, |_, q| IQ4[usize::from(q & 15)] as u8);
}

/// d, 8 x (2 bits, then 4 bits) of scale, 256 x 4 bits: the value of q, times d * (scale - 32).
fn iq4_xs(slot: Slot<'_>) {
    let d = slot.half(0);
    let high = u16::from_le_bytes([slot.block[2], slot.block[3]]);
    for (i, scale) in slot.scales.iter_mut().enumerate() {
        let four = slot.block[4 + i / 2] >> (4 * (i % 2)) & 15;
        let two = (high >> (2 * i) & 3) as u8;
        *scale = d * (f32::from(four | two << 4) - 32.0);
    }
    for (halves, out) in slot.block[8..136].chunks_exact(16).zip(slot.quants.chunks_exact_mut(32)) {
        widened(halves, out, |_, q| IQ4[usize::from(q & 15)] as u8);
    }
}
