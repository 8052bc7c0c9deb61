//! An engine from the side of those who wait for their answers: whoever waits, drives.

use std::sync::{Arc, MutexGuard};

use crate::row::Session;
use crate::shared_engine::{SharedEngine, State};
use crate::{EngineError, Input, SessionEvent, SessionId, SessionSpec};

impl SharedEngine {
    /// Opens a session whose events its owner fetches, and waits for its row.
    pub(crate) fn open_and_wait(&self, spec: Arc<SessionSpec>) -> Result<SessionId, EngineError> {
        let mut state = self.lock();
        let id = state.engine.open(spec)?;
        state.await_mail(id);
        let mut events = Vec::new();
        let opened = self.await_events(state, id, &mut events).and_then(|()| first_failure(&mut events));
        if opened.is_err() {
            self.lock().forget_mail(id);
        }
        opened.map(|()| id)
    }

    /// Gives a session `input`, waits until everything it was given is done with, and appends what came of it to `events`.
    pub(crate) fn push_and_wait(
        &self,
        id: SessionId,
        input: Input<'_>,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), EngineError> {
        let mut state = self.lock();
        state.engine.push(self.now(), id, input)?;
        self.await_events(state, id, events)
    }

    /// Has a session begin anew, and waits for it.
    pub(crate) fn reset_and_wait(&self, id: SessionId) -> Result<(), EngineError> {
        let mut state = self.lock();
        state.engine.reset(id)?;
        let mut events = Vec::new();
        self.await_events(state, id, &mut events)?;
        first_failure(&mut events)
    }

    /// Whether a session that reads aloud takes no step before it is given more words.
    pub(crate) fn wants_words(&self, id: SessionId) -> bool {
        self.lock().engine.session(id).is_some_and(Session::is_waiting)
    }

    /// Closes a session, and gives its row back unless somebody who drives will.
    pub(crate) fn close_and_clear(&self, id: SessionId) {
        self.close(id);
        self.clear_up(self.lock());
    }

    /// Runs everybody's steps, or waits for whoever does, until nothing of this session's is left to do.
    fn await_events<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        id: SessionId,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), EngineError> {
        while state.engine.is_busy(id) {
            state = self.drive_or_wait(state);
        }
        state.fetch_mail(id, events);
        let gone = state.engine.check_model();
        self.clear_up(state);
        gone
    }

    /// Serves what was asked for by those who do not wait for it, if nobody else will.
    fn clear_up<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        while !state.driving && state.engine.has_requests() && state.engine.gone().is_none() {
            state = self.drive_or_wait(state);
        }
    }

    /// Does what is to be done next, or waits until whoever drives has done it.
    pub(crate) fn drive_or_wait<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        match self.begin(&mut state) {
            Some(job) => {
                drop(state);
                let done = self.work(job);
                self.hand_out(done);
                self.lock()
            }
            None if state.driving => self.wait(state),
            None => state,
        }
    }
}

/// A failure among the events of a session that is being opened or reset.
fn first_failure(events: &mut Vec<SessionEvent>) -> Result<(), EngineError> {
    let failure = events.drain(..).find_map(|event| match event {
        SessionEvent::Failed(error) => Some(error),
        _ => None,
    });
    failure.map_or(Ok(()), Err)
}
