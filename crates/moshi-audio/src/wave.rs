//! The samples of a wav file as packets for symphonia's decoders.

use std::io::{ErrorKind, Read, Result};

use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

use crate::input::Part;
use crate::wave_format::{Blocks, PACKET_FRAMES};

/// Most bytes of a packet, as long as a block is not longer.
const MOST_BYTES: usize = 1 << 18;

/// Cuts samples into packets of whole blocks.
pub(crate) struct WaveBlocks {
    part: Part,
    /// Bytes of a block.
    bytes: usize,
    /// Samples of each channel in a block.
    frames: usize,
    /// Samples of each channel given out so far.
    at: i64,
}

impl WaveBlocks {
    /// The blocks that lie in `part`.
    pub(crate) fn new(part: Part, blocks: &Blocks) -> Self {
        Self { part, bytes: blocks.bytes.max(1), frames: blocks.frames.max(1), at: 0 }
    }

    /// The next blocks; `None` at the end, where a block that breaks off is left out.
    pub(crate) fn next_packet(&mut self) -> Result<Option<Packet>> {
        let wanted = (PACKET_FRAMES / self.frames).min(MOST_BYTES / self.bytes).max(1);
        let mut bytes = vec![0; wanted * self.bytes];
        let filled = self.fill(&mut bytes)?;
        let blocks = filled / self.bytes;
        if blocks == 0 {
            return Ok(None);
        }
        bytes.truncate(blocks * self.bytes);
        let frames = blocks * self.frames;
        let packet = Packet::new(0, Timestamp::new(self.at), Duration::from(frames as u64), bytes);
        self.at = self.at.saturating_add(frames as i64);
        Ok(Some(packet))
    }

    /// Reads until `out` is full or there is no more.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            match self.part.read(&mut out[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
