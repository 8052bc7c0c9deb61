//! A wish to stop, seen by work that goes on elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long work may sleep before it looks again.
pub(crate) const GLANCE: Duration = Duration::from_millis(50);

/// A flag that one thread raises and long work on another looks at: clones are the same flag, and the default is one
/// that nobody else can raise.
///
/// ```
/// let stop = moshi_checkpoint::Stop::default();
/// let seen_by_the_work = stop.clone();
/// stop.raise();
/// assert!(seen_by_the_work.is_raised());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the work to end.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work shall end.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for Stop {
    /// Whether both are the same flag.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Stop {}

/// Sleeps for `time`, and less where `is_stopped` becomes true; returns whether it did not.
pub(crate) fn sleep(time: Duration, is_stopped: &mut dyn FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    loop {
        if is_stopped() {
            return false;
        }
        match end.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => std::thread::sleep(left.min(GLANCE)),
            _ => return true,
        }
    }
}
