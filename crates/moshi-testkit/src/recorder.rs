//! An executor that records: the contract of a graphics card, kept on the processor.
//!
//! [`Recorder`] runs on another executor. The first time a [`Plan`] comes, it notes the calls of the stretch without
//! running them; from then on it replays the notes and never asks again. What a card could not carry is an error here:
//! an allocation, a transfer or a change of memory inside of a stretch. It counts what a card would pay for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moshi_nn::backend::{
    AttentionSpec, Backend, Column, ConvSpec, HeadRope, MatrixSpec, Plan, RingSpec, RowSampling, SilentTokens, Span,
    Stream, Taken, WindowSpec,
};
use moshi_nn::{Error, HostWeight, LowRankPair, Result};

/// What a card would have paid for since the recorder was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stretches replayed.
    pub replays: usize,
    /// Stretches recorded.
    pub recordings: usize,
    /// Operations run, inside of stretches or outside.
    pub launches: usize,
    /// Transfers to the device: inputs, flags, positions.
    pub uploads: usize,
    /// Transfers from the device.
    pub downloads: usize,
    /// Times that the host waited for work that was still running: the first transfer from the device after some.
    pub waits: usize,
}

impl std::ops::Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            replays: self.replays - before.replays,
            recordings: self.recordings - before.recordings,
            launches: self.launches - before.launches,
            uploads: self.uploads - before.uploads,
            downloads: self.downloads - before.downloads,
            waits: self.waits - before.waits,
        }
    }
}

/// A call on the executor below, with everything that it needs.
type Call<B> = Box<dyn Fn(&B) -> Result<()> + Send + Sync>;

/// The calls of each stretch of a state.
pub struct Recordings<B>(HashMap<Plan, Vec<Call<B>>>);

impl<B> Default for Recordings<B> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// Memory of the device: what a call is noted with, and what the host holds.
#[derive(Debug)]
pub struct Handle<T>(Arc<Mutex<T>>);

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Handle<T> {
    fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    fn get(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Notes<B> {
    /// The calls noted so far, while a stretch is recorded.
    recording: Option<Vec<Call<B>>>,
    counts: Counts,
    /// Whether work was given to the device since the host last waited for it.
    running: bool,
}

/// Records on an executor.
pub struct Recorder<B> {
    inner: B,
    notes: Arc<Mutex<Notes<B>>>,
}

impl<B: Clone> Clone for Recorder<B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), notes: Arc::clone(&self.notes) }
    }
}

impl<B: Backend> Recorder<B> {
    /// Records what runs on `inner`.
    pub fn new(inner: B) -> Self {
        let notes = Notes { recording: None, counts: Counts::default(), running: false };
        Self { inner, notes: Arc::new(Mutex::new(notes)) }
    }

    /// What was counted so far, by this recorder and its clones.
    pub fn counts(&self) -> Counts {
        self.notes().counts
    }

    fn notes(&self) -> MutexGuard<'_, Notes<B>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call while a stretch is recorded, runs it otherwise.
    fn call(&self, call: impl Fn(&B) -> Result<()> + Send + Sync + 'static) -> Result<()> {
        let mut notes = self.notes();
        if let Some(recording) = &mut notes.recording {
            recording.push(Box::new(call));
            return Ok(());
        }
        notes.counts.launches += 1;
        notes.running = true;
        drop(notes);
        call(&self.inner)
    }

    /// Notes the calls of a stretch without running them.
    fn record(&self, record: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Call<B>>> {
        self.outside("recording of a stretch")?;
        self.notes().recording = Some(Vec::new());
        let made = record();
        let mut notes = self.notes();
        let calls = notes.recording.take().unwrap_or_default();
        made?;
        notes.counts.recordings += 1;
        Ok(calls)
    }

    /// What only the host may do, and only outside of stretches.
    fn outside(&self, what: &'static str) -> Result<()> {
        if self.notes().recording.is_none() {
            return Ok(());
        }
        Err(Error::Config { what, found: "inside of a stretch".to_owned(), expected: "it comes before or after one" })
    }

    fn uploading(&self) -> Result<()> {
        self.outside("transfer to the device")?;
        self.notes().counts.uploads += 1;
        Ok(())
    }

    fn downloading(&self) -> Result<()> {
        self.outside("transfer from the device")?;
        let mut notes = self.notes();
        notes.counts.downloads += 1;
        notes.counts.waits += usize::from(std::mem::take(&mut notes.running));
        Ok(())
    }

    fn making<T>(&self, made: Result<T>) -> Result<Handle<T>> {
        self.outside("new memory")?;
        made.map(Handle::new)
    }

    fn laid_out<T>(&self, made: Result<T>) -> Result<Arc<T>> {
        self.outside("new weights")?;
        made.map(Arc::new)
    }
}

/// Clones the handles that a call is noted with.
macro_rules! noted {
    ($($handle:ident),*) => { $(let $handle = $handle.clone();)* };
}

impl<B: Backend> Backend for Recorder<B> {
    type Buf = Handle<B::Buf>;
    type Ids = Handle<B::Ids>;
    type Matrix = Arc<B::Matrix>;
    type LowRank = Arc<B::LowRank>;
    type Table = Arc<B::Table>;
    type Tables = Arc<B::Tables>;
    type Codebook = Arc<B::Codebook>;
    type Ring = Handle<B::Ring>;
    type Window = Handle<B::Window>;
    type Rows = Handle<B::Rows>;
    type Sampler = Handle<B::Sampler>;
    type Recordings = Recordings<B>;

