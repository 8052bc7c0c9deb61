//! The measurement itself: steps, with measurements of the machine between them.

use std::time::Instant;

use super::{Machine, MachineProbe};

/// Steps that are not counted, before all others.
const WARM_UP: usize = 5;
/// Measurements of the machine, spread over the run.
const PROBES: usize = 9;

/// Times of the steps in milliseconds, and what the machine could do between them.
pub struct Measured {
    /// One for each frame.
    pub steps: Vec<f64>,
    /// Spread over the run.
    pub machine: Vec<Machine>,
}

/// Times `step` for `frames` frames. It is told whether its frame counts.
///
/// # Errors
/// Those of `step`.
pub fn measure(
    frames: usize,
    probe: &MachineProbe,
    step: &mut dyn FnMut(bool) -> anyhow::Result<()>,
) -> anyhow::Result<Measured> {
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
