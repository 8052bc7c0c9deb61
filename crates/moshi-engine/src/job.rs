//! Work with the model that is done apart from the engine: whoever does it holds no lock, and frames are pushed meanwhile.

use std::sync::Arc;
use std::time::Duration;

use crate::waiting::{Frame, Heard};
use crate::{EngineError, FrameModel, RowOutput, RowStep, SessionId, SessionSpec};

/// The model, and what is to be done with it. Made by [`Engine::job`](crate::Engine::job), run, and given back to
/// [`Engine::settle`](crate::Engine::settle).
pub struct Job {
    pub(crate) model: Box<dyn FrameModel>,
    pub(crate) work: Work,
}

pub(crate) enum Work {
    Open(Opening),
    Close { row: usize },
    Step(Batch),
}

/// A row is made for a session that is new or begins anew.
pub(crate) struct Opening {
    pub(crate) row: usize,
    pub(crate) id: SessionId,
    pub(crate) epoch: u32,
    pub(crate) spec: Arc<SessionSpec>,
    /// Frames of its prompt.
    pub(crate) opened: Result<usize, EngineError>,
}

/// The rows of one step.
pub(crate) struct Batch {
    pub(crate) began: Duration,
    /// Frames that were dropped before this step, by session.
    pub(crate) dropped: Vec<(SessionId, usize)>,
    pub(crate) rows: Vec<BatchRow>,
    pub(crate) outputs: Vec<RowOutput>,
    pub(crate) result: Result<(), EngineError>,
}

/// One row of a step, with buffers that belong to the step while it runs.
pub(crate) struct BatchRow {
    pub(crate) row: usize,
    pub(crate) id: SessionId,
    pub(crate) epoch: u32,
    pub(crate) frame: Frame,
    /// Room for the agent's frame.
    pub(crate) said: Vec<f32>,
    /// Frames of its prompt that are left after the step.
    pub(crate) priming: usize,
}

impl Job {
    /// Does the work. It takes as long as the model does, and panics where the model does: a job that has panicked is to be
    /// thrown away, and its engine told by [`Engine::lose`](crate::Engine::lose).
    pub fn run(&mut self) {
        let model = &mut *self.model;
        match &mut self.work {
            Work::Open(Opening { row, spec, opened, .. }) => {
                *opened = model.open(*row, spec).map(|()| model.priming(*row));
            }
            Work::Close { row } => model.close(*row),
            Work::Step(batch) => batch.run(model),
        }
    }
}

impl Batch {
    fn run(&mut self, model: &mut dyn FrameModel) {
        if self.rows.is_empty() {
            return;
        }
        let mut steps: Vec<RowStep<'_>> = self
            .rows
            .iter_mut()
            .map(|BatchRow { row, frame, said, .. }| RowStep {
                row: *row,
                input: frame.heard.input(),
                aside: &frame.aside,
                pcm_out: said,
                output: RowOutput::default(),
            })
            .collect();
        self.result = model.step(&mut steps);
        self.outputs = steps.into_iter().map(|step| step.output).collect();
        for row in self.rows.iter_mut().filter(|row| matches!(row.frame.heard, Heard::Prompt)) {
            row.priming = model.priming(row.row);
        }
    }
}
