//! Memory of streams: rows, rings and windows, and how a row of it is reset and copied.

use crate::backend::{AttentionSpec, HeadRope, RingSpec, WindowSpec};
use crate::{Backend, Error, Result};

/// Memory whose rows can be reset and copied one by one.
///
/// States are not `Clone`: buffers may alias device memory. A copy is made row by row into a state of the same layer.
pub trait StreamState<B: Backend> {
    /// One row as before its first step.
    ///
    /// # Errors
    /// When there is no such row, or the device fails.
    fn reset_row(&mut self, backend: &B, row: usize) -> Result<()>;

    /// Before a session comes into a row: makes sure that its memory is there.
    ///
    /// # Errors
    /// When it is not, or there is no such row.
    fn reserve_row(&mut self, backend: &B, row: usize) -> Result<()> {
        let _ = (backend, row);
        Ok(())
    }

    /// After a session has left a row: gives back what memory can be given back. A reset follows before the row runs.
    fn release_row(&mut self, backend: &B, row: usize) {
        let _ = (backend, row);
    }

    /// Overwrites one row with `src_row` of another state of the same layer (which may have another number of rows).
    ///
    /// # Errors
    /// When a row does not exist, the states belong to different layers, or the device fails.
    fn copy_row(&mut self, backend: &B, row: usize, src: &Self, src_row: usize) -> Result<()>;
}

impl<B: Backend, S: StreamState<B>> StreamState<B> for Vec<S> {
    fn reset_row(&mut self, backend: &B, row: usize) -> Result<()> {
        self.iter_mut().try_for_each(|s| s.reset_row(backend, row))
    }

    fn reserve_row(&mut self, backend: &B, row: usize) -> Result<()> {
        self.iter_mut().try_for_each(|s| s.reserve_row(backend, row))
    }

    fn release_row(&mut self, backend: &B, row: usize) {
        self.iter_mut().for_each(|s| s.release_row(backend, row));
    }

    fn copy_row(&mut self, backend: &B, row: usize, src: &Self, src_row: usize) -> Result<()> {
        if self.len() != src.len() {
            return Err(Error::Shape { what: "layers of a state", expected: self.len(), found: src.len() });
        }
        self.iter_mut().zip(src).try_for_each(|(s, src)| s.copy_row(backend, row, src, src_row))
    }
}

/// Implements [`StreamState`] for a struct by its fields: those under `memory` are reset and copied, those under
/// `scratch` hold nothing between steps. A field in neither list does not compile.
///
/// ```
/// use moshi_nn::layers::{Ring, Rows};
/// use moshi_nn::{Backend, stream_state};
///
/// struct ToyState<B: Backend> {
///     rows: Rows<B>,
///     ring: Ring<B>,
///     sum: B::Buf,
/// }
/// stream_state!(ToyState { memory: rows, ring; scratch: sum });
/// ```
#[macro_export]
macro_rules! stream_state {
    ($state:ident { memory: $($memory:ident),* ; scratch: $($scratch:ident),* $(,)? }) => {
        impl<B: $crate::Backend> $crate::layers::StreamState<B> for $state<B> {
            fn reset_row(&mut self, backend: &B, row: usize) -> $crate::Result<()> {
                let Self { $($memory,)* $($scratch: _,)* } = self;
                $($crate::layers::StreamState::<B>::reset_row($memory, backend, row)?;)*
                Ok(())
            }

            fn reserve_row(&mut self, backend: &B, row: usize) -> $crate::Result<()> {
                let Self { $($memory,)* $($scratch: _,)* } = self;
                $($crate::layers::StreamState::<B>::reserve_row($memory, backend, row)?;)*
                Ok(())
            }

            fn release_row(&mut self, backend: &B, row: usize) {
                let Self { $($memory,)* $($scratch: _,)* } = self;
                $($crate::layers::StreamState::<B>::release_row($memory, backend, row);)*
            }

            fn copy_row(&mut self, backend: &B, row: usize, src: &Self, src_row: usize) -> $crate::Result<()> {
                let Self { $($memory,)* $($scratch: _,)* } = self;
                $($crate::layers::StreamState::<B>::copy_row($memory, backend, row, &src.$memory, src_row)?;)*
                Ok(())
            }
        }
    };
}

/// Which rows run and where each of them is. Positions have one truth, this one; the executor is told before a stretch.
pub struct Rows<B: Backend> {
    inner: B::Rows,
    active: Vec<bool>,
    positions: Vec<u64>,
}

