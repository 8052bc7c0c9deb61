//! A place for a call: at once, or after a turn in the waiting line.

use std::sync::Arc;

use moshi_engine::{EngineError, SessionSpec};
use moshi_protocol::CloseReason;

use super::waiting_line::{Ticket, WaitingLine};
use crate::call_sink::MODEL_FAILED;
use crate::engine_thread::{AdmitError, EngineHandle, Session};
use crate::metrics::Metrics;
use crate::shutdown::{CallGuard, Shutdown};

/// Finds places.
pub(crate) struct Admission {
    engine: EngineHandle,
    line: Arc<WaitingLine>,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
}

/// A caller who may stay.
pub(crate) struct Admitted {
    /// Keeps the server from ending unnoticed.
    pub(crate) guard: CallGuard,
    /// Its place, or its place in the line for one.
    pub(crate) turn: Turn,
}

/// When a caller gets its place.
pub(crate) enum Turn {
    /// It has one.
    Now(Session),
    /// It waits.
    Later(Ticket),
}

/// Why a caller may not stay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    /// The server ends.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// There is no place, or the engine said no.
    #[error(transparent)]
    NoPlace(#[from] AdmitError),
}

impl NotAdmitted {
    /// A short name of the reason, as in a refusal and in `moshi_sessions_refused_total`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ShuttingDown => CloseReason::ShuttingDown.name(),
            Self::NoPlace(error) => error.name(),
        }
    }
}

impl Admission {
    /// To the places of `engine`, and to `line` for those who find none.
    pub(crate) fn new(engine: EngineHandle, line: Arc<WaitingLine>, shutdown: Shutdown, metrics: Arc<Metrics>) -> Self {
        Self { engine, line, shutdown, metrics }
    }

    /// Finds a place, or, for a caller who `may_wait`, one in the waiting line.
    ///
    /// # Errors
    /// Why there is none; it is counted.
    pub(crate) async fn admit(&self, spec: SessionSpec, may_wait: bool) -> Result<Admitted, NotAdmitted> {
        let admitted = match self.shutdown.enter() {
            Some(guard) => self.turn(spec, may_wait).await.map(|turn| Admitted { guard, turn }).map_err(Into::into),
            None => Err(NotAdmitted::ShuttingDown),
        };
        admitted.inspect_err(|error| self.metrics.refused(error.name()))
    }

    async fn turn(&self, spec: SessionSpec, may_wait: bool) -> Result<Turn, AdmitError> {
        // Nobody overtakes those who wait already.
        let overtaking = self.line.len() > 0;
        let found = match overtaking {
            true => Err(AdmitError::Full { capacity: self.engine.capacity() }),
            false => self.engine.admit(spec).await,
        };
        match found {
            Ok(session) => Ok(Turn::Now(session)),
            Err(error @ (AdmitError::Full { .. } | AdmitError::Overloaded)) if may_wait => {
                self.line.join().map(Turn::Later).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }
}

/// Why a caller who waited and whose turn had come is not admitted.
pub(crate) fn turned_away(error: &AdmitError) -> (CloseReason, Option<String>) {
    match error {
        AdmitError::Full { .. }
        | AdmitError::Overloaded
        | AdmitError::Busy
        | AdmitError::Engine(EngineError::Full { .. }) => (CloseReason::Full, Some(error.to_string())),
        AdmitError::Stopped => (CloseReason::Internal, Some(error.to_string())),
        AdmitError::Engine(_) => {
            tracing::error!(%error, "the model could not open a call");
            (CloseReason::Internal, Some(MODEL_FAILED.to_owned()))
        }
    }
}
