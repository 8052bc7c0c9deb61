//! Which vectors a product reads and writes.

/// Distances, in values, between the vectors of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stride {
    /// From one row (session) to the next.
    pub row: usize,
    /// From one column (time step) to the next.
    pub column: usize,
}

/// How the inputs of one output column lie: `count` runs of `len` values, `distance` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taps {
    /// Number of runs.
    pub count: usize,
    /// Values of a run.
    pub len: usize,
    /// From the start of one run to the next.
    pub distance: usize,
}

/// Which vectors a product reads and writes: for every row of `rows` and every column below `columns`, the input at
/// `row * x.row + column * x.column` (in runs, see [`Taps`]) and the output at `row * y.row + column * y.column`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout<'a> {
    /// The rows to compute, ascending.
    pub rows: &'a [usize],
    /// Columns of each row.
    pub columns: usize,
    /// Where inputs lie.
    pub x: Stride,
    /// Where outputs lie.
    pub y: Stride,
    /// How an input lies.
    pub taps: Taps,
}
