//! How fast a model is that was loaded.

use std::num::NonZeroUsize;
use std::time::Instant;

use moshi_cpu::arithmetic::Operands;
use moshi_cpu::cores::Cores;
use moshi_engine::{
    FRAME_SAMPLES, FrameInput, FrameModel, NO_ASIDE, RowOutput, RowStep, SessionParams, SessionSpec, SpeechModel,
};

use super::machine::MachineProbe;
use super::measure::{Measured, measure};
use super::report::BenchReport;
use crate::{Error, Result};

/// Measures `frames` steps of `rows` sessions together; the loading of the model began at `start`.
///
/// # Errors
/// When the model cannot be made or stepped.
pub fn of_model(
    model: &dyn SpeechModel,
    start: Instant,
    rows: NonZeroUsize,
    frames: NonZeroUsize,
) -> Result<BenchReport> {
    let mut sessions = model.new_rows(rows.get())?;
    let load_s = start.elapsed().as_secs_f64();
    let info = model.info();
    let cores = Cores::new(NonZeroUsize::new(info.threads).unwrap_or(NonZeroUsize::MIN));
    let probe = MachineProbe::new(&cores, Operands::Singles);
    let measured = steps(&mut *sessions, rows.get(), frames.get(), &probe)?;
    let state_bytes = sessions.bytes_per_session() * rows.get() as u64;
    drop(probe);
    Ok(BenchReport {
        model: info.source.clone(),
        executor: info.executor.clone(),
        weight_bytes: info.weight_bytes,
        state_bytes: (state_bytes > 0).then_some(state_bytes),
        ..BenchReport::of(&measured, rows.get(), &cores, load_s)
    }
    .derive())
}

fn steps(model: &mut dyn FrameModel, rows: usize, frames: usize, probe: &MachineProbe) -> Result<Measured> {
    let spec = |row| SessionSpec::live(SessionParams { seed: row as u64, ..SessionParams::default() });
    (0..rows).try_for_each(|row| model.open(row, &spec(row)))?;
    let heard: Vec<f32> = (0..FRAME_SAMPLES).map(|i| 0.1 * (i as f32 * 0.05).sin()).collect();
    let mut said = vec![0.0; rows * FRAME_SAMPLES];
    measure(frames, probe, &mut |_| {
        let mut steps: Vec<RowStep<'_>> = said
            .chunks_exact_mut(FRAME_SAMPLES)
            .enumerate()
            .map(|(row, pcm_out)| RowStep {
                row,
                input: FrameInput::Pcm(&heard),
                aside: &NO_ASIDE,
                pcm_out,
                output: RowOutput::default(),
            })
            .collect();
        model.step(&mut steps)?;
        match steps.iter_mut().find_map(|step| step.output.error.take()) {
            Some(why) => Err(Error::Model(why)),
            None => Ok(()),
        }
    })
}
