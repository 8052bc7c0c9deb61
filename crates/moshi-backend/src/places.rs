//! How each open call fares: one place of numbers per row, written by the engine thread, read by `/status` and `/metrics`
//! without a lock. A place says nothing about who sits there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A player that holds this much in reserve runs dry when a reply comes later than the replies before it by more.
const RESERVE: Duration = Duration::from_millis(80);
/// By how much, each frame, a player trims the reserve that an earlier delay made it build up.
const TRIM: Duration = Duration::from_millis(1);

/// The numbers of every place.
#[derive(Debug)]
pub(crate) struct Places(Box<[Place]>);

#[derive(Debug, Default)]
struct Place {
    taken: AtomicBool,
    /// Whether anybody ever sat here: until then its numbers are not worth showing.
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

impl Places {
    /// Places that nobody has taken yet.
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Place::default()).collect())
    }

    /// Takes the first free place. `None` cannot happen while there are as many places as rows.
    pub(crate) fn take(&self, now: Duration) -> Option<usize> {
        let at = self.0.iter().position(|place| !place.taken.load(Ordering::Relaxed))?;
        let place = &self.0[at];
        for number in [&place.frames, &place.dropped, &place.underruns, &place.lag, &place.worst_lag] {
            number.store(0, Ordering::Relaxed);
        }
        place.since.store(micros(now), Ordering::Relaxed);
        place.used.store(true, Ordering::Relaxed);
        place.taken.store(true, Ordering::Release);
        Some(at)
    }

    /// Frees a place; its numbers go back to zero.
    pub(crate) fn leave(&self, at: usize) {
        let Some(place) = self.0.get(at) else { return };
        place.taken.store(false, Ordering::Release);
    }

    /// A reply left `lag` after its frame had come; `underrun` as [`Playout::reply`] says.
    pub(crate) fn replied(&self, at: usize, lag: Duration, underrun: bool) {
        let Some(place) = self.0.get(at) else { return };
        place.frames.fetch_add(1, Ordering::Relaxed);
        place.underruns.fetch_add(u64::from(underrun), Ordering::Relaxed);
        place.lag.store(micros(lag), Ordering::Relaxed);
        place.worst_lag.fetch_max(micros(lag), Ordering::Relaxed);
    }

    /// Frames of this place's caller were dropped.
    pub(crate) fn dropped(&self, at: usize, frames: usize) {
        if let Some(place) = self.0.get(at) {
            place.dropped.fetch_add(frames as u64, Ordering::Relaxed);
        }
    }

    /// The calls that are open; `start` is when the times of this board began.
    pub(crate) fn open(&self, start: Instant) -> Vec<CallNumbers> {
        let now = start.elapsed();
        let taken = self.0.iter().enumerate().filter(|(_, place)| place.taken.load(Ordering::Acquire));
        taken.map(|(at, place)| place.numbers(at, now)).collect()
    }

    /// As [`Places::open`], with zeros for places that somebody had and left: gauges must not keep old values.
    pub(crate) fn ever_used(&self, start: Instant) -> Vec<CallNumbers> {
        let now = start.elapsed();
        let used = self.0.iter().enumerate().filter(|(_, place)| place.used.load(Ordering::Relaxed));
        used.map(|(at, place)| match place.taken.load(Ordering::Acquire) {
            true => place.numbers(at, now),
            false => Place::default().numbers(at, Duration::ZERO),
        })
        .collect()
    }
}

impl Place {
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

/// A caller's player as the server imagines it: it begins with [`RESERVE`] of audio in hand, grows its reserve when it
/// runs dry, and trims it slowly while all is well.
#[derive(Debug, Default)]
pub(crate) struct Playout {
    /// The lag up to which the player does not run dry; none before the first reply.
    allowed: Option<Duration>,
}

impl Playout {
    /// A reply with this lag; true when the player had run dry before it.
    pub(crate) fn reply(&mut self, lag: Duration) -> bool {
        let dry = self.allowed.is_some_and(|allowed| lag > allowed);
        let wanted = lag + RESERVE;
        self.allowed = Some(match self.allowed {
            Some(allowed) if !dry && allowed > wanted => allowed.saturating_sub(TRIM),
            Some(allowed) if !dry => allowed,
            _ => wanted,
        });
        dry
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
    fn a_place_starts_at_zero_each_time_it_is_taken() {
        let (places, start) = (Places::new(2), Instant::now());
        assert_eq!((places.take(ms(1)), places.take(ms(2)), places.take(ms(3))), (Some(0), Some(1), None));
        places.replied(0, ms(30), false);
        places.replied(0, ms(90), true);
        places.replied(0, ms(20), false);
        places.dropped(0, 6);
        let calls = places.open(start);
        let call = calls[0];
        assert_eq!((call.frames, call.dropped_frames, call.underruns), (3, 6, 1));
        assert_eq!((call.lag_ms, call.worst_lag_ms, calls[1].frames), (20.0, 90.0, 0));
        places.leave(0);
        assert_eq!(places.open(start).len(), 1);
        assert_eq!(places.ever_used(start)[0].frames, 0, "a place that was left shows zeros");
        assert_eq!(places.take(ms(9)), Some(0));
        assert_eq!(places.open(start)[0].worst_lag_ms, 0.0);
    }

    #[test]
    fn a_player_runs_dry_once_for_each_jump_of_the_lag() {
        let mut playout = Playout::default();
        let lags = [20, 60, 100, 101, 181, 182, 20, 20, 222];
        let dry: Vec<bool> = lags.map(|lag| playout.reply(ms(lag))).to_vec();
        assert_eq!(dry, [false, false, false, true, false, true, false, false, false]);
    }
}
