//! Rows of one model stepped from several threads.
//!
//! Whoever asks first runs the step for everybody who is waiting at that moment; callers that come during a step are
//! served together by the next one. So sessions of a large model, whose step costs the reading of its weights, share
//! that cost without a thread of their own and without waiting for one another's audio.
//!
//! **What a failure ends.** A row that fails alone, and every row of a step that fails as a whole, is broken: it says so
//! until it is reset. A model that panics, wherever, is in no state that anybody could vouch for: it is thrown away, and
//! all its rows say so for good. Nobody waits for a model that is gone.

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
    model: Model,
    rows: Vec<Row>,
}

impl State {
    /// After work on a row: it can be gone on from, or it is broken. (Where the model is gone, that is said instead.)
    fn settle(&mut self, row: usize, failed: Option<&EngineError>) {
        let gone = matches!(self.model, Model::Gone(_));
        self.rows[row].broken = failed.filter(|_| !gone).map(broken);
    }
}

/// Where the model is.
enum Model {
    Here(Box<dyn FrameModel>),
    /// Somebody works with it and will bring it back.
    Taken,
    /// It panicked, and this is what every row hears from now on.
    Gone(EngineError),
}

#[derive(Default)]
struct Row {
    open: bool,
    /// Why its memory cannot be gone on from, until it is reset.
    broken: Option<EngineError>,
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
        Self { state: Mutex::new(State { model: Model::Here(model), rows }), changed: Condvar::new() }
    }

    /// Whether the model panicked: no row of it can be opened, reset or stepped any more.
    pub fn is_gone(&self) -> bool {
        matches!(self.lock().model, Model::Gone(_))
    }

    /// Opens a free row.
    ///
    /// # Errors
    /// [`EngineError::Full`] when there is none; what [`FrameModel::open`] reports otherwise; [`EngineError::Model`] when
    /// the model panicked, now or before.
    pub fn open(&self, params: &SessionParams) -> Result<usize, EngineError> {
        let row = self.reserve()?;
        let opened = self.with_model(|model| model.open(row, params));
        if opened.is_err() {
            self.lock().rows[row].open = false;
        }
        opened.map(|()| row)
    }

    /// Makes an open row a fresh session, whatever was wrong with it.
    ///
    /// # Errors
    /// What [`FrameModel::open`] reports: the row is then broken. [`EngineError::Model`] when the model panicked.
    pub fn reset(&self, row: usize, params: &SessionParams) -> Result<(), EngineError> {
        let reset = self.with_model(|model| model.open(row, params));
        self.lock().settle(row, reset.as_ref().err());
        reset
    }

    /// Opens a free row as a deep copy of `src_row` of `src`, which may be these rows themselves.
    ///
    /// # Errors
    /// As [`SharedRows::open`], when the two are of different kinds, and when the row to copy is broken.
    pub fn open_copy(&self, src: &SharedRows, src_row: usize) -> Result<usize, EngineError> {
        src.check(src_row)?;
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

    /// Frees a row. Waits for a step that runs, but for nothing else.
    pub fn close(&self, row: usize) {
        // A model that panics, or did before, has no row left to close.
        let _ = self.with_model(|model| {
            model.close(row);
            Ok(())
        });
        self.lock().rows[row].open = false;
    }

    /// Steps `row` by one frame: `pcm_in` and `pcm_out` hold [`FRAME_SAMPLES`] samples. Blocks until the step is done;
    /// it runs on this thread or on that of another waiting caller.
    ///
    /// # Errors
    /// What [`FrameModel::step`] reports for the step in which this row took part, or for this row alone; from then on the
    /// same until the row is reset. [`EngineError::Input`] for frames of another length.
    pub fn step(&self, row: usize, pcm_in: &[f32], pcm_out: &mut [f32]) -> Result<RowOutput, EngineError> {
        if let Some(found) = [pcm_in.len(), pcm_out.len()].into_iter().find(|len| *len != FRAME_SAMPLES) {
            return Err(EngineError::Input(format!("a frame has {FRAME_SAMPLES} samples, found {found}")));
        }
        let mut state = self.lock();
        let slot = &mut state.rows[row];
        if let Some(why) = &slot.broken {
            return Err(why.clone());
        }
        slot.pcm_in.resize(FRAME_SAMPLES, 0.0);
        slot.pcm_in.copy_from_slice(pcm_in);
        slot.phase = Phase::Waiting;
        loop {
            if matches!(state.rows[row].phase, Phase::Done(_)) {
                return take_result(&mut state.rows[row], pcm_out);
            }
            state = match std::mem::replace(&mut state.model, Model::Taken) {
                Model::Here(model) => self.run_waiting(state, model),
                Model::Taken => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Model::Gone(why) => {
                    state.rows[row].phase = Phase::Idle;
                    state.model = Model::Gone(why.clone());
                    return Err(why);
                }
            };
        }
    }

    /// Steps `row` by one frame of codes; see [`FrameModel::step_codes`].
    ///
    /// # Errors
    /// What [`FrameModel::step_codes`] reports; from a failure of the model on, the same until the row is reset.
    pub fn step_codes(&self, row: usize, codes: &[i32]) -> Result<Option<Vec<i32>>, EngineError> {
        self.check(row)?;
        let stepped = self.with_model(|model| model.step_codes(row, codes));
        if let Err(error @ EngineError::Model(_)) = &stepped {
            self.lock().settle(row, Some(error));
        }
        stepped
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
        let stepped = catch_unwind(AssertUnwindSafe(|| model.step(&mut steps)));
        let outputs: Vec<RowOutput> = steps.into_iter().map(|s| s.output).collect();
        let (model, result) = settled(model, stepped);
        let mut state = self.lock();
        state.model = model;
        for ((i, pcm_in, pcm_out), output) in batch.into_iter().zip(outputs) {
            let failed = match (&result, &output.error) {
                (Err(error), _) => Some(error.clone()),
                (Ok(()), Some(why)) => Some(EngineError::Model(why.clone())),
                (Ok(()), None) => None,
            };
            state.settle(i, failed.as_ref());
            let row = &mut state.rows[i];
            (row.pcm_in, row.pcm_out, row.output) = (pcm_in, pcm_out, output);
            row.phase = Phase::Done(failed);
        }
        self.changed.notify_all();
        state
    }

    /// Waits until no step runs, and has the model alone.
    fn with_model<T>(&self, f: impl FnOnce(&mut dyn FrameModel) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let mut state = self.lock();
        loop {
            state = match std::mem::replace(&mut state.model, Model::Taken) {
                Model::Here(mut model) => {
                    drop(state);
                    let done = catch_unwind(AssertUnwindSafe(|| f(&mut *model)));
                    let (model, result) = settled(model, done);
                    self.lock().model = model;
                    self.changed.notify_all();
                    return result;
                }
                Model::Taken => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Model::Gone(why) => {
                    state.model = Model::Gone(why.clone());
                    return Err(why);
                }
            };
        }
    }

    /// Whether a row can be gone on from.
    ///
    /// # Errors
    /// Why not: the row is broken, or the model panicked.
    pub(crate) fn check(&self, row: usize) -> Result<(), EngineError> {
        let state = self.lock();
        match (&state.model, &state.rows[row].broken) {
            (Model::Gone(why), _) | (_, Some(why)) => Err(why.clone()),
            _ => Ok(()),
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

/// Where a model is after somebody has worked with it, and what came of the work.
fn settled<T>(
    model: Box<dyn FrameModel>,
    done: std::thread::Result<Result<T, EngineError>>,
) -> (Model, Result<T, EngineError>) {
    match done {
        Ok(result) => (Model::Here(model), result),
        Err(panic) => {
            // Its drop may run into whatever made it panic.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(model)));
            let why = EngineError::Model(format!(
                "it panicked ({}) and is not gone on with; open new sessions, and please report this",
                panic_text(&*panic)
            ));
            (Model::Gone(why.clone()), Err(why))
        }
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What a row says whose memory is lost.
fn broken(why: &EngineError) -> EngineError {
    let why = why.to_string();
    let why = why.strip_prefix("the model failed: ").unwrap_or(&why);
    EngineError::Model(format!("{why}; this session cannot go on: reset it, or open another"))
}

fn take_result(row: &mut Row, pcm_out: &mut [f32]) -> Result<RowOutput, EngineError> {
    let phase = std::mem::take(&mut row.phase);
    if let Phase::Done(Some(error)) = phase {
        return Err(error);
    }
    pcm_out.copy_from_slice(&row.pcm_out);
    Ok(std::mem::take(&mut row.output))
}
