//! Models that are slow or break, around the loopback.

use std::time::Duration;

use moshi_backend::model::ModelHost;
use moshi_engine::{EngineError, FrameModel, Loopback, RowStep, SessionParams};

/// What happens in a step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Habit {
    /// Every step takes this long.
    Slow(Duration),
    /// A row that hears a loud frame fails alone.
    RowFails,
    /// A loud frame makes the whole step fail.
    StepFails,
    /// A loud frame makes the model panic.
    Panics,
    /// A loud frame makes the step take longer than anybody waits.
    Hangs,
    /// The first step takes this long: weights come from a disk.
    Cold(Duration),
}

struct Peculiar {
    inner: Loopback,
    habit: Habit,
    stepped: bool,
}

/// A host of a model with a habit.
pub(crate) fn peculiar(habit: Habit) -> ModelHost {
    ModelHost::new("peculiar", move |rows| Ok(Box::new(Peculiar { inner: Loopback::new(rows), habit, stepped: false })))
}

/// A frame of s16le that the peculiar models cannot bear.
pub(crate) fn loud_frame() -> Vec<u8> {
    i16::MIN.to_le_bytes().repeat(crate::common::FRAME)
}

impl FrameModel for Peculiar {
    fn rows(&self) -> usize {
        self.inner.rows()
    }

    fn open(&mut self, row: usize, params: &SessionParams) -> Result<(), EngineError> {
        self.inner.open(row, params)
    }

    fn close(&mut self, row: usize) {
        self.inner.close(row);
    }

    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError> {
        self.inner.step(steps)?;
        let loud = |step: &RowStep<'_>| step.pcm_in.iter().all(|s| *s <= -1.0);
        let first = !std::mem::replace(&mut self.stepped, true);
        match self.habit {
            Habit::Cold(time) if first => std::thread::sleep(time),
            Habit::Slow(time) => std::thread::sleep(time),
            Habit::RowFails => {
                for step in steps.iter_mut().filter(|s| loud(s)) {
                    step.output.error = Some("too loud for me".to_owned());
                }
            }
            Habit::StepFails if steps.iter().any(loud) => {
                return Err(EngineError::Model("the device is gone".to_owned()));
            }
            Habit::Panics if steps.iter().any(loud) => panic!("a bug"),
            Habit::Hangs if steps.iter().any(loud) => std::thread::sleep(Duration::from_secs(3_600)),
            Habit::StepFails | Habit::Panics | Habit::Hangs | Habit::Cold(_) => {}
        }
        Ok(())
    }

    fn step_codes(&mut self, row: usize, codes: &[u32]) -> Result<Option<Vec<u32>>, EngineError> {
        self.inner.step_codes(row, codes)
    }

    fn copy_row_from(&mut self, _src: &dyn FrameModel, _src_row: usize, _row: usize) -> Result<(), EngineError> {
        Err(EngineError::Model("no test copies rows".to_owned()))
    }

    fn copy_row(&mut self, src_row: usize, row: usize) -> Result<(), EngineError> {
        self.inner.copy_row(src_row, row)
    }
}
