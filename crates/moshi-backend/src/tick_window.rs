//! How long the latest ticks took: written by the engine thread, read by anybody, without a lock.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// Ticks that are remembered: about half a minute of one call.
const TICKS: usize = 384;

/// The latest durations, in microseconds.
#[derive(Debug)]
pub(crate) struct TickWindow {
    micros: Box<[AtomicU32]>,
    /// Ticks ever recorded.
    count: AtomicUsize,
}

/// What most ticks, nearly all and all but the worst stay below.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Percentiles {
    /// Half of the ticks.
    pub(crate) p50: Duration,
    /// 95 of 100.
    pub(crate) p95: Duration,
    /// 99 of 100.
    pub(crate) p99: Duration,
}

impl TickWindow {
    /// Remembers a tick, and forgets the oldest.
    pub(crate) fn record(&self, took: Duration) {
        let at = self.count.fetch_add(1, Ordering::Relaxed) % self.micros.len();
        self.micros[at].store(u32::try_from(took.as_micros()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Percentiles of the ticks in memory; `None` before the first.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        let known = self.count.load(Ordering::Relaxed).min(self.micros.len());
        let mut sorted: Vec<u32> = self.micros[..known].iter().map(|m| m.load(Ordering::Relaxed)).collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (known * percent).div_ceil(100).max(1) - 1;
            sorted.get(rank).map(|micros| Duration::from_micros(u64::from(*micros)))
        };
        Some(Percentiles { p50: at(50)?, p95: at(95)?, p99: at(99)? })
    }

    /// Whether enough ticks are known for their percentiles to say something.
    pub(crate) fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= self.micros.len()
    }
}

impl Default for TickWindow {
    fn default() -> Self {
        Self { micros: (0..TICKS).map(|_| AtomicU32::new(0)).collect(), count: AtomicUsize::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_latest_ticks() {
        let window = TickWindow::default();
        assert_eq!(window.percentiles(), None);
        window.record(Duration::from_millis(7));
        let seven = Duration::from_millis(7);
        assert_eq!(window.percentiles(), Some(Percentiles { p50: seven, p95: seven, p99: seven }));
        for _ in 0..TICKS {
            window.record(Duration::from_secs(9));
        }
        for tick in 1..=TICKS as u64 {
            window.record(Duration::from_micros(tick));
        }
        let found = window.percentiles().unwrap();
        assert_eq!(found.p50, Duration::from_micros(192), "the nine seconds are forgotten");
        assert_eq!((found.p95, found.p99), (Duration::from_micros(365), Duration::from_micros(381)));
        assert!(window.is_full());
    }
}
