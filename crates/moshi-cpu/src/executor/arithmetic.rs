//! How much the executor rounds.

/// How much is rounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// Activations, keys and values in single precision, whatever the weights: what the reference executor computes.
    #[default]
    Exact,
    /// Activations in bytes with a scale for every 32 of them where weights are integers, keys and values in bfloat16:
    /// several times as fast with quantized weights, for an error far below that of the quantized weights themselves.
    Fast,
    /// For a codec: weights and activations as integers of about 14 bits with scales (see [`crate::fixed`]),
    /// twice as fast where multiplying is the limit, and half the bytes of single precision where memory is. Weights
    /// that the file holds quantized, and shapes that do not divide into blocks of 16, stay as they are.
    Fixed,
    /// As [`Arithmetic::Fixed`], with weights of linear layers and of the widest convolutions in 8 bits, keys and values
    /// in bfloat16: what is only heard does not need more.
    FixedNarrow,
}
