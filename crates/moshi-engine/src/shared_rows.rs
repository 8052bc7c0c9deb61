//! Rows of one model stepped from several threads.
//!
//! Whoever asks first runs the step for everybody who is waiting at that moment; callers that come during a step are
//! served together by the next one. So sessions of a large model, whose step costs the reading of its weights, share
//! that cost without a thread of their own and without waiting for one another's audio.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::{EngineError, FRAME_SAMPLES, FrameModel, RowOutput, RowStep, SessionParams};

static COPYING: Mutex<()> = Mutex::new(());

/// A [`FrameModel`] whose rows belong to sessions on different threads.
pub struct SharedRows {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Absent while somebody runs a step.
    model: Option<Box<dyn FrameModel>>,
    rows: Vec<Row>,
}

#[derive(Default)]
struct Row {
    open: bool,
    phase: Phase,
    /// The caller's frame on the way in, the agent's on the way out.
    pcm_in: Vec<f32>,
    pcm_out: Vec<f32>,
    output: RowOutput,
}

#[derive(Default, PartialEq)]
enum Phase {
    #[default]
    Idle,
    Waiting,
    Running,
    Done(Option<EngineError>),
}

impl SharedRows {
    /// Shares the rows of `model`.
    pub fn new(model: Box<dyn FrameModel>) -> Self {
        let rows = (0..model.rows()).map(|_| Row::default()).collect();
        Self { state: Mutex::new(State { model: Some(model), rows }), changed: Condvar::new() }
    }

    /// Opens a free row.
    ///
    /// # Errors
    /// [`EngineError::Full`] when there is none; what [`FrameModel::open`] reports otherwise.
    pub fn open(&self, params: &SessionParams) -> Result<usize, EngineError> {
        let row = self.reserve()?;
        let opened = self.with_model(|model| model.open(row, params));
        if opened.is_err() {
            self.lock().rows[row].open = false;
        }
        opened.map(|()| row)
    }

    /// Makes an open row a fresh session.
    ///
    /// # Errors
    /// What [`FrameModel::open`] reports.
    pub fn reset(&self, row: usize, params: &SessionParams) -> Result<(), EngineError> {
        self.with_model(|model| model.open(row, params))
    }

    /// Opens a free row as a deep copy of `src_row` of `src`, which may be these rows themselves.
    ///
    /// # Errors
    /// As [`SharedRows::open`], and when the two are of different kinds.
    pub fn open_copy(&self, src: &SharedRows, src_row: usize) -> Result<usize, EngineError> {
        let row = self.reserve()?;
        let copied = if std::ptr::eq(self, src) {
            self.with_model(|model| model.copy_row(src_row, row))
        } else {
            // Both models are held for the copy: one copy at a time, or two opposite ones could wait for each other.
            let _one = COPYING.lock().unwrap_or_else(PoisonError::into_inner);
            src.with_model(|from| self.with_model(|to| to.copy_row_from(&*from, src_row, row)))
        };
        if copied.is_err() {
            self.lock().rows[row].open = false;
        }
        copied.map(|()| row)
    }

    /// Frees a row.
    pub fn close(&self, row: usize) {
        let closed = self.with_model(|model| {
            model.close(row);
            Ok(())
        });
        debug_assert!(closed.is_ok());
        self.lock().rows[row].open = false;
    }

    /// Steps `row` by one frame: `pcm_in` and `pcm_out` hold [`FRAME_SAMPLES`] samples. Blocks until the step is done;
    /// it runs on this thread or on that of another waiting caller.
    ///
    /// # Errors
    /// What [`FrameModel::step`] reports for the step in which this row took part, or for this row alone.
    pub fn step(&self, row: usize, pcm_in: &[f32], pcm_out: &mut [f32]) -> Result<RowOutput, EngineError> {
        let mut state = self.lock();
        let slot = &mut state.rows[row];
        slot.pcm_in.resize(FRAME_SAMPLES, 0.0);
        slot.pcm_in.copy_from_slice(pcm_in);
        slot.phase = Phase::Waiting;
        loop {
            if matches!(state.rows[row].phase, Phase::Done(_)) {
                return take_result(&mut state.rows[row], pcm_out);
            }
            state = match state.model.take() {
                Some(model) => self.run_waiting(state, model),
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Steps `row` by one frame of codes; see [`FrameModel::step_codes`].
    ///
    /// # Errors
    /// What [`FrameModel::step_codes`] reports.
    pub fn step_codes(&self, row: usize, codes: &[u32]) -> Result<Option<Vec<u32>>, EngineError> {
        self.with_model(|model| model.step_codes(row, codes))
    }

    /// Runs one step for every waiting row, with the lock released meanwhile.
    fn run_waiting<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        mut model: Box<dyn FrameModel>,
    ) -> MutexGuard<'a, State> {
        let mut batch: Vec<(usize, Vec<f32>, Vec<f32>)> = Vec::new();
        for (i, row) in state.rows.iter_mut().enumerate().filter(|(_, r)| r.phase == Phase::Waiting) {
            row.phase = Phase::Running;
            let mut out = std::mem::take(&mut row.pcm_out);
            out.resize(FRAME_SAMPLES, 0.0);
            batch.push((i, std::mem::take(&mut row.pcm_in), out));
        }
        drop(state);
        let mut steps: Vec<RowStep<'_>> = batch
            .iter_mut()
            .map(|(row, pcm_in, pcm_out)| RowStep { row: *row, pcm_in, pcm_out, output: RowOutput::default() })
            .collect();
        // A panic must not leave the other callers waiting for a model that is gone.
        let result = catch_unwind(AssertUnwindSafe(|| model.step(&mut steps)))
            .unwrap_or_else(|_| Err(EngineError::Model("the step panicked; please report this".to_owned())));
        let outputs: Vec<RowOutput> = steps.into_iter().map(|s| s.output).collect();
        let mut state = self.lock();
        for ((i, pcm_in, pcm_out), output) in batch.into_iter().zip(outputs) {
            let row = &mut state.rows[i];
            (row.pcm_in, row.pcm_out, row.output) = (pcm_in, pcm_out, output);
            row.phase = Phase::Done(result.as_ref().err().cloned());
        }
        state.model = Some(model);
        self.changed.notify_all();
        state
    }

    /// Waits until no step runs, and has the model alone.
    fn with_model<T>(&self, f: impl FnOnce(&mut dyn FrameModel) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let mut state = self.lock();
        loop {
            if let Some(mut model) = state.model.take() {
                drop(state);
                let result = f(&mut *model);
                self.lock().model = Some(model);
                self.changed.notify_all();
                return result;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn reserve(&self) -> Result<usize, EngineError> {
        let mut state = self.lock();
        let rows = state.rows.len();
        let row = state.rows.iter().position(|r| !r.open).ok_or(EngineError::Full { rows })?;
        state.rows[row] = Row { open: true, ..Row::default() };
        Ok(row)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_result(row: &mut Row, pcm_out: &mut [f32]) -> Result<RowOutput, EngineError> {
    let phase = std::mem::take(&mut row.phase);
    if let Phase::Done(Some(error)) = phase {
        return Err(error);
    }
    let output = std::mem::take(&mut row.output);
    if let Some(why) = &output.error {
        return Err(EngineError::Model(why.clone()));
    }
    pcm_out.copy_from_slice(&row.pcm_out);
    Ok(output)
}
