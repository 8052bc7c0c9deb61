//! Memory for weights and keys: aligned to cache lines, and in huge pages where it is large.
//!
//! Streaming a weight matrix through 4 KiB pages costs a third of the machine's bandwidth (404 against 252 ms for a
//! 7B int8 chain), so large blocks are mapped at a 2 MiB boundary and ask the kernel for huge pages. Smaller blocks that
//! are streamed too, [`Block::streamed`], share regions of huge pages.
//!
//! ```
//! let mut block = moshi_cpu::memory::Block::<f32>::zeros(3);
//! block[1] = 2.0;
//! assert_eq!(block[..], [0.0, 2.0, 0.0]);
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytemuck::{Pod, Zeroable};
#[cfg(target_os = "linux")]
use memmap2::UncheckedAdvice;
use memmap2::{MmapMut, MmapRaw};

const HUGE_PAGE: usize = 2 << 20;
/// No page of the systems at hand is larger, unless it is huge.
#[cfg(target_os = "linux")]
const PAGE: usize = 64 << 10;
/// Bytes of a region that smaller blocks share.
const REGION: usize = 8 * HUGE_PAGE;
/// Blocks of fewer bytes stay in the cache between two reads, or are too few to matter.
const LEAST_PIECE: usize = 64 << 10;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

enum Store {
    Lines(Vec<Line>),
    Map(MmapMut, usize),
    Piece(Piece),
}

/// Bytes from `start` on of a region, which no other piece has. The region lives as long as one of its pieces.
struct Piece {
    region: Arc<MmapRaw>,
    start: usize,
}

/// The region that pieces come from at the moment, and how many bytes of it are taken.
static OPEN: Mutex<(Weak<MmapRaw>, usize)> = Mutex::new((Weak::new(), 0));

impl Piece {
    /// `bytes` zeros that were never used before; nothing if the system refuses.
    fn zeros(bytes: usize) -> Option<Self> {
        let bytes = bytes.next_multiple_of(size_of::<Line>());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let (region, start) = match open.0.upgrade() {
            Some(region) if open.1 + bytes <= region.len() => (region, open.1),
            _ => {
                let (map, start) = map_huge(REGION)?;
                (Arc::new(MmapRaw::from(map)), start)
            }
        };
        *open = (Arc::downgrade(&region), start + bytes);
        Some(Self { region, start })
    }
}

/// A fixed number of values, zero at first, aligned to 64 bytes at least.
pub struct Block<T> {
    store: Store,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Pod> Block<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let bytes = len * size_of::<T>();
        let mapped = if bytes >= HUGE_PAGE { map_huge(bytes) } else { None };
        let lines = || Store::Lines(vec![Line::zeroed(); bytes.div_ceil(size_of::<Line>())]);
        let store = mapped.map_or_else(lines, |(map, start)| Store::Map(map, start));
        Self { store, len, values: PhantomData }
    }

    /// `len` zeros that are read from one end to the other in every step and live as long as a model or a session:
    /// where they are too few for huge pages of their own, they share some with others.
    pub fn streamed(len: usize) -> Self {
        let bytes = len * size_of::<T>();
        let piece = if (LEAST_PIECE..HUGE_PAGE).contains(&bytes) { Piece::zeros(bytes) } else { None };
        match piece {
            Some(piece) => Self { store: Store::Piece(piece), len, values: PhantomData },
            None => Self::zeros(len),
        }
    }
}

impl<T: Pod> Block<T> {
    /// Gives the pages that lie wholly in a range of values back to the system; their values are zero from then on. Does
    /// nothing for a block without pages of its own.
    pub fn release(&mut self, values: std::ops::Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Store::Map(map, start) = &self.store {
            let bytes = |value: usize| start + value.min(self.len) * size_of::<T>();
            let (first, end) = (bytes(values.start).next_multiple_of(PAGE), bytes(values.end) / PAGE * PAGE);
            if first < end {
                // SAFETY: the range lies in this private anonymous map, which `self` borrows mutably; its pages read as
                // zeros afterwards, which every bit pattern of a `Pod` may be.
                let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, first, end - first) };
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = values;
    }
}

/// Maps `bytes` from a huge page's boundary on, which is so far from the map's start; nothing if the system refuses.
fn map_huge(bytes: usize) -> Option<(MmapMut, usize)> {
    let map = MmapMut::map_anon(bytes + HUGE_PAGE).ok()?;
    let start = map.as_ptr().align_offset(HUGE_PAGE);
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage); // a wish: without huge pages it is only slower
    (start <= HUGE_PAGE).then_some((map, start))
}

impl Block<u32> {
    /// The same memory as bytes.
    pub(crate) fn into_bytes(self) -> Block<u8> {
        Block { len: self.len * size_of::<u32>(), store: self.store, values: PhantomData }
    }
}

impl<T: Pod> Deref for Block<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let bytes: &[u8] = match &self.store {
            Store::Lines(lines) => bytemuck::cast_slice(lines),
            Store::Map(map, start) => &map[*start..],
            // SAFETY: so many bytes from `start` on are this piece's alone and were zeros at first.
            Store::Piece(p) => unsafe {
                std::slice::from_raw_parts(p.region.as_ptr().add(p.start), self.len * size_of::<T>())
            },
        };
        bytemuck::cast_slice(&bytes[..self.len * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Block<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let bytes: &mut [u8] = match &mut self.store {
            Store::Lines(lines) => bytemuck::cast_slice_mut(lines),
            Store::Map(map, start) => &mut map[*start..],
            // SAFETY: as above, and `self` is borrowed exclusively.
            Store::Piece(p) => unsafe {
                std::slice::from_raw_parts_mut(p.region.as_mut_ptr().add(p.start), self.len * size_of::<T>())
            },
        };
        bytemuck::cast_slice_mut(&mut bytes[..self.len * size_of::<T>()])
    }
}

impl<T: Pod> fmt::Debug for Block<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_any_size_are_aligned_zeroed_and_writable() {
        for len in [0, 1, 17, 4096, (2 << 20) / 4, (6 << 20) / 4 + 5] {
            for mut block in [Block::<f32>::zeros(len), Block::streamed(len)] {
                assert_eq!(block.len(), len);
                assert!(block.iter().all(|&x| x == 0.0));
                assert_eq!(block.as_ptr().align_offset(64), 0);
                block.fill(1.5);
                assert!(block.iter().all(|&x| x == 1.5));
            }
        }
    }

    #[test]
    fn what_is_released_is_zero_and_the_rest_stays() {
        for len in [100, (6 << 20) / 4] {
            let mut block = Block::<u32>::zeros(len);
            block.fill(7);
            let range = len / 3..len / 3 * 2;
            block.release(range.clone());
            assert!(block[..range.start].iter().chain(&block[range.end..]).all(|&x| x == 7));
            assert!(block[range.clone()].iter().all(|&x| x == 0 || x == 7));
            let pages = cfg!(target_os = "linux") && len > 1000;
            assert_eq!(block[range.start + range.len() / 2], if pages { 0 } else { 7 });
            block[range].fill(8);
        }
    }

    #[test]
    fn blocks_that_share_a_region_keep_their_own_values() {
        let make = |i: u32| {
            let mut block = Block::<u32>::streamed(20_000 + 7_001 * i as usize);
            assert!(block.iter().all(|&x| x == 0));
            block.fill(i);
            block
        };
        let mut blocks: Vec<_> = (0..60).map(make).collect(); // several regions
        blocks.retain(|block| block[0] % 3 > 0);
        blocks.extend((60..80).map(make));
        assert!(blocks.iter().all(|block| block.iter().all(|x| *x == block[0])));
    }
}