impl<B: Backend> Rows<B> {
    /// `count` rows at position 0, none active, for layers that attend as `attentions` say.
    ///
    /// # Errors
    /// When the device fails.
    pub fn new(backend: &B, count: usize, attentions: &[AttentionSpec]) -> Result<Self> {
        let ropes = attentions.iter().filter_map(|spec| Some(HeadRope { head_dim: spec.head_dim, rope: spec.rope? }));
        let inner = backend.rows(count, &ropes.collect::<Vec<_>>())?;
        Ok(Self { inner, active: vec![false; count], positions: vec![0; count] })
    }

    /// The executor's rows.
    pub fn inner(&self) -> &B::Rows {
        &self.inner
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.active.len()
    }

    /// Which rows run.
    pub fn active(&self) -> &[bool] {
        &self.active
    }

    /// How many rows run.
    pub fn running(&self) -> usize {
        self.active.iter().filter(|active| **active).count()
    }

    /// Time steps that each row has taken since its reset.
    pub fn positions(&self) -> &[u64] {
        &self.positions
    }

    /// Before a stretch of `t` time steps: chooses the rows that take them, one flag a row, and tells the executor where
    /// they are.
    ///
    /// # Errors
    /// When the number of flags is not the number of rows, or the device fails.
    pub fn put(&mut self, backend: &B, active: &[bool], t: usize) -> Result<()> {
        if active.len() != self.active.len() {
            return Err(Error::Shape { what: "active flags", expected: self.active.len(), found: active.len() });
        }
        self.active.copy_from_slice(active);
        backend.put_rows(&mut self.inner, active, &self.positions, t)
    }

    /// After a stretch: the rows that ran have taken `t` time steps.
    pub fn advance(&mut self, t: usize) {
        let running = self.positions.iter_mut().zip(&self.active).filter(|(_, active)| **active);
        running.for_each(|(position, _)| *position = position.saturating_add(t as u64));
    }

    /// As [`Rows::advance`], for rows of which the last stretch ran only some.
    pub fn advance_rows(&mut self, rows: &[bool], t: usize) {
        let running = self.positions.iter_mut().zip(rows).filter(|(_, runs)| **runs);
        running.for_each(|(position, _)| *position = position.saturating_add(t as u64));
    }

    fn set_position(&mut self, row: usize, position: u64) -> Result<()> {
        let found = self.positions.len();
        let slot = self.positions.get_mut(row).ok_or(Error::Shape { what: "row", expected: row + 1, found })?;
        *slot = position;
        Ok(())
    }
}

/// Resets and copies positions; which rows are active is the caller's choice of the moment, not memory.
impl<B: Backend> StreamState<B> for Rows<B> {
    fn reset_row(&mut self, _: &B, row: usize) -> Result<()> {
        self.set_position(row, 0)
    }

    fn copy_row(&mut self, _: &B, row: usize, src: &Self, src_row: usize) -> Result<()> {
        let found = src.positions.len();
        let Some(position) = src.positions.get(src_row) else {
            return Err(Error::Shape { what: "source row", expected: src_row + 1, found });
        };
        self.set_position(row, *position)
    }
}

/// Keys and values of one attention layer.
pub struct Ring<B: Backend>(pub B::Ring);

impl<B: Backend> Ring<B> {
    /// Empty memory.
    ///
    /// # Errors
    /// When the sizes make no ring, or the device fails.
    pub fn new(backend: &B, spec: &RingSpec) -> Result<Self> {
        Ok(Self(backend.ring(spec)?))
    }
}

impl<B: Backend> StreamState<B> for Ring<B> {
    fn reset_row(&mut self, _: &B, _: usize) -> Result<()> {
        Ok(()) // a row at position 0 reads nothing older
    }

    fn reserve_row(&mut self, backend: &B, row: usize) -> Result<()> {
        backend.reserve_ring(&mut self.0, row)
    }

    fn release_row(&mut self, backend: &B, row: usize) {
        backend.release_ring(&mut self.0, row);
    }

    fn copy_row(&mut self, backend: &B, row: usize, src: &Self, src_row: usize) -> Result<()> {
        backend.copy_ring(&src.0, src_row, &mut self.0, row)
    }
}

/// The last input columns of one convolution.
pub struct Window<B: Backend>(pub B::Window);

impl<B: Backend> Window<B> {
    /// Memory as before the first column.
    ///
    /// # Errors
    /// When the device fails.
    pub fn new(backend: &B, spec: &WindowSpec) -> Result<Self> {
        Ok(Self(backend.window(spec)?))
    }
}

impl<B: Backend> StreamState<B> for Window<B> {
    fn reset_row(&mut self, backend: &B, row: usize) -> Result<()> {
        backend.reset_window(&mut self.0, row)
    }

    fn copy_row(&mut self, backend: &B, row: usize, src: &Self, src_row: usize) -> Result<()> {
        backend.copy_window(&src.0, src_row, &mut self.0, row)
    }
}
