//! The operations a model step is made of, and what an executor must provide.
//!
//! A model step is straight-line code on a [`Backend`]: every operation goes from given buffers into given buffers, and
//! positions, active rows and sampled tokens live in buffers too, so that nothing in a step waits for the host.
//!
//! **Stretches.** What runs between two visits of the host is a stretch, and runs inside of [`Backend::replay`]. Before
//! it, rows ([`Backend::put_rows`]), inputs and flags go up; after it, results and a status word for each row come back.
//! Inside, an operation allocates nothing, locks nothing, waits for nothing, and returns no error that depends on what
//! the buffers hold: so the calls of a stretch are the same whatever rows run and wherever they are, and an executor may
//! record them once for each [`Plan`] and replay them for ever.
//!
//! **Layout.** Activations are `[b, t, c]`, channels last, contiguous: `b` rows (sessions), `t` time steps of this step
//! (the same for every row), `c` channels. Channels last makes a causal convolution a matrix product over overlapping
//! windows without copying, and makes a transposed convolution with kernel = 2 x stride a convolution of kernel 2.
//! A buffer may be longer than an operation needs; the operation uses its beginning.
//!
//! **Rows.** Operations compute active rows only; what an activation buffer holds for inactive rows afterwards is
//! unspecified, but *memory* (rings, windows, positions, samplers) of inactive rows stays as it is, bit for bit.
//! The result of a row never depends on which other rows are active: the same bits alone or among others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use moshi_tensor::sample::{MAX_PENALTY_CONTEXT, RowSampling, SamplingParams, SilentTokens, Stream};
use moshi_tensor::weight::HostWeight;

use crate::{LowRankPair, Result};

/// How positions are turned into rotations of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Longest period of the rotation frequencies (`max_period`, 10,000 in Moshi 7B).
    pub max_period: f32,
    /// Which channels form a pair.
    pub layout: RopeLayout,
}

/// Which channels of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// Channels 2i and 2i + 1 (`rope`).
    Interleaved,
    /// Channels i and i + d/2 (`rope_concat`).
    Halves,
}

/// A rotation that heads of some width need at every position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadRope {
    /// Channels per head.
    pub head_dim: usize,
    /// How they are rotated.
    pub rope: Rope,
}

/// The time steps that an operation runs for each row: `t` of those that were put, beginning with the step `first`.
///
/// A row that was put at position p is at p + `first` then. Only a stretch that comes back to the same rows several times
/// (the depth transformer, a codebook at a time) begins at another step than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Steps of the stretch that came before.
    pub first: usize,
    /// Number of steps.
    pub t: usize,
}

/// Which stretch of calls is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stretch {
    /// Samples to codes.
    Encode,
    /// Codes and tokens read to tokens drawn: temporal transformer, text, depth transformer.
    Think,
    /// The first part of [`Stretch::Think`], where the host decides about the text token before the second: temporal
    /// transformer and text.
    Text,
    /// The second part: the depth transformer, `t` codebooks of it.
    Depth,
    /// Codes to samples.
    Decode,
}

/// What decides which calls a stretch makes. Two stretches of one state with equal plans make equal calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Plan {
    /// Which stretch.
    pub stretch: Stretch,
    /// How many rows are active (not which).
    pub rows: usize,
    /// Time steps of each; codebooks of a [`Stretch::Depth`].
    pub t: usize,
}

/// The shape of an attention operation. Input `[b, t, (heads + 2 * kv_heads) * head_dim]`: queries, then keys, then values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; `heads` is a multiple of it, query head i reads key head i / (heads / kv_heads).
    pub kv_heads: usize,
    /// Channels per head.
    pub head_dim: usize,
    /// A query at position p sees keys p - context < k <= p, whatever the chunking.
    pub context: usize,
    /// Rotary embedding, if any.
    pub rope: Option<Rope>,
}