    fn name(&self) -> &'static str {
        "recorder"
    }

    fn matrix(&self, weight: &HostWeight<'_>, bias: Option<&[f32]>, spec: MatrixSpec) -> Result<Self::Matrix> {
        self.laid_out(self.inner.matrix(weight, bias, spec))
    }

    fn low_rank(&self, pairs: &[Option<LowRankPair<'_>>]) -> Result<Self::LowRank> {
        self.laid_out(self.inner.low_rank(pairs))
    }

    fn table(&self, weight: &HostWeight<'_>) -> Result<Self::Table> {
        self.laid_out(self.inner.table(weight))
    }

    fn tables(&self, weights: &[Option<HostWeight<'_>>]) -> Result<Self::Tables> {
        self.laid_out(self.inner.tables(weights))
    }

    fn codebook(&self, vectors: &[f32], bins: usize) -> Result<Self::Codebook> {
        self.laid_out(self.inner.codebook(vectors, bins))
    }

    fn matrix_bytes(&self, matrix: &Self::Matrix) -> usize {
        self.inner.matrix_bytes(matrix)
    }

    fn low_rank_bytes(&self, pairs: &Self::LowRank) -> usize {
        self.inner.low_rank_bytes(pairs)
    }

    fn table_bytes(&self, table: &Self::Table) -> usize {
        self.inner.table_bytes(table)
    }

    fn tables_bytes(&self, tables: &Self::Tables) -> usize {
        self.inner.tables_bytes(tables)
    }

    fn codebook_bytes(&self, codebook: &Self::Codebook) -> usize {
        self.inner.codebook_bytes(codebook)
    }

    fn taken(&self) -> Taken {
        self.inner.taken()
    }

    fn reserve_ring(&self, ring: &mut Self::Ring, row: usize) -> Result<()> {
        self.outside("memory of a row")?;
        self.inner.reserve_ring(&mut ring.get(), row)
    }

    fn release_ring(&self, ring: &mut Self::Ring, row: usize) {
        self.inner.release_ring(&mut ring.get(), row);
    }

    fn buf(&self, len: usize) -> Result<Self::Buf> {
        self.making(self.inner.buf(len))
    }

    fn ids(&self, len: usize) -> Result<Self::Ids> {
        self.making(self.inner.ids(len))
    }

    fn upload(&self, src: &[f32], dst: &mut Self::Buf) -> Result<()> {
        self.uploading()?;
        self.inner.upload(src, &mut dst.get())
    }

    fn download(&self, src: &Self::Buf, dst: &mut [f32]) -> Result<()> {
        self.downloading()?;
        self.inner.download(&src.get(), dst)
    }

    fn upload_ids(&self, src: &[i32], dst: &mut Self::Ids) -> Result<()> {
        self.uploading()?;
        self.inner.upload_ids(src, &mut dst.get())
    }

    fn download_ids(&self, src: &Self::Ids, dst: &mut [i32]) -> Result<()> {
        self.downloading()?;
        self.inner.download_ids(&src.get(), dst)
    }

    fn ring(&self, spec: &RingSpec) -> Result<Self::Ring> {
        self.making(self.inner.ring(spec))
    }

    fn window(&self, spec: &WindowSpec) -> Result<Self::Window> {
        self.making(self.inner.window(spec))
    }

    fn rows(&self, count: usize, ropes: &[HeadRope]) -> Result<Self::Rows> {
        self.making(self.inner.rows(count, ropes))
    }

    fn sampler(&self, count: usize, silent: SilentTokens) -> Result<Self::Sampler> {
        self.making(self.inner.sampler(count, silent))
    }

    fn put_rows(&self, rows: &mut Self::Rows, active: &[bool], positions: &[u64], t: usize) -> Result<()> {
        self.uploading()?;
        self.inner.put_rows(&mut rows.get(), active, positions, t)
    }

    fn set_sampling(&self, sampler: &mut Self::Sampler, row: usize, params: &RowSampling) -> Result<()> {
        self.outside("sampling of a row")?;
        self.inner.set_sampling(&mut sampler.get(), row, params)
    }

    fn reset_window(&self, window: &mut Self::Window, row: usize) -> Result<()> {
        self.outside("reset of a row")?;
        self.inner.reset_window(&mut window.get(), row)
    }

    fn copy_window(&self, src: &Self::Window, src_row: usize, dst: &mut Self::Window, dst_row: usize) -> Result<()> {
        self.outside("copy of a row")?;
        self.inner.copy_window(&src.get(), src_row, &mut dst.get(), dst_row)
    }

    fn copy_ring(&self, src: &Self::Ring, src_row: usize, dst: &mut Self::Ring, dst_row: usize) -> Result<()> {
        self.outside("copy of a row")?;
        self.inner.copy_ring(&src.get(), src_row, &mut dst.get(), dst_row)
    }

    fn fill_ring(&self, kv: &Self::Buf, len: usize, ring: &mut Self::Ring, row: usize) -> Result<()> {
        self.outside("filling of a row")?;
        self.inner.fill_ring(&kv.get(), len, &mut ring.get(), row)
    }

    fn copy_sampler(&self, src: &Self::Sampler, src_row: usize, dst: &mut Self::Sampler, dst_row: usize) -> Result<()> {
        self.outside("copy of a row")?;
        self.inner.copy_sampler(&src.get(), src_row, &mut dst.get(), dst_row)
    }

    fn replay(&self, recordings: &mut Recordings<B>, plan: Plan, record: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let calls = match recordings.0.entry(plan) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(self.record(record)?),
        };
        {
            let mut notes = self.notes();
            notes.counts.replays += 1;
            notes.counts.launches += calls.len();
            notes.running = true;
        }
        calls.iter().try_for_each(|call| call(&self.inner))
    }

    fn linear(&self, rows: &Self::Rows, t: usize, x: &Self::Buf, w: &Self::Matrix, y: &mut Self::Buf) -> Result<()> {
        noted!(rows, x, w, y);
        self.call(move |b| b.linear(&rows.get(), t, &x.get(), &w, &mut y.get()))
    }

    fn low_rank_add(
        &self,
        rows: &Self::Rows,
        t: usize,
        x: &Self::Buf,
        pairs: &Self::LowRank,
        which: &Self::Ids,
        y: &mut Self::Buf,
    ) -> Result<()> {
        noted!(rows, x, pairs, which, y);
        self.call(move |b| b.low_rank_add(&rows.get(), t, &x.get(), &pairs, &which.get(), &mut y.get()))
    }

    fn residual_add(
        &self,
        rows: &Self::Rows,
        t: usize,
        c: usize,
        y: &Self::Buf,
        scale: Option<&Self::Buf>,
        x: &mut Self::Buf,
    ) -> Result<()> {
        noted!(rows, y, x);
        let scale = scale.cloned();
        self.call(move |b| {
            let scale = scale.as_ref().map(Handle::get);
            b.residual_add(&rows.get(), t, c, &y.get(), scale.as_deref(), &mut x.get())
        })
    }

    fn rms_norm(
        &self,
        rows: &Self::Rows,
        t: usize,
        x: &Self::Buf,
        alpha: &Self::Buf,
        c: usize,
        eps: f32,
        y: &mut Self::Buf,
    ) -> Result<()> {
        noted!(rows, x, alpha, y);
        self.call(move |b| b.rms_norm(&rows.get(), t, &x.get(), &alpha.get(), c, eps, &mut y.get()))
    }

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
    ) -> Result<()> {
        noted!(rows, x, weight, bias, y);
        self.call(move |b| b.layer_norm(&rows.get(), t, &x.get(), &weight.get(), &bias.get(), c, eps, &mut y.get()))
    }

