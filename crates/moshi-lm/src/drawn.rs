//! What a step writes on the device.

use moshi_nn::Backend;

/// What a step writes for each row on the device.
pub(crate) struct Drawn<B: Backend> {
    /// `[rows, written]`.
    pub(crate) tokens: B::Ids,
    /// The text token as two, `[rows, 2]`, in models with two text streams: first that which is read, then that which
    /// was decided.
    pub(crate) pairs: B::Ids,
    /// What was found wrong, `[rows]`: see [`Fault`](moshi_nn::Fault).
    pub(crate) status: B::Ids,
}

impl<B: Backend> Drawn<B> {
    /// Nothing drawn for `rows` rows yet.
    pub(crate) fn new(backend: &B, rows: usize, written: usize) -> moshi_nn::Result<Self> {
        Ok(Self { tokens: backend.ids(rows * written)?, pairs: backend.ids(rows * 2)?, status: backend.ids(rows)? })
    }
}
