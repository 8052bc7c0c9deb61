//! The measurement itself: steps, with measurements of the machine between them.

use std::time::Instant;

use super::machine::{Machine, MachineProbe};
use super::percentiles::Percentiles;
use crate::Result;

/// Steps that are not counted, before all others.
const WARM_UP: usize = 5;
/// Measurements of the machine, spread over the run.
const PROBES: usize = 9;

/// Times of the steps in milliseconds, and what the machine could do between them.
pub(super) struct Measured {
    /// One for each frame.
    pub(super) steps: Vec<f64>,
    /// Spread over the run.
    pub(super) machine: Vec<Machine>,
}

impl Measured {
    /// The median of something that the machine could do.
    pub(super) fn median(&self, of: impl Fn(&Machine) -> f64) -> f64 {
        Percentiles::of(self.machine.iter().map(of).collect()).p50
    }
}

/// Times `step` for `frames` frames. It is told whether its frame counts.
///
/// # Errors
/// Those of `step`.
pub(super) fn measure(
    frames: usize,
    probe: &MachineProbe,
    step: &mut dyn FnMut(bool) -> Result<()>,
) -> Result<Measured> {
    for _ in 0..WARM_UP {
        step(false)?;
    }
    let every = frames.div_ceil(PROBES).max(1);
    let mut measured = Measured { steps: Vec::with_capacity(frames), machine: Vec::with_capacity(PROBES) };
    for frame in 0..frames {
        if frame % every == 0 {
            measured.machine.push(probe.measure());
            step(false)?; // the probe emptied the caches; the step after it is not a step in a conversation
        }
        let start = Instant::now();
        step(true)?;
        measured.steps.push(1e3 * start.elapsed().as_secs_f64());
    }
    Ok(measured)
}
