//! An engine that one thread has to itself: what is asked for is done at once.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Engine, JobReport, Model};
use crate::job::Work;
use crate::row::Session;
use crate::{EngineError, FrameModel, Job, Output, SessionEvent, SessionId, SessionSpec};

impl Engine {
    /// Opens a session in a free row.
    ///
    /// # Errors
    /// As [`Engine::open`], and what [`FrameModel::open`] reports.
    pub fn admit(&mut self, spec: impl Into<Arc<SessionSpec>>) -> Result<SessionId, EngineError> {
        let id = self.open(spec)?;
        let mut told = std::mem::take(&mut self.early);
        self.serve_requests(&mut told);
        let (mine, others) = told.into_iter().partition(|output| output.session == id);
        self.early = others;
        let mut mine: Vec<Output> = mine;
        match mine.pop().map(|output| output.event) {
            Some(SessionEvent::Failed(error)) => Err(error),
            _ => Ok(id),
        }
    }

    /// Steps every row that has something to hear, once, and collects what came of it. Lag is computed as if the step took
    /// no time; a driver that has a clock uses [`Engine::tick_timed`].
    ///
    /// # Errors
    /// When the model failed as a whole: the sessions of this step have failed, and the model is as it is.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Output>) -> Result<JobReport, EngineError> {
        self.tick_timed(out, || now)
    }

    /// As [`Engine::tick`], with `clock` telling the time before and after the step, from which each reply's lag is
    /// computed.
    ///
    /// # Errors
    /// As [`Engine::tick`].
    pub fn tick_timed(
        &mut self,
        out: &mut Vec<Output>,
        clock: impl Fn() -> Duration,
    ) -> Result<JobReport, EngineError> {
        self.check_model()?;
        out.append(&mut self.early);
        self.serve_requests(out);
        let mut report = JobReport::default();
        if self.ready() {
            let work = Work::Step(self.batch(clock()));
            if let Some(model) = self.lend() {
                let mut job = Job { model, work };
                job.run();
                report = self.settle(job, clock(), out);
            }
        }
        self.serve_requests(out);
        match report.error.take() {
            Some(error) => Err(error),
            None => Ok(report),
        }
    }

    /// Opens a session in the state of another of this engine.
    ///
    /// # Errors
    /// [`EngineError::Full`] when every row is taken; why the other cannot be gone on from; what [`FrameModel::copy_row`]
    /// reports.
    pub fn fork(&mut self, id: SessionId) -> Result<SessionId, EngineError> {
        let mut told = std::mem::take(&mut self.early);
        self.serve_requests(&mut told);
        self.early = told;
        let (src_row, copy) = self.copy_of(id)?;
        let (row, fork) = self.take_row(|id| copy.named(id))?;
        let copied = self.with_model(|model| model.copy_row(src_row, row));
        self.settle_copy(fork, copied)
    }

    /// Opens a session in the state of one of another engine over the same model.
    ///
    /// # Errors
    /// As [`Engine::fork`], and when the two models are of different kinds.
    pub fn fork_from(&mut self, other: &Self, id: SessionId) -> Result<SessionId, EngineError> {
        let mut told = std::mem::take(&mut self.early);
        self.serve_requests(&mut told);
        self.early = told;
        let (src_row, copy) = other.copy_of(id)?;
        let Model::Here(src) = &other.model else { return Err(EngineError::NoSession(id.0)) };
        let (row, fork) = self.take_row(|id| copy.named(id))?;
        let copied = self.with_model(|model| model.copy_row_from(&**src, src_row, row));
        self.settle_copy(fork, copied)
    }

    /// A session that goes on from the state of session `id`, and the row to be copied.
    pub(crate) fn copy_of(&self, id: SessionId) -> Result<(usize, Session), EngineError> {
        self.check_model()?;
        let missing = EngineError::NoSession(id.0);
        let row = self.row_of(id).ok_or(missing.clone())?;
        let session = self.session(id).ok_or(missing)?.copy()?;
        Ok((row, session))
    }

    /// After its row was copied, or not.
    pub(crate) fn settle_copy(
        &mut self,
        fork: SessionId,
        copied: Result<(), EngineError>,
    ) -> Result<SessionId, EngineError> {
        match (copied, self.row_of(fork)) {
            (Ok(()), _) => {
                self.metrics.admitted += 1;
                Ok(fork)
            }
            (Err(error), row) => {
                if let Some(row) = row {
                    self.rows[row] = None;
                }
                Err(error)
            }
        }
    }

    fn with_model(
        &mut self,
        work: impl FnOnce(&mut dyn FrameModel) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        match &mut self.model {
            Model::Here(model) => work(&mut **model),
            Model::Gone(why) => Err(why.clone()),
            Model::Lent => Err(EngineError::Model("it is in use".to_owned())),
        }
    }

    fn serve_requests(&mut self, out: &mut Vec<Output>) {
        while let Some(work) = self.next_request() {
            let Some(model) = self.lend() else { return };
            let mut job = Job { model, work };
            job.run();
            self.settle(job, Duration::ZERO, out);
        }
    }
}
