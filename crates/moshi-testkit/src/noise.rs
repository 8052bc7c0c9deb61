//! Seeded numbers without a dependency: the same on every machine.

/// The `index`-th 64-bit number of stream `seed` (the finaliser of SplitMix64 over a Weyl sequence).
pub fn bits(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The `index`-th number of stream `seed`, uniform in -1..1.
pub fn uniform(seed: u64, index: u64) -> f32 {
    ((bits(seed, index) >> 40) as f32 / (1u64 << 23) as f32) - 1.0
}

/// `len` numbers uniform in -1..1.
pub fn signal(seed: u64, len: usize) -> Vec<f32> {
    (0..len as u64).map(|i| uniform(seed, i)).collect()
}

/// A seed made of text.
pub fn seed_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
