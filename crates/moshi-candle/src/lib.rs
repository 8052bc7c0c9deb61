//! The reference executor on candle tensors: plain, f32, and the definition of every operation.
//!
//! Every operation works row by row, so that a row's bits cannot depend on the other rows (a batched product may sum in
//! another order for another batch size). Rows, indices and samplers live on the host.

mod attention;
mod check;
mod conv;
mod executor;
mod failure;
mod memory;
mod ops;
mod sample;

use candle_core::Device;
use moshi_tensor::weight::HostWeight;

use check::{check, exact};
pub use executor::Candle;
use failure::Result;
pub use memory::{Buf, Codebook, LowRank, Matrix, Ring, Rows, Table, Tables, Window};
use ops::Onto;
pub use sample::Sampler;

use moshi_nn::LowRankPair;
use moshi_nn::backend::{
    AttentionSpec, Backend, Column, ConvSpec, HeadRope, MatrixSpec, RingSpec, RowSampling, SilentTokens, Span, Stream,
    Taken, WindowSpec,
};

impl Backend for Candle {
    type Buf = Buf;
    type Ids = Vec<i32>;
    type Matrix = Matrix;
    type Table = Table;
    type Tables = Tables;
    type Codebook = Codebook;
    type Ring = Ring;
    type Window = Window;
    type Rows = Rows;
    type Sampler = Sampler;
    type LowRank = LowRank;
    type Recordings = ();

