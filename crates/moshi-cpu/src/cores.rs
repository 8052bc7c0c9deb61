//! What the kernels run on: an instruction set and a number of threads.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use crate::isa::Isa;
use crate::pool::Pool;
use crate::table::Table;
use crate::{KernelError, integer, table};

/// An instruction set and threads. Clones share the threads; clones may be used from several threads at once.
///
/// ```
/// use std::num::NonZeroUsize;
/// use moshi_cpu::cores::Cores;
/// let cores = Cores::new(NonZeroUsize::MIN);
/// assert_eq!(cores.threads(), 1);
/// ```
#[derive(Clone)]
pub struct Cores {
    isa: Isa,
    table: &'static Table,
    integer_table: &'static integer::table::Table,
    pool: Option<Arc<Pool>>,
    threads: NonZeroUsize,
}

impl Cores {
    /// The best instruction set of this machine, on `threads` threads: the caller and, beyond one, a pool.
    pub fn new(threads: NonZeroUsize) -> Self {
        Self::build(Isa::best(), threads)
    }

    /// A given instruction set.
    ///
    /// # Errors
    /// [`KernelError::Isa`] when this machine does not have it.
    pub fn with_isa(isa: Isa, threads: NonZeroUsize) -> Result<Self, KernelError> {
        if isa.is_available() { Ok(Self::build(isa, threads)) } else { Err(KernelError::Isa { isa }) }
    }

    fn build(isa: Isa, threads: NonZeroUsize) -> Self {
        let pool = (threads.get() > 1).then(|| Arc::new(Pool::new(threads.get() - 1)));
        Self { isa, table: table::of(isa), integer_table: integer::table::of(isa), pool, threads }
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.get()
    }

    pub(crate) fn table(&self) -> &'static Table {
        self.table
    }

    pub(crate) fn integer_table(&self) -> &'static integer::table::Table {
        self.integer_table
    }

    /// Calls `work` for every part, in parallel if the whole is worth it: `cost` counts vector operations.
    pub(crate) fn run(&self, parts: usize, cost: usize, work: &(dyn Fn(usize) + Sync)) {
        /// Below this many vector operations (a few microseconds) calling the helpers costs more than it gains.
        const WORTH: usize = 8_192;
        match &self.pool {
            Some(pool) if parts > 1 && cost >= WORTH => pool.run(parts, work),
            _ => (0..parts).for_each(work),
        }
    }
}

impl fmt::Debug for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cores").field("isa", &self.isa).field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// A pointer to something that parts of an operation only read.
pub(crate) struct Address<T>(pub(crate) *const T);

// SAFETY: read-only data, alive for the whole operation.
unsafe impl<T> Sync for Address<T> {}

impl<T> Address<T> {
    pub(crate) fn get(&self) -> *const T {
        self.0
    }
}

/// A slice that several parts of an operation write, each its own range.
pub(crate) struct Shared<'a, T = f32> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: `range` is the only way in, and its caller promises that ranges in use do not overlap.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// A part of the slice; empty when it reaches past the end.
    ///
    /// # Safety
    /// No two ranges in use at one time may overlap.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &mut [T] {
        if range.start > range.end || range.end > self.len {
            return &mut [];
        }
        // SAFETY: inside of the slice that `new` took, and nobody else's by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.end - range.start) }
    }

    /// The start of the slice, for kernels that keep to their own part.
    pub(crate) fn as_mut_ptr(&self) -> *mut T {
        self.start
    }
}
