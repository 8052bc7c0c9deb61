//! How a server ends: no new calls, time for the open ones, a close frame with a reason, and never longer than allowed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Not at all.
    Running,
    /// No new calls.
    Draining,
    /// Open calls are closed.
    Closing,
}

/// The end of a server, seen by everything that must know; cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    phase: Arc<watch::Sender<Phase>>,
    /// Each call holds a clone; the server is empty once all are gone.
    calls: mpsc::WeakSender<()>,
}

/// The side that ends the server.
#[derive(Debug)]
pub(crate) struct ShutdownControl {
    shutdown: Shutdown,
    own: mpsc::Sender<()>,
    empty: mpsc::Receiver<()>,
}

/// Kept by a call as long as it lasts.
#[derive(Debug)]
pub(crate) struct CallGuard {
    _call: mpsc::Sender<()>,
    phase: watch::Receiver<Phase>,
}

impl ShutdownControl {
    /// The end of a server that has just begun.
    pub(crate) fn new() -> Self {
        let (own, empty) = mpsc::channel(1);
        let shutdown = Shutdown { phase: Arc::new(watch::channel(Phase::Running).0), calls: own.downgrade() };
        Self { shutdown, own, empty }
    }

    /// What everything else sees.
    pub(crate) fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Refuses new calls, gives the open ones `drain`, then closes them, and waits for that at most `close`.
    pub(crate) async fn finish(self, drain: Duration, close: Duration) {
        let Self { shutdown, own, mut empty } = self;
        shutdown.phase.send_replace(Phase::Draining);
        drop(own);
        let _ = tokio::time::timeout(drain, empty.recv()).await;
        shutdown.phase.send_replace(Phase::Closing);
        if tokio::time::timeout(close, empty.recv()).await.is_err() {
            tracing::warn!("some calls did not end in time; their connections are cut");
        }
    }
}

impl Shutdown {
    /// Whether new calls are refused.
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Registers a call; none once the server is draining.
    pub(crate) fn enter(&self) -> Option<CallGuard> {
        let call = self.calls.upgrade()?;
        let guard = CallGuard { _call: call, phase: self.phase.subscribe() };
        (!self.is_draining()).then_some(guard)
    }
}

impl CallGuard {
    /// Completes when the call must close.
    pub(crate) async fn closing(&mut self) {
        // An error means that the server is gone, which is reason enough to close.
        let _ = self.phase.wait_for(|phase| *phase == Phase::Closing).await;
    }
}

/// Completes on ctrl-c or, where there is such a thing, SIGTERM.
///
/// # Errors
/// When the operating system gives no signals.
pub async fn asked_to_stop() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