    fn rope_append_attend(
        &self,
        rows: &Self::Rows,
        span: Span,
        qkv: &Self::Buf,
        spec: &AttentionSpec,
        ring: &mut Self::Ring,
        y: &mut Self::Buf,
    ) -> Result<()> {
        noted!(rows, qkv, spec, ring, y);
        self.call(move |b| b.rope_append_attend(&rows.get(), span, &qkv.get(), &spec, &mut ring.get(), &mut y.get()))
    }

    fn attend_ring(
        &self,
        rows: &Self::Rows,
        t: usize,
        q: &Self::Buf,
        lengths: &Self::Ids,
        ring: &Self::Ring,
        y: &mut Self::Buf,
    ) -> Result<()> {
        noted!(rows, q, lengths, ring, y);
        self.call(move |b| b.attend_ring(&rows.get(), t, &q.get(), &lengths.get(), &ring.get(), &mut y.get()))
    }

    fn guide(
        &self,
        rows: &Self::Rows,
        v: usize,
        guides: &Self::Ids,
        coefficients: &Self::Buf,
        logits: &mut Self::Buf,
    ) -> Result<()> {
        noted!(rows, guides, coefficients, logits);
        self.call(move |b| b.guide(&rows.get(), v, &guides.get(), &coefficients.get(), &mut logits.get()))
    }

