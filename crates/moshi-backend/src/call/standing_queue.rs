//! Tells a queue that is worked off from one that stands: audio that waits although it comes no faster than it is spoken.
//!
//! A file, or a page of a second, comes at once and is heard in its time: the queue runs empty. After a network has hung
//! and delivered all at once, the queue never runs empty again: the caller goes on to speak and is late by what is always
//! in it. That is found as in controlled-delay queues (RFC 8289): by the least that was waiting during a while.

use std::time::Duration;

use moshi_audio::SAMPLE_RATE;

/// How long the queue is watched before it is judged.
const WINDOW: Duration = Duration::from_secs(2);
/// Who sends nothing for so long does not send as it speaks: the watch begins anew.
const BREAK: Duration = Duration::from_millis(500);
/// Audio that comes faster than this, in seconds a second, is a file on its way, not a voice.
const LIVE: f64 = 1.25;

/// Watches a queue of samples. Times are since the beginning of the call.
#[derive(Debug, Default)]
pub(crate) struct StandingQueue {
    begin: Duration,
    latest: Duration,
    /// Samples that have come since `begin`.
    arrived: usize,
    /// The least that was waiting; none before the first arrival.
    least: Option<usize>,
}

impl StandingQueue {
    /// `samples` come at `now`, while `waiting` wait. At the end of each watch: how many samples stood in the queue all
    /// the time; zero of a caller that does not send in real time.
    pub(crate) fn arrive(&mut self, now: Duration, samples: usize, waiting: usize) -> Option<usize> {
        let pause = now.saturating_sub(std::mem::replace(&mut self.latest, now));
        if pause > BREAK {
            *self = Self { begin: now, latest: now, ..Self::default() };
            return None;
        }
        self.arrived += samples;
        let least = self.least.map_or(waiting, |least| least.min(waiting));
        self.least = Some(least);
        let watched = now.saturating_sub(self.begin);
        if watched < WINDOW {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "samples of a few seconds")]
        let live = self.arrived as f64 <= LIVE * watched.as_secs_f64() * f64::from(SAMPLE_RATE);
        *self = Self { begin: now, latest: now, ..Self::default() };
        Some(if live { least } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 1_920;

    /// Pieces of `size` samples every `every` milliseconds for `count` times; `waiting` says what waits. All judgements.
    fn watch(
        standing: &mut StandingQueue,
        from: u64,
        every: u64,
        size: usize,
        waiting: impl Fn(u64) -> usize,
    ) -> Vec<usize> {
        (0..100).filter_map(|n| standing.arrive(Duration::from_millis(from + n * every), size, waiting(n))).collect()
    }

    #[test]
    fn only_what_always_waits_while_the_caller_speaks_on_stands() {
        let mut standing = StandingQueue::default();
        let found = watch(&mut standing, 0, 80, FRAME, |_| 30 * FRAME);
        assert!(found.len() >= 3 && found.iter().all(|n| *n == 30 * FRAME), "live and late: {found:?}");
        let found = watch(&mut standing, 10_000, 80, FRAME, |n| (n as usize % 5) * FRAME);
        assert!(found.iter().all(|n| *n == 0), "jitter: {found:?}");
        let found = watch(&mut standing, 30_000, 40, FRAME, |n| (30 + n as usize) * FRAME);
        assert!(found.iter().all(|n| *n == 0), "a file at twice its speed: {found:?}");
        let found = watch(&mut standing, 60_000, 1_000, 24_000, |_| 5 * FRAME);
        assert!(found.is_empty(), "pages of a second: {found:?}");
    }
}
