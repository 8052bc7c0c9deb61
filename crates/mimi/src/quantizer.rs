//! The split residual quantizer: one "semantic" codebook beside a residual chain of "acoustic" ones.

use moshi_nn::backend::{Backend, Column};
use moshi_nn::layers::{Linear, Step};
use moshi_nn::{At, HostWeight, Result};

use moshi_checkpoint::config::QuantizerConfig;

/// Codebooks used less often than this are not scaled up further (the reference's epsilon).
const LEAST_USAGE: f32 = 1e-5;

/// Both halves. Both start from the same input.
pub(crate) struct Quantizer<B: Backend> {
    first: Half<B>,
    rest: Half<B>,
    codebooks: usize,
    dimension: usize,
    width: usize,
}

impl<B: Backend> Quantizer<B> {
    /// The first `codebooks` of the quantizer below `at`, between latents of `width` channels.
    pub(crate) fn load(
        backend: &B,
        at: &At<'_>,
        config: &QuantizerConfig,
        width: usize,
        codebooks: usize,
    ) -> Result<Self> {
        Ok(Self {
            first: Half::load(backend, &at.at("rvq_first"), config, width, 1)?,
            rest: Half::load(backend, &at.at("rvq_rest"), config, width, codebooks - 1)?,
            codebooks,
            dimension: config.dimension,
            width,
        })
    }

    /// Number of codebooks.
    pub(crate) fn codebooks(&self) -> usize {
        self.codebooks
    }

    /// Bytes that encoding a frame reads, and that decoding one does but for the entries of the codes.
    pub(crate) fn bytes(&self, backend: &B) -> usize {
        self.first.bytes(backend) + self.rest.bytes(backend)
    }

    /// Room for `values` = rows x frames.
    pub(crate) fn scratch(&self, backend: &B, values: usize) -> Result<QuantizerScratch<B>> {
        Ok(QuantizerScratch { small: backend.buf(values * self.dimension)?, wide: backend.buf(values * self.width)? })
    }

    /// `x [b, t, width]` -> `codes [b, t, codebooks]`; what is not finite is noted in `status [b]`.
    pub(crate) fn encode(
        &self,
        step: Step<'_, B>,
        x: &B::Buf,
        scratch: &mut QuantizerScratch<B>,
        codes: &mut B::Ids,
        status: &mut B::Ids,
    ) -> Result<()> {
        self.first.encode(step, x, &mut scratch.small, codes, Column { index: 0, of: self.codebooks }, status)?;
        if self.codebooks > 1 {
            self.rest.encode(step, x, &mut scratch.small, codes, Column { index: 1, of: self.codebooks }, status)?;
        }
        Ok(())
    }

    /// `codes [b, t, count]` of the first `count` codebooks -> `y [b, t, width]`; a code that there is not is noted in
    /// `status [b]`.
    pub(crate) fn decode(
        &self,
        step: Step<'_, B>,
        codes: &B::Ids,
        count: usize,
        scratch: &mut QuantizerScratch<B>,
        y: &mut B::Buf,
        status: &mut B::Ids,
    ) -> Result<()> {
        let QuantizerScratch { small, wide } = scratch;
        self.first.decode(step, codes, Column { index: 0, of: count }, small, y, status)?;
        if count > 1 {
            self.rest.decode(step, codes, Column { index: 1, of: count }, small, wide, status)?;
            step.backend.residual_add(step.rows, step.t, self.width, wide, None, y)?;
        }
        Ok(())
    }
}

/// Room for a residual, and for the second half's output.
pub(crate) struct QuantizerScratch<B: Backend> {
    small: B::Buf,
    wide: B::Buf,
}

/// A residual quantizer between two projections.
struct Half<B: Backend> {
    input_proj: Linear<B>,
    output_proj: Linear<B>,
    codebooks: Vec<B::Codebook>,
    tables: Vec<B::Table>,
}

impl<B: Backend> Half<B> {
    fn load(backend: &B, at: &At<'_>, config: &QuantizerConfig, width: usize, count: usize) -> Result<Self> {
        let QuantizerConfig { dimension, bins, .. } = *config;
        let mut codebooks = Vec::with_capacity(count);
        let mut tables = Vec::with_capacity(count);
        for q in 0..count {
            let vectors = centroids(&at.at("vq.layers").at(q).at("_codebook"), bins, dimension)?;
            codebooks.push(backend.codebook(&vectors, bins)?);
            tables.push(backend.table(&HostWeight::from_f32(bins, dimension, vectors)?)?);
        }
        Ok(Self {
            input_proj: Linear::load(backend, &at.at("input_proj"), dimension, width)?,
            output_proj: Linear::load(backend, &at.at("output_proj"), width, dimension)?,
            codebooks,
            tables,
        })
    }

    fn bytes(&self, backend: &B) -> usize {
        let codebooks: usize = self.codebooks.iter().map(|codebook| backend.codebook_bytes(codebook)).sum();
        self.input_proj.bytes(backend) + self.output_proj.bytes(backend) + codebooks
    }

    fn encode(
        &self,
        step: Step<'_, B>,
        x: &B::Buf,
        residual: &mut B::Buf,
        codes: &mut B::Ids,
        column: Column,
        status: &mut B::Ids,
    ) -> Result<()> {
        self.input_proj.step(step, x, residual)?;
        for (q, codebook) in self.codebooks.iter().enumerate() {
            let column = Column { index: column.index + q, ..column };
            step.backend.nearest_code(step.rows, step.t, codebook, residual, codes, column, status)?;
        }
        Ok(())
    }

    /// Reads the columns from `column.index` to the last.
    fn decode(
        &self,
        step: Step<'_, B>,
        codes: &B::Ids,
        column: Column,
        sum: &mut B::Buf,
        y: &mut B::Buf,
        status: &mut B::Ids,
    ) -> Result<()> {
        let Step { backend, rows, t, .. } = step;
        let mut tables = self.tables.iter().take(column.of - column.index).enumerate();
        if let Some((_, table)) = tables.next() {
            backend.embed(rows, t, codes, column, &[table], sum, status)?;
        }
        for (q, table) in tables {
            let column = Column { index: column.index + q, ..column };
            backend.embed_add(rows, t, codes, column, &[table], sum, status)?;
        }
        self.output_proj.step(step, sum, y)
    }
}

/// The vectors `[bins, dimension]` of a codebook: sums of what was assigned to each code over how often it was used.
fn centroids(at: &At<'_>, bins: usize, dimension: usize) -> Result<Vec<f32>> {
    let mut vectors = at.vector("embedding_sum", &[bins, dimension])?;
    let usage = at.vector("cluster_usage", &[bins])?;
    for (vector, usage) in vectors.chunks_exact_mut(dimension).zip(usage) {
        vector.iter_mut().for_each(|x| *x /= usage.max(LEAST_USAGE));
    }
    Ok(vectors)
}