/// How much is rounded in a part of a model, chosen when it is loaded. An executor that has no faster way computes as if it
/// were `Exact`, whatever is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// Activations, keys and values in single precision, whatever the weights: what the reference executor computes.
    #[default]
    Exact,
    /// For a language model: activations in bytes with a scale for every 32 of them where weights are integers, keys and
    /// values in bfloat16. Several times as fast with quantized weights, for an error far below that of the quantized
    /// weights themselves.
    Fast,
    /// For a codec: weights and activations as integers of about 14 bits with scales, twice as fast where multiplying is the
    /// limit, and half the bytes of single precision where memory is. Weights that the file holds quantized, and shapes that
    /// do not divide into blocks of 16, stay as they are.
    Fixed,
    /// As `Fixed`, with weights of linear layers and of the widest convolutions in 8 bits, keys and values in bfloat16: what
    /// is only heard, never chosen from, does not need more.
    FixedNarrow,
}

impl Precision {
    /// That of a part whose output is only heard, never chosen from.
    pub fn of_sound(self) -> Self {
        if self == Self::Fixed { Self::FixedNarrow } else { self }
    }
}

/// What a weight matrix is multiplied with, and how finely.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MatrixSpec {
    /// How much is rounded.
    pub precision: Precision,
    /// Of a convolution, the values of a column: its weights are `[n, taps * channels]`, for [`Backend::conv_step`] with a
    /// window of as many channels and the same precision.
    pub conv_channels: Option<usize>,
}

impl MatrixSpec {
    /// For [`Backend::linear`].
    pub fn linear(precision: Precision) -> Self {
        Self { precision, conv_channels: None }
    }

    /// For [`Backend::conv_step`] over columns of so many channels.
    pub fn conv(precision: Precision, channels: usize) -> Self {
        Self { precision, conv_channels: Some(channels) }
    }
}

/// The memory of an attention layer for all rows: a ring of `context + max_chunk - 1` keys and values a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RingSpec {
    /// Number of rows.
    pub rows: usize,
    /// The attention that uses the ring.
    pub attention: AttentionSpec,
    /// Longest `t` of a step that goes on beyond the ring's first `context + max_chunk - 1` positions. Before that nothing
    /// is overwritten, and a step is as long as there is room.
    pub max_chunk: usize,
    /// How much keys and values are rounded.
    pub precision: Precision,
}

/// What stands before the first sample of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Zeros.
    Zero,
    /// The first input column, repeated (Mimi's downsampling).
    Replicate,
}

/// The memory of a causal convolution for all rows: the last `history` input columns of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSpec {
    /// Number of rows.
    pub rows: usize,
    /// Input channels.
    pub channels: usize,
    /// Columns kept: effective kernel - stride of a convolution, ceil(kernel / stride) - 1 of a transposed one.
    pub history: usize,
    /// Longest number of input columns of a step.
    pub max_chunk: usize,
    /// What stands before the first column.
    pub padding: Padding,
    /// How much columns are rounded: as the weights are that they are multiplied with.
    pub precision: Precision,
}

/// The shape of a causal convolution over `[b, t, c_in]`. Its weights are a matrix `[c_out, kernel * c_in]`, columns
/// ordered tap-major (`[c_out][tap][c_in]`). `t` is a multiple of `stride`; there are t / stride output columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSpec {
    /// Number of taps.
    pub kernel: usize,
    /// Input columns per output column.
    pub stride: usize,
    /// Distance of neighbouring taps.
    pub dilation: usize,
    /// ELU (alpha 1) applied to the input before the product.
    pub elu_input: bool,
}

/// Memory that was asked of an executor, whether or not it has been given back.
///
/// What a session takes is the difference that another row of a state makes, so that nothing needs to be counted twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bytes of weights as they were laid out: matrices, pairs, tables, codebooks.
    pub weights: u64,
    /// Bytes of everything else: keys and values, windows, buffers to compute in.
    pub memory: u64,
}

/// Counts what is asked of an executor; its clones count together.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<[AtomicU64; 2]>);