    fn name(&self) -> &'static str {
        match self.device {
            Device::Cpu => "candle-cpu",
            Device::Cuda(_) => "candle-cuda",
            Device::Metal(_) => "candle-metal",
        }
    }

    fn matrix(&self, weight: &HostWeight<'_>, bias: Option<&[f32]>, _: MatrixSpec) -> moshi_nn::Result<Matrix> {
        let matrix = Matrix::new(weight, bias, &self.device)?;
        self.meter.weights(matrix.bytes());
        Ok(matrix)
    }

    fn table(&self, weight: &HostWeight<'_>) -> moshi_nn::Result<Table> {
        self.meter.weights(4 * weight.rows() * weight.cols());
        Ok(Table::new(weight, &self.device)?)
    }

    fn tables(&self, weights: &[Option<HostWeight<'_>>]) -> moshi_nn::Result<Tables> {
        let lay_out = |weight: &Option<HostWeight<'_>>| weight.as_ref().map(|weight| self.table(weight)).transpose();
        Ok(Tables(weights.iter().map(lay_out).collect::<moshi_nn::Result<_>>()?))
    }

    fn codebook(&self, vectors: &[f32], bins: usize) -> moshi_nn::Result<Codebook> {
        self.meter.weights(size_of_val(vectors));
        Ok(Codebook::new(vectors, bins, &self.device)?)
    }

    fn low_rank(&self, pairs: &[Option<LowRankPair<'_>>]) -> moshi_nn::Result<LowRank> {
        let pairs = LowRank::new(pairs, &self.device)?;
        self.meter.weights(pairs.bytes());
        Ok(pairs)
    }

    fn low_rank_bytes(&self, pairs: &LowRank) -> usize {
        pairs.bytes()
    }

    fn matrix_bytes(&self, matrix: &Matrix) -> usize {
        matrix.bytes()
    }

    fn table_bytes(&self, table: &Table) -> usize {
        4 * table.0.elem_count()
    }

    fn tables_bytes(&self, tables: &Tables) -> usize {
        tables.0.iter().flatten().map(|table| self.table_bytes(table)).sum()
    }

    fn codebook_bytes(&self, codebook: &Codebook) -> usize {
        4 * codebook.0.elem_count()
    }

    fn taken(&self) -> Taken {
        self.meter.taken()
    }

    fn buf(&self, len: usize) -> moshi_nn::Result<Buf> {
        self.meter.memory(4 * len);
        Ok(Buf::zeros(len, &self.device)?)
    }

    fn ids(&self, len: usize) -> moshi_nn::Result<Vec<i32>> {
        self.meter.memory(4 * len);
        Ok(vec![0; len])
    }

    fn upload(&self, src: &[f32], dst: &mut Buf) -> moshi_nn::Result<()> {
        check("upload", src.len(), dst.len())?;
        if src.is_empty() {
            return Ok(());
        }
        Ok(dst.write(src, &self.device)?)
    }

    fn download(&self, src: &Buf, dst: &mut [f32]) -> moshi_nn::Result<()> {
        check("download", dst.len(), src.len())?;
        Ok(src.read(dst)?)
    }

    fn upload_ids(&self, src: &[i32], dst: &mut Vec<i32>) -> moshi_nn::Result<()> {
        check("upload of ids", src.len(), dst.len())?;
        dst[..src.len()].copy_from_slice(src);
        Ok(())
    }

    fn download_ids(&self, src: &Vec<i32>, dst: &mut [i32]) -> moshi_nn::Result<()> {
        check("download of ids", dst.len(), src.len())?;
        dst.copy_from_slice(&src[..dst.len()]);
        Ok(())
    }

    fn ring(&self, spec: &RingSpec) -> moshi_nn::Result<Ring> {
        let ring = Ring::new(spec, &self.device)?;
        self.meter.memory(4 * (ring.keys.elem_count() + ring.values.elem_count()));
        Ok(ring)
    }

    fn window(&self, spec: &WindowSpec) -> moshi_nn::Result<Window> {
        self.meter.memory(4 * spec.rows * spec.history * spec.channels);
        Ok(Window::new(spec, &self.device)?)
    }

    fn rows(&self, count: usize, _: &[HeadRope]) -> moshi_nn::Result<Rows> {
        Ok(Rows::new(count))
    }

    fn sampler(&self, count: usize, silent: SilentTokens) -> moshi_nn::Result<Sampler> {
        self.meter.memory(count * size_of::<moshi_tensor::sample::RowSampler>());
        Ok(Sampler::new(count, silent))
    }

    fn put_rows(&self, rows: &mut Rows, active: &[bool], positions: &[u64], _: usize) -> moshi_nn::Result<()> {
        Ok(rows.put(active, positions)?)
    }

    fn set_sampling(&self, sampler: &mut Sampler, row: usize, params: &RowSampling) -> moshi_nn::Result<()> {
        Ok(sampler.set(row, params)?)
    }

    fn reset_window(&self, window: &mut Window, row: usize) -> moshi_nn::Result<()> {
        Ok(window.reset_row(row)?)
    }

    fn copy_window(&self, src: &Window, src_row: usize, dst: &mut Window, dst_row: usize) -> moshi_nn::Result<()> {
        Ok(dst.copy_row(dst_row, src, src_row)?)
    }

    fn copy_ring(&self, src: &Ring, src_row: usize, dst: &mut Ring, dst_row: usize) -> moshi_nn::Result<()> {
        Ok(dst.copy_row(dst_row, src, src_row)?)
    }

    fn fill_ring(&self, kv: &Buf, len: usize, ring: &mut Ring, row: usize) -> moshi_nn::Result<()> {
        Ok(ring.fill(kv, len, row)?)
    }

    fn copy_sampler(&self, src: &Sampler, src_row: usize, dst: &mut Sampler, dst_row: usize) -> moshi_nn::Result<()> {
        Ok(dst.copy_row(dst_row, src, src_row)?)
    }

    fn linear(&self, rows: &Rows, t: usize, x: &Buf, w: &Matrix, y: &mut Buf) -> moshi_nn::Result<()> {
        Ok(ops::linear(rows, t, x, w, y)?)
    }

    fn low_rank_add(
        &self,
        rows: &Rows,
        t: usize,
        x: &Buf,
        pairs: &LowRank,
        which: &Vec<i32>,
        y: &mut Buf,
    ) -> moshi_nn::Result<()> {
        Ok(ops::low_rank_add(rows, t, x, pairs, which, y)?)
    }

    fn residual_add(
        &self,
        rows: &Rows,
        t: usize,
        c: usize,
        y: &Buf,
        scale: Option<&Buf>,
        x: &mut Buf,
    ) -> moshi_nn::Result<()> {
        Ok(ops::residual_add(rows, (t, c), y, scale, x)?)
    }

    fn rms_norm(
        &self,
        rows: &Rows,
        t: usize,
        x: &Buf,
        alpha: &Buf,
        c: usize,
        eps: f32,
        y: &mut Buf,
    ) -> moshi_nn::Result<()> {
        let alpha = ops::constant("norm scale", alpha, c)?;
        Ok(ops::map(rows, (t, c), x, y, |x| ops::rms_norm(x, &alpha, eps))?)
    }

    fn layer_norm(
        &self,
        rows: &Rows,
        t: usize,
        x: &Buf,
        weight: &Buf,
        bias: &Buf,
        c: usize,
        eps: f32,
        y: &mut Buf,
    ) -> moshi_nn::Result<()> {
        let (weight, bias) = (ops::constant("norm weight", weight, c)?, ops::constant("norm bias", bias, c)?);
        Ok(ops::map(rows, (t, c), x, y, |x| ops::layer_norm(x, &weight, &bias, eps))?)
    }

    fn rope_append_attend(
        &self,
        rows: &Rows,
        span: Span,
        qkv: &Buf,
        spec: &AttentionSpec,
        ring: &mut Ring,
        y: &mut Buf,
    ) -> moshi_nn::Result<()> {
        Ok(self.attend(rows, span, qkv, spec, ring, y)?)
    }

    fn attend_ring(
        &self,
        rows: &Rows,
        t: usize,
        q: &Buf,
        lengths: &Vec<i32>,
        ring: &Ring,
        y: &mut Buf,
    ) -> moshi_nn::Result<()> {
        Ok(self.attend_filled(rows, t, q, lengths, ring, y)?)
    }

    fn guide(
        &self,
        rows: &Rows,
        v: usize,
        guides: &Vec<i32>,
        coefficients: &Buf,
        logits: &mut Buf,
    ) -> moshi_nn::Result<()> {
        Ok(ops::guide(rows, v, guides, coefficients, logits)?)
    }

    fn silu_gate(&self, rows: &Rows, t: usize, x: &Buf, h: usize, y: &mut Buf) -> moshi_nn::Result<()> {
        Ok(ops::map(rows, (t, 2 * h), x, y, |x| ops::silu_gate(x, h))?)
    }

    fn gelu(&self, rows: &Rows, t: usize, c: usize, x: &mut Buf) -> moshi_nn::Result<()> {
        Ok(ops::map_in_place(rows, (t, c), x, |x| Ok(x.gelu_erf()?))?)
    }

    fn conv_step(
        &self,
        rows: &Rows,
        t: usize,
        x: &Buf,
        weight: &Matrix,
        spec: &ConvSpec,
        window: &mut Window,
        y: &mut Buf,
    ) -> moshi_nn::Result<()> {
        Ok(self.conv(rows, t, x, conv::Conv { weight, spec, window }, y)?)
    }

    fn upsample_step(
        &self,
        rows: &Rows,
        t: usize,
        x: &Buf,
        weight: &Buf,
        stride: usize,
        window: &mut Window,
        y: &mut Buf,
    ) -> moshi_nn::Result<()> {
        Ok(self.upsample(rows, t, x, weight, stride, window, y)?)
    }

    fn nearest_code(
        &self,
        rows: &Rows,
        t: usize,
        codebook: &Codebook,
        residual: &mut Buf,
        codes: &mut Vec<i32>,
        column: Column,
        status: &mut Vec<i32>,
    ) -> moshi_nn::Result<()> {
        Ok(ops::nearest_code(rows, t, codebook, residual, (codes, column), status)?)
    }

    fn embed(
        &self,
        rows: &Rows,
        t: usize,
        ids: &Vec<i32>,
        column: Column,
        tables: &[&Table],
        y: &mut Buf,
        status: &mut Vec<i32>,
    ) -> moshi_nn::Result<()> {
        Ok(self.embed_onto(rows, t, (ids, column), tables, (y, Onto::Nothing), status)?)
    }

    fn embed_add(
        &self,
        rows: &Rows,
        t: usize,
        ids: &Vec<i32>,
        column: Column,
        tables: &[&Table],
        y: &mut Buf,
        status: &mut Vec<i32>,
    ) -> moshi_nn::Result<()> {
        Ok(self.embed_onto(rows, t, (ids, column), tables, (y, Onto::Output), status)?)
    }

    fn embed_chosen(
        &self,
        rows: &Rows,
        t: usize,
        ids: &Vec<i32>,
        column: Column,
        (tables, which): (&Tables, &Vec<i32>),
        y: &mut Buf,
        status: &mut Vec<i32>,
    ) -> moshi_nn::Result<()> {
        check("adapters of rows", rows.active.len(), which.len())?;
        for row in rows.active() {
            let table = [tables.of(which[row])?];
            self.embed_row(row, t, (ids, column), &table, (y, Onto::Nothing), status)?;
        }
        Ok(())
    }

    fn sample(
        &self,
        rows: &Rows,
        logits: &Buf,
        v: usize,
        stream: Stream,
        sampler: &mut Sampler,
        forced: &Vec<i32>,
        out: &mut Vec<i32>,
        column: Column,
        status: &mut Vec<i32>,
    ) -> moshi_nn::Result<()> {
        Ok(self.draw(rows, logits, sample::Draw { v, stream, forced, column }, sampler, (out, status))?)
    }

    fn softmax(&self, rows: &Rows, t: usize, c: usize, x: &mut Buf) -> moshi_nn::Result<()> {
        Ok(ops::map_in_place(rows, (t, c), x, ops::softmax)?)
    }
}
