//! The caller's audio on the clock of the model: a frame every 80 ms, however it arrives, and silence when none does.
//!
//! A caller may send a whole file at once or every frame as it is spoken. Frames leave when they are due; one that
//! arrives late leaves at once and moves the clock. When nothing has come for a frame's time beyond that, the model hears
//! silence and so goes on. Times are since the beginning of the call.

use std::collections::VecDeque;
use std::time::Duration;

use moshi_audio::{FRAME_SAMPLES, SAMPLE_RATE};

use super::ear::is_quiet;

const FRAME: Duration = Duration::from_millis(80);
/// How long a frame that is due may stay away before silence takes its place.
const GRACE: Duration = Duration::from_millis(80);
/// Frames that come up to this much late do not move the clock.
const JITTER: Duration = Duration::from_millis(40);
/// Samples that may wait: half a minute.
const ROOM: usize = 30 * SAMPLE_RATE as usize;
/// Frames of silence after which a caller is taken to have stopped, not to be on a bad network.
const HICCUP: usize = 12;

/// Holds what the model has not heard yet.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    waiting: VecDeque<f32>,
    /// When the next frame should leave; none before the call begins.
    due: Option<Duration>,
    /// Frames of silence since the last of the caller's.
    starved: usize,
    /// Frames of silence that a hiccup of the network inserted, by which the caller's voice is late now.
    late: usize,
}

impl Pacer {
    /// Begins, if it has not begun.
    pub(super) fn start(&mut self, now: Duration) {
        self.due.get_or_insert(now);
    }

    /// Takes audio; false and nothing is taken when there is no room for all of it.
    pub(super) fn push(&mut self, now: Duration, pcm: &[f32]) -> bool {
        if self.waiting.len() + pcm.len() > ROOM {
            return false;
        }
        self.start(now);
        self.waiting.extend(pcm);
        true
    }

    /// Whether so many samples could be taken.
    pub(super) fn has_room(&self, samples: usize) -> bool {
        self.waiting.len() + samples <= ROOM
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// When [`Pacer::take`] will have a frame, if nothing else happens.
    pub(super) fn wake(&self) -> Option<Duration> {
        let due = self.due?;
        Some(if self.waiting.len() >= FRAME_SAMPLES { due } else { due + GRACE })
    }

    /// The frame that is due by now.
    pub(super) fn take(&mut self, now: Duration) -> Option<Vec<f32>> {
        let due = self.due?;
        self.catch_up();
        if self.wake()? > now {
            return None;
        }
        if self.waiting.len() >= FRAME_SAMPLES {
            self.due = Some(due.max(now.saturating_sub(JITTER)) + FRAME);
            self.starved = 0;
            return Some(self.waiting.drain(..FRAME_SAMPLES).collect());
        }
        self.due = Some(due.max(now.saturating_sub(GRACE + JITTER)) + FRAME);
        self.starved += 1;
        self.late = if self.starved <= HICCUP { self.late + 1 } else { 0 };
        let mut frame: Vec<f32> = self.waiting.drain(..).collect();
        frame.resize(FRAME_SAMPLES, 0.0);
        Some(frame)
    }

    /// After a hiccup, leaves out pauses of the caller until its voice is as prompt as before.
    fn catch_up(&mut self) {
        while self.late > 0 && self.waiting.len() >= 2 * FRAME_SAMPLES {
            if !is_quiet(self.waiting.range(..FRAME_SAMPLES).copied()) {
                break;
            }
            self.waiting.drain(..FRAME_SAMPLES);
            self.late -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Everything that leaves from `begin` to `end`, with its time and first sample.
    fn drain(pacer: &mut Pacer, begin: Duration, end: Duration) -> Vec<(u128, f32)> {
        let mut left = Vec::new();
        while let Some(now) = pacer.wake().map(|wake| wake.max(begin)).filter(|now| *now <= end) {
            if let Some(frame) = pacer.take(now) {
                assert_eq!(frame.len(), FRAME_SAMPLES);
                left.push((now.as_millis(), frame[0]));
            }
        }
        left
    }

    #[test]
    fn a_burst_leaves_on_the_clock_and_then_silence_follows() {
        let mut pacer = Pacer::default();
        assert_eq!(pacer.wake(), None, "nothing runs before the caller begins");
        assert!(pacer.push(ms(5), &vec![0.5; 3 * FRAME_SAMPLES]));
        let left = drain(&mut pacer, ms(5), ms(500));
        assert_eq!(left, [(5, 0.5), (85, 0.5), (165, 0.5), (325, 0.0), (405, 0.0), (485, 0.0)]);
    }

    #[test]
    fn a_live_caller_with_jitter_gets_no_silence_into_its_voice() {
        let mut pacer = Pacer::default();
        let (mut left, mut before) = (Vec::new(), ms(0));
        for frame in 0..100_u64 {
            // Up to 60 ms late, and a clock that is half a percent slow.
            let now = ms(frame * 80 + frame * 2 / 5 + frame * 37 % 60);
            left.extend(drain(&mut pacer, before, now));
            assert!(pacer.push(now, &[0.5; FRAME_SAMPLES]));
            left.extend(drain(&mut pacer, now, now));
            before = now;
        }
        assert!(left.len() >= 98 && left.iter().all(|(_, sample)| *sample == 0.5), "{left:?}");
    }

    #[test]
    fn a_pause_makes_up_for_a_hiccup_and_a_caller_that_stopped_loses_nothing() {
        let mut pacer = Pacer::default();
        pacer.start(ms(0));
        assert_eq!(drain(&mut pacer, ms(0), ms(400)).len(), 5, "silence while the network hangs");
        assert!(pacer.push(ms(410), &[vec![0.5; FRAME_SAMPLES], vec![0.0; 5 * FRAME_SAMPLES]].concat()));
        let left = drain(&mut pacer, ms(410), ms(640));
        assert_eq!(left.iter().filter(|(_, sample)| *sample == 0.5).count(), 1);
        assert!(pacer.waiting.len() < 2 * FRAME_SAMPLES, "most of the pause is left out");
        drain(&mut pacer, ms(640), ms(5_000));
        assert!(pacer.push(ms(5_000), &vec![0.0; 10 * FRAME_SAMPLES]));
        drain(&mut pacer, ms(5_000), ms(5_080));
        assert!(pacer.waiting.len() >= 8 * FRAME_SAMPLES, "a file's pauses are kept");
    }

    #[test]
    fn what_waits_is_bounded_and_can_be_forgotten() {
        let mut pacer = Pacer::default();
        assert!(pacer.push(ms(0), &vec![0.1; ROOM]) && !pacer.has_room(1));
        assert!(!pacer.push(ms(0), &[0.1]));
        pacer.clear();
        assert!(pacer.has_room(ROOM));
        // After a long standstill there is no flood of silence.
        assert!(drain(&mut pacer, ms(0), ms(200)).len() <= 3);
        assert!(drain(&mut pacer, ms(60_000), ms(60_000)).len() <= 2);
    }
}
