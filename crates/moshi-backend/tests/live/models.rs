//! Models that are slow or break, around the loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moshi_backend::model::ModelHost;
use moshi_engine::{EngineError, FrameInput, FrameModel, Loopback, RowStep, SessionSpec};

/// What happens in a step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Habit {
    /// Every step takes this long.
    Slow(Duration),
    /// A row that hears a loud frame fails alone.
    RowFails,
    /// Every row fails alone, whatever it hears: damaged weights.
    RowsFail,
    /// A loud frame makes the whole step fail.
    StepFails,
    /// A loud frame makes the model panic.
    Panics,
    /// A loud frame makes the step take longer than anybody waits.
    Hangs,
    /// Opening a row for [`FATAL_SEED`] fails.
    OpenFails,
    /// Opening a row for [`FATAL_SEED`] panics.
    OpenPanics,
    /// Closing a row that was opened for [`FATAL_SEED`] panics.
    ClosePanics,
    /// Opening a row for [`FATAL_SEED`] again panics: a call that begins again.
    ReopenPanics,
    /// A loud frame makes the model panic, and it panics once more when it is dropped.
    PanicsTwice,
    /// The first step takes this long: weights come from a disk.
    Cold(Duration),
}

/// The seed that some habits wait for.
pub(crate) const FATAL_SEED: u64 = 13;

struct Peculiar {
    inner: Loopback,
    habit: Habit,
    stepped: bool,
    panicked: bool,
    /// Rows that were opened for [`FATAL_SEED`].
    fatal: Vec<bool>,
}

/// A host of a model with a habit.
pub(crate) fn peculiar(habit: Habit) -> ModelHost {
    ModelHost::new("peculiar", move |rows| {
        let (inner, fatal) = (Loopback::new(rows), vec![false; rows]);
        Ok(Box::new(Peculiar { inner, habit, stepped: false, panicked: false, fatal }))
    })
}

/// A loopback that takes so long a step as it is told to, and counts its steps.
#[derive(Clone, Default)]
pub(crate) struct Paced {
    pub(crate) millis: Arc<AtomicU64>,
    pub(crate) steps: Arc<AtomicU64>,
}

impl Paced {
    /// A host that has memory for at most `most` rows, which a measurement of the machine finds out.
    pub(crate) fn host(&self, most: usize) -> ModelHost {
        let paced = self.clone();
        ModelHost::new("paced", move |rows| match rows {
            rows if rows <= most => Ok(Box::new(PacedRows { inner: Loopback::new(rows), paced: paced.clone() })),
            _ => Err(EngineError::Model("no memory".to_owned())),
        })
    }
}

struct PacedRows {
    inner: Loopback,
    paced: Paced,
}

/// A frame of s16le that the peculiar models cannot bear.
pub(crate) fn loud_frame() -> Vec<u8> {
    i16::MIN.to_le_bytes().repeat(crate::common::FRAME)
}

impl FrameModel for Peculiar {
    fn rows(&self) -> usize {
        self.inner.rows()
    }

    fn open(&mut self, row: usize, spec: &SessionSpec) -> Result<(), EngineError> {
        let fatal = spec.sampling.seed == FATAL_SEED;
        match self.habit {
            Habit::OpenFails if fatal => return Err(EngineError::Model("device error 719".to_owned())),
            Habit::OpenPanics if fatal => panic!("a bug in open"),
            Habit::ReopenPanics if fatal && self.fatal[row] => panic!("a bug in reopen"),
            _ => {}
        }
        self.fatal[row] = fatal;
        self.inner.open(row, spec)
    }

    fn close(&mut self, row: usize) {
        assert!(!(matches!(self.habit, Habit::ClosePanics) && self.fatal[row]), "a bug in close");
        self.inner.close(row);
    }

    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError> {
        self.inner.step(steps)?;
        let loud = |step: &RowStep<'_>| matches!(step.input, FrameInput::Pcm(pcm) if pcm.iter().all(|s| *s <= -1.0));
        let first = !std::mem::replace(&mut self.stepped, true);
        match self.habit {
            Habit::Cold(time) if first => std::thread::sleep(time),
            Habit::Slow(time) => std::thread::sleep(time),
            Habit::RowFails => {
                for step in steps.iter_mut().filter(|s| loud(s)) {
                    step.output.error = Some("too loud for me".to_owned());
                }
            }
            Habit::RowsFail => {
                steps.iter_mut().for_each(|step| step.output.error = Some("the weights are damaged".to_owned()));
            }
            Habit::StepFails if steps.iter().any(loud) => {
                return Err(EngineError::Model("the device is gone".to_owned()));
            }
            Habit::Panics if steps.iter().any(loud) => panic!("a bug"),
            Habit::PanicsTwice if steps.iter().any(loud) => {
                self.panicked = true;
                panic!("a bug");
            }
            Habit::Hangs if steps.iter().any(loud) => std::thread::sleep(Duration::from_secs(3_600)),
            _ => {}
        }
        Ok(())
    }

    fn copy_row_from(&mut self, _src: &dyn FrameModel, _src_row: usize, _row: usize) -> Result<(), EngineError> {
        Err(EngineError::Model("no test copies rows".to_owned()))
    }

    fn copy_row(&mut self, src_row: usize, row: usize) -> Result<(), EngineError> {
        self.inner.copy_row(src_row, row)
    }
}

impl Drop for Peculiar {
    fn drop(&mut self) {
        if self.panicked {
            std::panic::panic_any("a bug in drop");
        }
    }
}

impl FrameModel for PacedRows {
    fn rows(&self) -> usize {
        self.inner.rows()
    }

    fn open(&mut self, row: usize, spec: &SessionSpec) -> Result<(), EngineError> {
        self.inner.open(row, spec)
    }

    fn close(&mut self, row: usize) {
        self.inner.close(row);
    }

    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError> {
        std::thread::sleep(Duration::from_millis(self.paced.millis.load(Ordering::Relaxed)));
        self.inner.step(steps)?;
        self.paced.steps.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn copy_row_from(&mut self, _src: &dyn FrameModel, _src_row: usize, _row: usize) -> Result<(), EngineError> {
        Err(EngineError::Model("no test copies rows".to_owned()))
    }

    fn copy_row(&mut self, src_row: usize, row: usize) -> Result<(), EngineError> {
        self.inner.copy_row(src_row, row)
    }
}
