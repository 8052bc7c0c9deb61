//! Whether a caller is still there: its signs of life, and how long it may give none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moshi_protocol::CloseReason;
use tokio::sync::Notify;

use super::ending::Ending;
use crate::config::CallLimits;

/// Signs of life of a caller, written by whoever listens to it; milliseconds since the call began.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// When the call began.
    pub(crate) start: Instant,
    message: AtomicU64,
    pong: AtomicU64,
    /// Rung when the caller was greeted.
    greeted: Notify,
}

impl Pulse {
    /// At the beginning of a call.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), message: AtomicU64::new(0), pong: AtomicU64::new(0), greeted: Notify::new() }
    }

    /// How long the call lasts by now.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A message of the protocol came.
    pub(crate) fn beat(&self) {
        self.message.store(self.millis(), Ordering::Relaxed);
    }

    /// A ping was answered.
    pub(crate) fn pong(&self) {
        self.pong.store(self.millis(), Ordering::Relaxed);
    }

    /// The caller was greeted: its time counts from now on.
    pub(crate) fn greet(&self) {
        self.beat();
        self.greeted.notify_one();
    }

    /// Completes once the caller was greeted; for whoever counts the call's time.
    pub(crate) async fn greeted(&self) {
        self.greeted.notified().await;
    }

    /// Whether a caller that waits to be greeted is not deaf. It need not say anything.
    ///
    /// # Errors
    /// [`CloseReason::NotReading`], as [`Pulse::check`].
    pub(crate) fn check_waiting(&self, limits: &CallLimits) -> Result<(), Ending> {
        self.beat();
        self.check(limits)
    }

    /// Whether the caller is neither silent nor deaf.
    ///
    /// # Errors
    /// The ending of its call if it is: [`CloseReason::Idle`] or [`CloseReason::NotReading`].
    pub(crate) fn check(&self, limits: &CallLimits) -> Result<(), Ending> {
        if !limits.idle_timeout.is_zero() && self.since(&self.message) > limits.idle_timeout {
            return Err(Ending::because(CloseReason::Idle));
        }
        if self.since(&self.pong) > limits.pong_timeout {
            return Err(Ending::because(CloseReason::NotReading));
        }
        Ok(())
    }

    fn since(&self, sign: &AtomicU64) -> Duration {
        Duration::from_millis(self.millis().saturating_sub(sign.load(Ordering::Relaxed)))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_idle_without_messages_and_deaf_without_pongs() {
        let limits = CallLimits {
            idle_timeout: Duration::from_millis(40),
            pong_timeout: Duration::from_millis(80),
            ..CallLimits::default()
        };
        let begun = |ago: u64| Pulse { start: Instant::now() - Duration::from_millis(ago), ..Pulse::new() };
        assert_eq!(begun(0).check(&limits), Ok(()));
        let silent = begun(1_000);
        assert_eq!(silent.check(&limits), Err(Ending::because(CloseReason::Idle)));
        silent.beat();
        assert_eq!(silent.check(&limits), Err(Ending::because(CloseReason::NotReading)));
        silent.pong();
        assert_eq!(silent.check(&limits), Ok(()));
        let patient = CallLimits { idle_timeout: Duration::ZERO, pong_timeout: Duration::MAX, ..limits };
        assert_eq!(begun(1_000).check(&patient), Ok(()));
    }
}