    fn silu_gate(&self, rows: &Self::Rows, t: usize, x: &Self::Buf, h: usize, y: &mut Self::Buf) -> Result<()> {
        noted!(rows, x, y);
        self.call(move |b| b.silu_gate(&rows.get(), t, &x.get(), h, &mut y.get()))
    }

    fn gelu(&self, rows: &Self::Rows, t: usize, c: usize, x: &mut Self::Buf) -> Result<()> {
        noted!(rows, x);
        self.call(move |b| b.gelu(&rows.get(), t, c, &mut x.get()))
    }

    fn conv_step(
        &self,
        rows: &Self::Rows,
        t: usize,
        x: &Self::Buf,
        w: &Self::Matrix,
        spec: &ConvSpec,
        window: &mut Self::Window,
        y: &mut Self::Buf,
    ) -> Result<()> {
        noted!(rows, x, w, spec, window, y);
        self.call(move |b| b.conv_step(&rows.get(), t, &x.get(), &w, &spec, &mut window.get(), &mut y.get()))
    }

    fn upsample_step(
        &self,
        rows: &Self::Rows,
        t: usize,
        x: &Self::Buf,
        weight: &Self::Buf,
        stride: usize,
        window: &mut Self::Window,
        y: &mut Self::Buf,
    ) -> Result<()> {
        noted!(rows, x, weight, window, y);
        self.call(move |b| {
            b.upsample_step(&rows.get(), t, &x.get(), &weight.get(), stride, &mut window.get(), &mut y.get())
        })
    }

    fn nearest_code(
        &self,
        rows: &Self::Rows,
        t: usize,
        codebook: &Self::Codebook,
        residual: &mut Self::Buf,
        codes: &mut Self::Ids,
        column: Column,
        status: &mut Self::Ids,
    ) -> Result<()> {
        noted!(rows, codebook, residual, codes, status);
        self.call(move |b| {
            let (mut residual, mut codes, mut status) = (residual.get(), codes.get(), status.get());
            b.nearest_code(&rows.get(), t, &codebook, &mut residual, &mut codes, column, &mut status)
        })
    }

    fn embed(
        &self,
        rows: &Self::Rows,
        t: usize,
        ids: &Self::Ids,
        column: Column,
        tables: &[&Self::Table],
        y: &mut Self::Buf,
        status: &mut Self::Ids,
    ) -> Result<()> {
        noted!(rows, ids, y, status);
        let tables: Vec<_> = tables.iter().map(|table| Arc::clone(table)).collect();
        self.call(move |b| {
            let tables: Vec<_> = tables.iter().map(|table| &**table).collect();
            b.embed(&rows.get(), t, &ids.get(), column, &tables, &mut y.get(), &mut status.get())
        })
    }

    fn embed_add(
        &self,
        rows: &Self::Rows,
        t: usize,
        ids: &Self::Ids,
        column: Column,
        tables: &[&Self::Table],
        y: &mut Self::Buf,
        status: &mut Self::Ids,
    ) -> Result<()> {
        noted!(rows, ids, y, status);
        let tables: Vec<_> = tables.iter().map(|table| Arc::clone(table)).collect();
        self.call(move |b| {
            let tables: Vec<_> = tables.iter().map(|table| &**table).collect();
            b.embed_add(&rows.get(), t, &ids.get(), column, &tables, &mut y.get(), &mut status.get())
        })
    }

    fn embed_chosen(
        &self,
        rows: &Self::Rows,
        t: usize,
        ids: &Self::Ids,
        column: Column,
        (tables, which): (&Self::Tables, &Self::Ids),
        y: &mut Self::Buf,
        status: &mut Self::Ids,
    ) -> Result<()> {
        noted!(rows, ids, tables, which, y, status);
        self.call(move |b| {
            let (ids, which, mut y, mut status) = (ids.get(), which.get(), y.get(), status.get());
            b.embed_chosen(&rows.get(), t, &ids, column, (&tables, &which), &mut y, &mut status)
        })
    }

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
    ) -> Result<()> {
        noted!(rows, logits, sampler, forced, out, status);
        self.call(move |b| {
            let (mut sampler, mut out, mut status) = (sampler.get(), out.get(), status.get());
            let (logits, forced) = (logits.get(), forced.get());
            b.sample(&rows.get(), &logits, v, stream, &mut sampler, &forced, &mut out, column, &mut status)
        })
    }

    fn softmax(&self, rows: &Self::Rows, t: usize, c: usize, x: &mut Self::Buf) -> Result<()> {
        noted!(rows, x);
        self.call(move |b| b.softmax(&rows.get(), t, c, &mut x.get()))
    }
}
