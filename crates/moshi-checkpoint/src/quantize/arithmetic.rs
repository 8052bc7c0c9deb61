//! The arithmetic of scales: sums, extremes and rounding over many weights at a time.

/// Lanes that sums are kept in, so that the compiler can use the vector registers of any machine.
pub(super) const LANES: usize = 8;

/// Added to a number below 2^22 and taken away again, it rounds to the nearest whole one, halves to even.
pub(super) const ROUND: f32 = 12_582_912.0;

/// `y` between `low` and `high`, and to the nearest whole number.
#[inline(always)]
pub(super) fn whole(y: f32, low: f32, high: f32) -> f32 {
    let y = if y > low { y } else { low };
    let y = if y < high { y } else { high };
    (y + ROUND) - ROUND
}

/// What a scale is multiplied with instead of divided by; zero for a scale of zero.
pub(super) fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Sums of up to three terms over all of `x`, whose length is a multiple of [`LANES`] but for a rest that is summed alone.
#[inline(always)]
pub(super) fn sums<const N: usize>(x: &[f32], terms: impl Fn(f32) -> [f32; N]) -> [f32; N] {
    let mut lanes = [[0f32; LANES]; N];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            let terms = terms(chunk[i]);
            for n in 0..N {
                lanes[n][i] += terms[n];
            }
        }
    }
    let mut total = lanes.map(|lanes| lanes.iter().sum::<f32>());
    for &x in rest {
        let terms = terms(x);
        (0..N).for_each(|n| total[n] += terms[n]);
    }
    total
}

/// The smallest and the largest of `x`; zeros of none.
pub(super) fn extremes(x: &[f32]) -> (f32, f32) {
    let Some(&first) = x.first() else { return (0.0, 0.0) };
    let (mut low, mut high) = ([first; LANES], [first; LANES]);
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            low[i] = if chunk[i] < low[i] { chunk[i] } else { low[i] };
            high[i] = if chunk[i] > high[i] { chunk[i] } else { high[i] };
        }
    }
    let low = low.iter().chain(rest).fold(first, |m, &x| if x < m { x } else { m });
    (low, high.iter().chain(rest).fold(first, |m, &x| if x > m { x } else { m }))
}

/// Pairs of integers below 16 as bytes, the first in the lower half.
pub(super) fn pack_pairs(integers: &[u8], out: &mut [u8]) {
    for (pair, byte) in integers.as_chunks::<2>().0.iter().zip(out) {
        *byte = pair[0] | pair[1] << 4;
    }
}