impl Meter {
    /// Counts weights as they are laid out.
    pub fn weights(&self, bytes: usize) {
        self.0[0].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts memory.
    pub fn memory(&self, bytes: usize) {
        self.0[1].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn taken(&self) -> Taken {
        let [weights, memory] = [0, 1].map(|i| self.0[i].load(Ordering::Relaxed));
        Taken { weights, memory }
    }
}

/// In a buffer of forced tokens: the model draws.
pub const FREE: i32 = -1;
/// In a buffer of forced tokens: nothing is said, and nothing drawn.
pub const NOTHING: i32 = -2;

/// An executor: memory and about twenty operations. See the module documentation for layout and rows.
///
/// Errors are reported for shapes that do not fit and for failures of the device; no operation panics. What is wrong with
/// the data of one row is no error: the operations that look at data write a word for the row into a status buffer
/// `[b]` (see [`Fault`](crate::Fault)), whose rows without a fault stay as they are, and all other rows get the bits that
/// they would get alone.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Activations or constant vectors, f32.
    type Buf: Send + Sync;
    /// Token or code indices, i32; -1 means "nothing here".
    type Ids: Send + Sync;
    /// A weight matrix `[n, k]` with an optional bias `[n]`, laid out for this executor.
    type Matrix: Send + Sync;
    /// An embedding table `[v, d]`.
    type Table: Send + Sync;
    /// Embedding tables of one shape, of which each row reads its own.
    type Tables: Send + Sync;
    /// A VQ codebook `[bins, d]` with what the nearest-code search needs.
    type Codebook: Send + Sync;
    /// Keys and values of one attention layer, all rows.
    type Ring: Send + Sync;
    /// The last input columns of one convolution, all rows.
    type Window: Send + Sync;
    /// Which rows are active, and where each of them is.
    type Rows: Send + Sync;
    /// Low-rank pairs of one matrix, each added to its output for the rows that ask for it.
    type LowRank: Send + Sync;
    /// What [`Backend::replay`] keeps of the stretches of one state.
    type Recordings: Default + Send + Sync;
    /// Sampling parameters and penalty memory of every row.
    type Sampler: Send + Sync;

    /// Short name of the executor: `cpu`, `candle-cpu`, `cuda`.
    fn name(&self) -> &'static str;

    // ---- constants -------------------------------------------------------------------------------------------------
    /// Lays out a weight matrix `[n, k]`; `bias` has n values.
    fn matrix(&self, weight: &HostWeight<'_>, bias: Option<&[f32]>, spec: MatrixSpec) -> Result<Self::Matrix>;
    /// Lays out the low-rank pairs of a matrix; `None` for an adapter that leaves this matrix as it is.
    fn low_rank(&self, pairs: &[Option<LowRankPair<'_>>]) -> Result<Self::LowRank>;
    /// Lays out an embedding table `[v, d]`.
    fn table(&self, weight: &HostWeight<'_>) -> Result<Self::Table>;
    /// Lays out embedding tables `[v, d]` for [`Backend::embed_chosen`]. The first is there; after it `None` stands for the
    /// first.
    fn tables(&self, weights: &[Option<HostWeight<'_>>]) -> Result<Self::Tables>;
    /// Lays out a codebook `[bins, d]`.
    fn codebook(&self, vectors: &[f32], bins: usize) -> Result<Self::Codebook>;

    /// Bytes that a product with the matrix reads.
    fn matrix_bytes(&self, matrix: &Self::Matrix) -> usize;
    /// Bytes of all pairs.
    fn low_rank_bytes(&self, pairs: &Self::LowRank) -> usize;
    /// Bytes of a table; an embedding reads one entry of it.
    fn table_bytes(&self, table: &Self::Table) -> usize;
    /// Bytes of all tables.
    fn tables_bytes(&self, tables: &Self::Tables) -> usize;
    /// Bytes that a search of the nearest code reads.
    fn codebook_bytes(&self, codebook: &Self::Codebook) -> usize;
    /// Bytes that were asked of this executor and its clones since it was made.
    fn taken(&self) -> Taken;

    // ---- memory ----------------------------------------------------------------------------------------------------
    /// A buffer of `len` zeros.
    fn buf(&self, len: usize) -> Result<Self::Buf>;
    /// An index buffer of `len` zeros.
    fn ids(&self, len: usize) -> Result<Self::Ids>;
    /// Copies `src` to the beginning of `dst`.
    fn upload(&self, src: &[f32], dst: &mut Self::Buf) -> Result<()>;
    /// Copies the beginning of `src` to `dst`.
    fn download(&self, src: &Self::Buf, dst: &mut [f32]) -> Result<()>;
    /// Copies `src` to the beginning of `dst`.
    fn upload_ids(&self, src: &[i32], dst: &mut Self::Ids) -> Result<()>;
    /// Copies the beginning of `src` to `dst`.
    fn download_ids(&self, src: &Self::Ids, dst: &mut [i32]) -> Result<()>;
    /// The memory of an attention layer, empty.
    fn ring(&self, spec: &RingSpec) -> Result<Self::Ring>;
    /// The memory of a convolution, as before the first sample. (That of [`Backend::upsample_step`] is
    /// [`Precision::Exact`]: nothing is multiplied there but values one by one.)
    fn window(&self, spec: &WindowSpec) -> Result<Self::Window>;
    /// `count` rows, none active until [`Backend::put_rows`]; heads are rotated as `ropes` say.
    fn rows(&self, count: usize, ropes: &[HeadRope]) -> Result<Self::Rows>;
    /// Samplers of `count` rows over text logits of `text_card` entries. All rows start greedy with seed 0.
    fn sampler(&self, count: usize, silent: SilentTokens) -> Result<Self::Sampler>;

    /// Before a stretch: which rows it runs, and the position (time steps since its reset) at which each of them begins
    /// its `t` steps. One flag and one position a row, active or not.
    fn put_rows(&self, rows: &mut Self::Rows, active: &[bool], positions: &[u64], t: usize) -> Result<()>;
    /// Sets the parameters of one row and forgets its penalty memory.
    fn set_sampling(&self, sampler: &mut Self::Sampler, row: usize, params: &RowSampling) -> Result<()>;

    /// Before a session comes into a row: makes sure that its keys and values can be kept.
    ///
    /// # Errors
    /// When the memory is not there.
    fn reserve_ring(&self, ring: &mut Self::Ring, row: usize) -> Result<()> {
        let _ = (ring, row);
        Ok(())
    }
    /// After a session has left a row: gives the memory of its keys and values back, where the executor can. The row
    /// reads nothing of it again, as after a reset.
    fn release_ring(&self, ring: &mut Self::Ring, row: usize) {
        let _ = (ring, row);
    }

    /// One row's window as before the first sample.
    fn reset_window(&self, window: &mut Self::Window, row: usize) -> Result<()>;
    /// Copies one row's memory between two windows of the same spec but for the number of rows.
    fn copy_window(&self, src: &Self::Window, src_row: usize, dst: &mut Self::Window, dst_row: usize) -> Result<()>;
    /// Copies one row's keys and values between two rings of the same spec but for the number of rows.
    /// (A reset needs no counterpart: a row at position 0 reads nothing older.)
    fn copy_ring(&self, src: &Self::Ring, src_row: usize, dst: &mut Self::Ring, dst_row: usize) -> Result<()>;
    /// Makes the first `len` positions of one row's ring a memory that does not move: `kv [len, 2 * kv_heads * head_dim]`,
    /// keys then values of each position, none of them rotated. It is read by [`Backend::attend_ring`].
    fn fill_ring(&self, kv: &Self::Buf, len: usize, ring: &mut Self::Ring, row: usize) -> Result<()>;
    /// Copies one row's parameters and penalty memory.
    fn copy_sampler(&self, src: &Self::Sampler, src_row: usize, dst: &mut Self::Sampler, dst_row: usize) -> Result<()>;

    /// Runs a stretch: `record` makes its calls on this executor. Who can, keeps them in `recordings` (which belongs to
    /// the state whose buffers they use) and replays them the next time that `plan` comes.
    ///
    /// # Errors
    /// Those of the calls, and failures of the device: the active rows are lost then.
    fn replay(
        &self,
        recordings: &mut Self::Recordings,
        plan: Plan,
        record: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let _ = (recordings, plan);
        record()
    }

    // ---- operations ------------------------------------------------------------------------------------------------
    /// `y[b, t, n] = x[b, t, k] W^T (+ bias)`.
    fn linear(&self, rows: &Self::Rows, t: usize, x: &Self::Buf, w: &Self::Matrix, y: &mut Self::Buf) -> Result<()>;
    /// `y[b, t, n] += (x[b, t, k] down^T) up^T` with the pair `which[b]` of each row; nothing for a row that has -1.
    fn low_rank_add(
        &self,
        rows: &Self::Rows,
        t: usize,
        x: &Self::Buf,
        pairs: &Self::LowRank,
        which: &Self::Ids,
        y: &mut Self::Buf,
    ) -> Result<()>;
    /// `x[b, t, c] += scale[c] * y[b, t, c]`; without a scale, a plain sum.
    fn residual_add(
        &self,
        rows: &Self::Rows,
        t: usize,
        c: usize,
        y: &Self::Buf,
        scale: Option<&Self::Buf>,
        x: &mut Self::Buf,
    ) -> Result<()>;
    /// `y = x / sqrt(mean(x^2) + eps) * alpha` over the last dimension `c`.
    fn rms_norm(
        &self,
        rows: &Self::Rows,
        t: usize,
        x: &Self::Buf,
        alpha: &Self::Buf,
        c: usize,
        eps: f32,
        y: &mut Self::Buf,
    ) -> Result<()>;
    /// `y = (x - mean) / sqrt(var + eps) * weight + bias` over the last dimension `c`.
    #[allow(clippy::too_many_arguments)]
    fn layer_norm(
        &self,
        rows: &Self::Rows,
        t: usize,
        x: &Self::Buf,
        weight: &Self::Buf,
        bias: &Self::Buf,
        c: usize,
        eps: f32,
        y: &mut Self::Buf,
    ) -> Result<()>;
    /// Rotates queries and keys at the positions of `span`, writes keys and values to the ring, and attends:
    /// `qkv [b, t, (heads + 2 kv_heads) * head_dim]` -> `y [b, t, heads * head_dim]`. Scores are divided by sqrt(head_dim).
    fn rope_append_attend(
        &self,
        rows: &Self::Rows,
        span: Span,
        qkv: &Self::Buf,
        spec: &AttentionSpec,
        ring: &mut Self::Ring,
        y: &mut Self::Buf,
    ) -> Result<()>;
    /// Attends to what [`Backend::fill_ring`] put: every query of `q [b, t, heads * head_dim]` sees the first `lengths[b]`
    /// positions of its row and nothing else; `y [b, t, heads * head_dim]`, zeros where the length is 0. (A length
    /// outside of the ring is taken as the nearest inside of it.) Nothing is rotated; scores are divided by
    /// sqrt(head_dim).
    fn attend_ring(
        &self,
        rows: &Self::Rows,
        t: usize,
        q: &Self::Buf,
        lengths: &Self::Ids,
        ring: &Self::Ring,
        y: &mut Self::Buf,
    ) -> Result<()>;
    /// Guides rows by others: where `guides[b]` names a row g, the logits `[b, v]` of both rows become
    /// `logits[g] + coefficients[b] * (logits[b] - logits[g])`. Both rows run, and a row is in one pair at most; -1 leaves a
    /// row as it is, and so does an index that is no row.
    fn guide(
        &self,
        rows: &Self::Rows,
        v: usize,
        guides: &Self::Ids,
        coefficients: &Self::Buf,
        logits: &mut Self::Buf,
    ) -> Result<()>;
    /// `y[b, t, h] = silu(x[.., ..h]) * x[.., h..]` for `x [b, t, 2h]`.
    fn silu_gate(&self, rows: &Self::Rows, t: usize, x: &Self::Buf, h: usize, y: &mut Self::Buf) -> Result<()>;
    /// Exact (erf) GELU in place on `x [b, t, c]`.
    fn gelu(&self, rows: &Self::Rows, t: usize, c: usize, x: &mut Self::Buf) -> Result<()>;
    /// Causal convolution with memory: `x [b, t, c_in]` -> `y [b, t / stride, c_out]`; then keeps the last inputs. A row
    /// at position 0 has seen no column yet: under [`Padding::Replicate`] its first one fills the history.
    fn conv_step(
        &self,
        rows: &Self::Rows,
        t: usize,
        x: &Self::Buf,
        w: &Self::Matrix,
        spec: &ConvSpec,
        window: &mut Self::Window,
        y: &mut Self::Buf,
    ) -> Result<()>;
    /// Depthwise causal transposed convolution with kernel = 2 x stride and memory (Mimi's upsampling):
    /// `x [b, t, c]` -> `y [b, t * stride, c]`; `weight [kernel, c]`, tap-major; the window keeps one column.
    #[allow(clippy::too_many_arguments)]
    fn upsample_step(
        &self,
        rows: &Self::Rows,
        t: usize,
        x: &Self::Buf,
        weight: &Self::Buf,
        stride: usize,
        window: &mut Self::Window,
        y: &mut Self::Buf,
    ) -> Result<()>;
    /// Finds the nearest code (Euclidean, ties to the lowest index) of each `residual [b, t, d]`, writes it to
    /// `codes [b, t, k]` at codebook `q`, and subtracts the code's vector from the residual. Where the residual is not
    /// finite the code is -1, nothing is subtracted, and `status [b]` gets a [`FaultKind::Vector`](crate::FaultKind).
    fn nearest_code(
        &self,
        rows: &Self::Rows,
        t: usize,
        codebook: &Self::Codebook,
        residual: &mut Self::Buf,
        codes: &mut Self::Ids,
        column: Column,
        status: &mut Self::Ids,
    ) -> Result<()>;
    /// `y [b, t, d]` = sum over i of `tables[i][ids[b, t, column.index + i]]`; an id of -1 adds nothing.
    /// `column.of` is the number of ids per (row, time). An id that its table does not have adds nothing either, and
    /// `status [b]` gets a [`FaultKind::Id`](crate::FaultKind).
    fn embed(
        &self,
        rows: &Self::Rows,
        t: usize,
        ids: &Self::Ids,
        column: Column,
        tables: &[&Self::Table],
        y: &mut Self::Buf,
        status: &mut Self::Ids,
    ) -> Result<()>;
    /// As [`Backend::embed`], added to what `y` holds.
    fn embed_add(
        &self,
        rows: &Self::Rows,
        t: usize,
        ids: &Self::Ids,
        column: Column,
        tables: &[&Self::Table],
        y: &mut Self::Buf,
        status: &mut Self::Ids,
    ) -> Result<()>;
    /// `y [b, t, d]` = the entry `ids[b, t, column.index]` of a table that each row chooses: with `chosen` = (tables, which),
    /// the table `which[b]`, or the first where there is none of that number. Ids are as in [`Backend::embed`].
    #[allow(clippy::too_many_arguments)]
    fn embed_chosen(
        &self,
        rows: &Self::Rows,
        t: usize,
        ids: &Self::Ids,
        column: Column,
        chosen: (&Self::Tables, &Self::Ids),
        y: &mut Self::Buf,
        status: &mut Self::Ids,
    ) -> Result<()>;
    /// Draws one token per row from `logits [b, v]` into `out [b, column.of]` at `column.index`, unless `forced` (same
    /// shape) holds something other than [`FREE`] there: a token, which is taken instead, or [`NOTHING`], which makes it
    /// -1. The draw is keyed by the row's seed, the row's position in `rows` and `stream`, and is to the bit the one that
    /// [`moshi_tensor::sample`] defines, whatever the machine. Stream 0 applies `pad_mult` and the repetition penalty, and
    /// remembers the token.
    /// From logits that are not numbers -1 is drawn, and `status [b]` gets a [`FaultKind::Logits`](crate::FaultKind); a
    /// forced token is taken whatever they are.
    #[allow(clippy::too_many_arguments)]
    fn sample(
        &self,
        rows: &Self::Rows,
        logits: &Self::Buf,
        v: usize,
        stream: Stream,
        sampler: &mut Self::Sampler,
        forced: &Self::Ids,
        out: &mut Self::Ids,
        column: Column,
        status: &mut Self::Ids,
    ) -> Result<()>;
    /// Softmax over the last dimension `c` of `x [b, t, c]`, in place.
    fn softmax(&self, rows: &Self::Rows, t: usize, c: usize, x: &mut Self::Buf) -> Result<()>;
}

/// A column of an index buffer `[b, t, of]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Which column (the first of several where an operation reads more).
    pub index: usize,
    /// How many columns the buffer has per (row, time).
    pub of: usize,
}
