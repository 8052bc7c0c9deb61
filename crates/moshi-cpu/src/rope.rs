//! Rotary embedding: angles of positions, and the rotation of a head.

/// Which channels of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// Channels 2i and 2i + 1.
    Interleaved,
    /// Channels i and i + d/2.
    Halves,
}

/// Cosines and sines of the positions of one step, for heads of one width.
///
/// Angles are taken in double precision: a position of 10^9 (two years of frames) is still exact to 10^-7.
#[derive(Debug)]
pub struct Rotations {
    pairs: Pairs,
    max_period: f32,
    /// Angle per position of each pair.
    frequencies: Vec<f64>,
    /// The positions for which `factors` holds, and how many steps follow each.
    key: (Vec<u64>, usize),
    /// `[active row, t, pair]` of (cosine, sine).
    factors: Vec<(f32, f32)>,
}

impl Rotations {
    /// Rotations of heads of `head_dim` channels, for no positions yet.
    pub fn new(head_dim: usize, max_period: f32, pairs: Pairs) -> Self {
        let frequency = |i: usize| f64::from(max_period).powf(-2.0 * i as f64 / head_dim as f64);
        let frequencies = (0..head_dim / 2).map(frequency).collect();
        Self { pairs, max_period, frequencies, key: (Vec::new(), 0), factors: Vec::new() }
    }

    /// Whether these are rotations of this kind.
    pub fn is(&self, head_dim: usize, max_period: f32, pairs: Pairs) -> bool {
        self.frequencies.len() == head_dim / 2 && self.max_period == max_period && self.pairs == pairs
    }

    /// Takes the positions of a step: `t` from each of `positions` on. Free when they are those of the last call, as
    /// they are in all layers of a transformer but the first.
    pub fn prepare(&mut self, positions: impl Iterator<Item = u64> + Clone, t: usize) {
        if self.key.1 == t && positions.clone().eq(self.key.0.iter().copied()) {
            return;
        }
        self.key.0.clear();
        self.key.0.extend(positions);
        self.key.1 = t;
        self.factors.clear();
        for &position in &self.key.0 {
            for i in 0..t as u64 {
                let p = (position + i) as f64;
                self.factors.extend(self.frequencies.iter().map(|f| {
                    let (sin, cos) = (p * f).sin_cos();
                    (cos as f32, sin as f32)
                }));
            }
        }
    }

    /// Channels of a head.
    pub(crate) fn head_dim(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// For how many rows positions are prepared.
    pub(crate) fn rows(&self) -> usize {
        self.key.0.len()
    }

    /// How many positions are prepared for each row.
    pub(crate) fn steps(&self) -> usize {
        self.key.1
    }

    /// The prepared position of a row, counted among the prepared ones, at one of its steps.
    pub(crate) fn index(&self, row: usize, step: usize) -> usize {
        row * self.key.1 + step
    }

    /// Rotates `x [head_dim]` by the angles of prepared position `index`, times `scale`, into `y`.
    pub(crate) fn rotate(&self, index: usize, scale: f32, x: &[f32], y: &mut [f32]) {
        let half = self.frequencies.len();
        let factors = &self.factors[index * half..(index + 1) * half];
        match self.pairs {
            Pairs::Interleaved => {
                for ((y, x), &(cos, sin)) in y.chunks_exact_mut(2).zip(x.chunks_exact(2)).zip(factors) {
                    (y[0], y[1]) = turn(x[0] * scale, x[1] * scale, cos, sin);
                }
            }
            Pairs::Halves => {
                let (low, high) = y.split_at_mut(half);
                for (i, &(cos, sin)) in factors.iter().enumerate() {
                    (low[i], high[i]) = turn(x[i] * scale, x[half + i] * scale, cos, sin);
                }
            }
        }
    }
}

fn turn(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, a * sin + b * cos)
}
