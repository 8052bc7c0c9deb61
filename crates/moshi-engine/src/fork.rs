//! Copies of sessions between rows and between engines that threads share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use crate::row::Session;
use crate::shared_engine::{SharedEngine, discard, gone_after};
use crate::{EngineError, FrameModel, SessionId};

/// Two models are held for a copy: one copy at a time, or two opposite ones could wait for each other.
static COPYING: Mutex<()> = Mutex::new(());

impl SharedEngine {
    /// Opens a session in the state of one of `src`, which may be this engine itself; its owner fetches its events. Waits for
    /// the steps that run.
    ///
    /// # Errors
    /// [`EngineError::Full`]; why the session cannot be gone on from; when the two models are of different kinds.
    pub(crate) fn fork_and_wait(&self, src: &Self, id: SessionId) -> Result<SessionId, EngineError> {
        let _one = COPYING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut from = src.borrow_model()?;
        let (src_row, copy) = src.lock().engine.copy_of(id)?;
        if std::ptr::eq(self, src) {
            return from.copy_into(copy, |model, row| model.copy_row(src_row, row));
        }
        let mut to = self.borrow_model()?;
        let Some(from) = from.model.as_deref() else { return Err(EngineError::NoSession(id.0)) };
        to.copy_into(copy, |model, row| model.copy_row_from(from, src_row, row))
    }

    /// Waits until nobody drives and nothing is asked for, and has the model alone.
    fn borrow_model(&self) -> Result<Borrowed<'_>, EngineError> {
        let mut state = self.lock();
        loop {
            state.engine.check_model()?;
            if !state.driving && !state.engine.has_requests() {
                state.driving = true;
                let model = state.engine.lend();
                return Ok(Borrowed { engine: self, model });
            }
            state = self.drive_or_wait(state);
        }
    }
}

/// A model that is out for a copy; it goes back by itself.
struct Borrowed<'a> {
    engine: &'a SharedEngine,
    model: Option<Box<dyn FrameModel>>,
}

impl Borrowed<'_> {
    /// Opens a session like `copy`, whose row `work` makes.
    fn copy_into(
        &mut self,
        copy: Session,
        work: impl FnOnce(&mut dyn FrameModel, usize) -> Result<(), EngineError>,
    ) -> Result<SessionId, EngineError> {
        let (row, fork, left) = {
            let engine = &mut self.engine.lock().engine;
            let (row, fork) = engine.take_row(|id| copy.named(id))?;
            (row, fork, engine.take_closing(row))
        };
        let copied = self.with_model(|model| {
            if left {
                model.close(row);
            }
            work(model, row)
        });
        let fork = self.engine.lock().engine.settle_copy(fork, copied)?;
        self.engine.lock().await_mail(fork);
        Ok(fork)
    }

    fn with_model(
        &mut self,
        work: impl FnOnce(&mut dyn FrameModel) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let Some(mut model) = self.model.take() else { return self.engine.lock().engine.check_model() };
        match catch_unwind(AssertUnwindSafe(|| work(&mut *model))) {
            Ok(result) => {
                self.model = Some(model);
                result
            }
            Err(panic) => {
                let why = gone_after(&*panic);
                self.engine.lock().engine.give_up(&why);
                discard(Some(model));
                Err(why)
            }
        }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.engine.give_back(self.model.take());
    }
}
