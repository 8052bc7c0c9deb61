//! What tests of kernels share: seeded values, this machine's instruction sets, and bits to compare.

// Each test program is compiled with its own copy and uses a part of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::num::NonZeroUsize;

use moshi_cpu::cores::Cores;
use moshi_cpu::isa::Isa;

/// Values in -1..1 from a counter: the same on every machine.
pub(crate) fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// An instruction set of this machine on some threads.
pub(crate) fn cores(isa: Isa, threads: usize) -> Cores {
    Cores::with_isa(isa, NonZeroUsize::new(threads).unwrap()).unwrap()
}

/// The scalar twin on one thread.
pub(crate) fn portable() -> Cores {
    cores(Isa::Portable, 1)
}

/// Every instruction set of this machine, on one thread and on three; the scalar twin first.
pub(crate) fn all_cores() -> Vec<Cores> {
    Isa::available().flat_map(|isa| [cores(isa, 1), cores(isa, 3)]).collect()
}

/// To compare exactly, whatever a value is.
pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}
