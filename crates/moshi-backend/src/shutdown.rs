//! How a server ends: no new calls, time for the open ones, a close frame with a reason, and never longer than allowed.

use std::sync::Arc;
use std::time::Duration;

use moshi_protocol::CloseReason;
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
    /// Open calls are closed because the model is stuck.
    GivenUp,
}

/// The end of a server, seen by everything that must know; cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    phase: Arc<watch::Sender<Phase>>,
    /// Each call and each recording holds a clone; the server is empty once all are gone.
    calls: mpsc::WeakSender<()>,
}

/// The side that ends the server.
#[derive(Debug)]
pub(crate) struct ShutdownControl {
    shutdown: Shutdown,
    own: mpsc::Sender<()>,
    empty: mpsc::Receiver<()>,
}

/// Kept by what must be over before the server ends.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    _alive: mpsc::Sender<()>,
}

/// Kept by a call as long as it lasts.
#[derive(Debug)]
pub(crate) struct CallGuard {
    call: Witness,
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
        let later = |at: &mut Phase, to: Phase| *at = (*at).max(to);
        shutdown.phase.send_modify(|at| later(at, Phase::Draining));
        drop(own);
        let _ = tokio::time::timeout(drain, empty.recv()).await;
        shutdown.phase.send_modify(|at| later(at, Phase::Closing));
        if tokio::time::timeout(close, empty.recv()).await.is_err() {
            tracing::warn!("some calls or recordings did not end in time; they are cut off");
        }
    }
}

impl Shutdown {
    /// Whether new calls are refused.
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Closes every call at once because the model is stuck, and takes no new ones.
    pub(crate) fn give_up(&self) {
        self.phase.send_replace(Phase::GivenUp);
    }

    /// Registers a call; none once the server is draining.
    pub(crate) fn enter(&self) -> Option<CallGuard> {
        let call = self.calls.upgrade()?;
        let guard = CallGuard { call: Witness { _alive: call }, phase: self.phase.subscribe() };
        (!self.is_draining()).then_some(guard)
    }
}

impl CallGuard {
    /// For work of this call that goes on after it.
    pub(crate) fn witness(&self) -> Witness {
        self.call.clone()
    }

    /// Completes when no new calls are taken any more.
    pub(crate) async fn draining(&mut self) {
        let _ = self.phase.wait_for(|phase| *phase >= Phase::Draining).await;
    }

    /// Completes when the call must close.
    pub(crate) async fn closing(&mut self) {
        // An error means that the server is gone, which is reason enough to close.
        let _ = self.phase.wait_for(|phase| *phase >= Phase::Closing).await;
    }

    /// Why calls are closed.
    pub(crate) fn reason(&self) -> (CloseReason, Option<String>) {
        match *self.phase.borrow() {
            Phase::GivenUp => (CloseReason::Internal, Some("the model makes no progress".to_owned())),
            _ => (CloseReason::ShuttingDown, None),
        }
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-c or SIGTERM: stop.
    Stop,
    /// SIGHUP: read keys and certificates again.
    Reload,
}

/// The signals that ask a program for something: ctrl-c and, where there are such things, SIGTERM and SIGHUP. From its
/// making on, they no longer end the program by themselves.
#[derive(Debug)]
pub struct StopSignals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hang_up: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the operating system gives no signals.
    #[cfg(unix)]
    pub fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// None here.
    #[cfg(not(unix))]
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Completes at the next signal.
    pub async fn next(&mut self) -> Signal {
        #[cfg(unix)]
        return tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
        };
        #[cfg(not(unix))]
        {
            if tokio::signal::ctrl_c().await.is_err() {
                // Without signals only killing is left.
                std::future::pending::<()>().await;
            }
            Signal::Stop
        }
    }

    /// Completes at the next signal to stop.
    pub async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}
