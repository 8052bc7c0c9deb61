//! How each open call fares: one slot of numbers per row, written by the engine thread, read by `/status` and `/metrics`
//! without a lock. A slot says nothing about who has it. To the outside it is called a place.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// The numbers of every slot.
#[derive(Debug)]
pub(crate) struct Slots(Box<[Slot]>);

#[derive(Debug, Default)]
struct Slot {
    taken: AtomicBool,
    /// Whether anybody ever had it: until then its numbers are not worth showing.
    used: AtomicBool,
    /// Microseconds after the server's start.
    since: AtomicU64,
    frames: AtomicU64,
    dropped: AtomicU64,
    underruns: AtomicU64,
    lag: AtomicU64,
    worst_lag: AtomicU64,
}

/// The numbers of one call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct CallNumbers {
    /// Which place it has; places are used again.
    pub(crate) place: usize,
    /// Seconds since it was admitted.
    pub(crate) seconds: f64,
    /// Frames of reply.
    pub(crate) frames: u64,
    /// Frames dropped unheard, because they came faster than they could be heard.
    pub(crate) dropped_frames: u64,
    /// How often a player with 80 ms in reserve ran dry.
    pub(crate) underruns: u64,
    /// From the arrival of a frame to its reply, in milliseconds: the latest.
    pub(crate) lag_ms: f64,
    /// And the longest of this call.
    pub(crate) worst_lag_ms: f64,
}

impl Slots {
    /// Slots that nobody has taken yet.
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Slot::default()).collect())
    }

    /// Takes the first free slot. `None` cannot happen while there are as many slots as rows.
    pub(crate) fn take(&self, now: Duration) -> Option<usize> {
        let at = self.0.iter().position(|slot| !slot.taken.load(Ordering::Relaxed))?;
        let slot = &self.0[at];
        for number in [&slot.frames, &slot.dropped, &slot.underruns, &slot.lag, &slot.worst_lag] {
            number.store(0, Ordering::Relaxed);
        }
        slot.since.store(micros(now), Ordering::Relaxed);
        slot.used.store(true, Ordering::Relaxed);
        slot.taken.store(true, Ordering::Release);
        Some(at)
    }

    /// Frees a slot; its numbers go back to zero.
    pub(crate) fn leave(&self, at: usize) {
        let Some(slot) = self.0.get(at) else { return };
        slot.taken.store(false, Ordering::Release);
    }

    /// A reply left `lag` after its frame had come; `underrun` as [`super::Playout::reply`] says.
    pub(crate) fn replied(&self, at: usize, lag: Duration, underrun: bool) {
        let Some(slot) = self.0.get(at) else { return };
        slot.frames.fetch_add(1, Ordering::Relaxed);
        slot.underruns.fetch_add(u64::from(underrun), Ordering::Relaxed);
        slot.lag.store(micros(lag), Ordering::Relaxed);
        slot.worst_lag.fetch_max(micros(lag), Ordering::Relaxed);
    }

    /// Frames of this slot's caller were dropped.
    pub(crate) fn dropped(&self, at: usize, frames: usize) {
        if let Some(slot) = self.0.get(at) {
            slot.dropped.fetch_add(frames as u64, Ordering::Relaxed);
        }
    }

    /// The calls that are open; `start` is when the times of this board began.
    pub(crate) fn open(&self, start: Instant) -> Vec<CallNumbers> {
        let now = start.elapsed();
        let taken = self.0.iter().enumerate().filter(|(_, slot)| slot.taken.load(Ordering::Acquire));
        taken.map(|(at, slot)| slot.numbers(at, now)).collect()
    }

    /// As [`Slots::open`], with zeros for slots that somebody had and left: gauges must not keep old values.
    pub(crate) fn ever_used(&self, start: Instant) -> Vec<CallNumbers> {
        let now = start.elapsed();
        let used = self.0.iter().enumerate().filter(|(_, slot)| slot.used.load(Ordering::Relaxed));
        used.map(|(at, slot)| match slot.taken.load(Ordering::Acquire) {
            true => slot.numbers(at, now),
            false => Slot::default().numbers(at, Duration::ZERO),
        })
        .collect()
    }
}

impl Slot {
    fn numbers(&self, place: usize, now: Duration) -> CallNumbers {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let millis = |number: &AtomicU64| Duration::from_micros(of(number)).as_secs_f64() * 1e3;
        CallNumbers {
            place,
            seconds: now.saturating_sub(Duration::from_micros(of(&self.since))).as_secs_f64(),
            frames: of(&self.frames),
            dropped_frames: of(&self.dropped),
            underruns: of(&self.underruns),
            lag_ms: millis(&self.lag),
            worst_lag_ms: millis(&self.worst_lag),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_slot_starts_at_zero_each_time_it_is_taken() {
        let (slots, start) = (Slots::new(2), Instant::now());
        assert_eq!((slots.take(ms(1)), slots.take(ms(2)), slots.take(ms(3))), (Some(0), Some(1), None));
        slots.replied(0, ms(30), false);
        slots.replied(0, ms(90), true);
        slots.replied(0, ms(20), false);
        slots.dropped(0, 6);
        let calls = slots.open(start);
        let call = calls[0];
        assert_eq!((call.frames, call.dropped_frames, call.underruns), (3, 6, 1));
        assert_eq!((call.lag_ms, call.worst_lag_ms, calls[1].frames), (20.0, 90.0, 0));
        slots.leave(0);
        assert_eq!(slots.open(start).len(), 1);
        assert_eq!(slots.ever_used(start)[0].frames, 0, "a slot that was left shows zeros");
        assert_eq!(slots.take(ms(9)), Some(0));
        assert_eq!(slots.open(start)[0].worst_lag_ms, 0.0);
    }
}
