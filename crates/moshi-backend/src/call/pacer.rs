//! The caller's audio on the clock of the model: a frame every 80 ms, however it arrives.
//!
//! A caller may send a whole file at once, a page of a second when it is complete, or every frame as it is spoken. Frames
//! leave when they are due; one that arrives late leaves at once and moves the clock. Where the wire wants it
//! ([`Pace::turns`]), the model hears silence when nothing has come for a frame's time beyond that, and so goes on.
//!
//! What waits is bounded, and so is how late a voice may become for long. After a network has hung, a live caller's
//! pauses are left out until its voice is in time again; a voice without pauses that stays late loses its oldest audio,
//! which is counted ([`Pacer::take_lost`]). Times are since the beginning of the call.

use std::collections::VecDeque;
use std::time::Duration;

use moshi_audio::{FRAME_SAMPLES, FRAME_TIME, SAMPLE_RATE};

use super::loudness::is_quiet;
use super::standing_queue::StandingQueue;

/// How long a frame that is due may stay away before silence takes its place.
const GRACE: Duration = FRAME_TIME;
/// Samples that may wait: half a minute.
const ROOM: usize = 30 * SAMPLE_RATE as usize;
/// Frames of silence after which a caller is taken to have stopped, not to be on a bad network.
const HICCUP: usize = 12;
/// Frames that may always wait: a voice that is late by no more is in time.
const IN_TIME: usize = 2;
/// Frames by which a voice may stay late: about a second.
const TOO_LATE: usize = 12;
/// Watches of [`StandingQueue`] during which a voice may be later than that, in the hope of pauses: a quarter of a minute.
const PATIENCE: usize = 8;
/// Frames that may run ahead of the clock of a full-duplex wire.
const AHEAD: u32 = 4;
/// The clock's zero lies so long before the call, for it may run behind from the beginning.
const BEFORE: Duration = Duration::from_secs(1);

/// How a wire hands over its audio.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// From one frame to the next while frames wait.
    period: Duration,
    /// How much of a delay is made up at once: so far may frames run ahead of the clock.
    lead: Duration,
    /// Whether the model hears silence when the caller sends none.
    fills_gaps: bool,
}

impl Pace {
    /// Of a wire that knows turns: what the caller does not send is silence.
    pub(crate) fn turns() -> Self {
        Self { period: FRAME_TIME, lead: FRAME_TIME / 2, fills_gaps: true }
    }

    /// Of a wire on which silence is sent too. A few frames that come together go on together, but no more than half of
    /// what the engine lets wait, which is `backlog_limit` frames. A clock of the caller's may run 2.5 % fast.
    pub(crate) fn full_duplex(backlog_limit: usize) -> Self {
        let ahead = u32::try_from(backlog_limit / 2).unwrap_or(AHEAD).min(AHEAD);
        Self { period: Duration::from_millis(78), lead: FRAME_TIME * ahead, fills_gaps: false }
    }
}

/// Holds what the model has not heard yet.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Pace,
    waiting: VecDeque<f32>,
    /// When the next frame may leave, on a clock that is [`BEFORE`] ahead of the call's; none before audio has come.
    due: Option<Duration>,
    /// When audio came last.
    arrived: Duration,
    /// Frames of silence since the last of the caller's.
    starved: usize,
    /// Frames by which the caller's voice is late, to be made up for when it pauses.
    late: usize,
    standing: StandingQueue,
    /// Watches in a row that found the voice too late.
    watches: usize,
    /// Samples that were left out although they were no pause.
    lost: usize,
}

/// A frame that is due.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DueFrame {
    /// 1,920 samples.
    pub(crate) pcm: Vec<f32>,
    /// Since when it could have been heard: its arrival, or its time on the clock.
    pub(crate) since: Duration,
    /// Whether any of it is the caller's.
    pub(crate) spoken: bool,
}

impl Pacer {
    /// At the beginning of a call.
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            pace,
            waiting: VecDeque::new(),
            due: None,
            arrived: Duration::ZERO,
            starved: 0,
            late: 0,
            standing: StandingQueue::default(),
            watches: 0,
            lost: 0,
        }
    }

    /// Begins, if it has not begun.
    pub(crate) fn start(&mut self, now: Duration) {
        // Where silence fills gaps, the clock begins with the call; elsewhere the first frame may have been late itself.
        let lead = if self.pace.fills_gaps { Duration::ZERO } else { self.pace.lead };
        self.due.get_or_insert((now + BEFORE).saturating_sub(lead));
    }

    /// Takes audio. What is more than may wait pushes out the oldest.
    pub(crate) fn push(&mut self, now: Duration, pcm: &[f32]) {
        self.start(now);
        self.arrived = now;
        if let Some(standing) = self.standing.arrive(now, pcm.len(), self.waiting.len()) {
            self.judge(standing / FRAME_SAMPLES);
        }
        self.waiting.extend(pcm);
        self.lose(self.waiting.len().saturating_sub(ROOM).div_ceil(FRAME_SAMPLES));
    }

    /// Whether anything was heard, or is about to be.
    pub(crate) fn has_begun(&self) -> bool {
        self.due.is_some()
    }

    /// Whether so many samples could be taken and nothing lost.
    pub(crate) fn has_room(&self, samples: usize) -> bool {
        self.waiting.len() + samples <= ROOM
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// When [`Pacer::take`] will have a frame, if nothing else happens.
    pub(crate) fn wake(&self) -> Option<Duration> {
        let due = self.due?;
        let wake = match (self.waiting.len() >= FRAME_SAMPLES, self.pace.fills_gaps) {
            (true, _) => due,
            (false, true) => due + GRACE,
            (false, false) => return None,
        };
        Some(wake.saturating_sub(BEFORE))
    }

    /// The frame that is due by now.
    pub(crate) fn take(&mut self, now: Duration) -> Option<DueFrame> {
        let due = self.due?;
        self.catch_up();
        if self.wake()? > now {
            return None;
        }
        let since = due.saturating_sub(BEFORE).max(self.arrived).min(now);
        let clock = now + BEFORE;
        if self.waiting.len() >= FRAME_SAMPLES {
            self.due = Some(due.max(clock.saturating_sub(self.pace.lead)) + self.pace.period);
            self.starved = 0;
            return Some(DueFrame { pcm: self.waiting.drain(..FRAME_SAMPLES).collect(), since, spoken: true });
        }
        self.due = Some(due.max(clock.saturating_sub(GRACE + self.pace.lead)) + self.pace.period);
        self.starved += 1;
        self.late = if self.starved <= HICCUP { self.late + 1 } else { 0 };
        let mut pcm: Vec<f32> = self.waiting.drain(..).collect();
        let spoken = !pcm.is_empty();
        pcm.resize(FRAME_SAMPLES, 0.0);
        Some(DueFrame { pcm, since: now, spoken })
    }

    /// Frames that were lost since this was asked the last time.
    pub(crate) fn take_lost(&mut self) -> usize {
        std::mem::take(&mut self.lost).div_ceil(FRAME_SAMPLES)
    }

    /// So many frames have waited all the time.
    fn judge(&mut self, standing: usize) {
        let late = standing.saturating_sub(IN_TIME);
        if late > 0 || !self.pace.fills_gaps {
            self.late = late;
        }
        self.watches = if late > TOO_LATE { self.watches + 1 } else { 0 };
        if self.watches >= PATIENCE {
            self.watches = 0;
            self.late = 0;
            self.lose(late);
        }
    }

    fn lose(&mut self, frames: usize) {
        let samples = (frames * FRAME_SAMPLES).min(self.waiting.len());
        self.waiting.drain(..samples);
        self.lost += samples;
    }

    /// Leaves out pauses of a caller that is late until its voice is as prompt as before.
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

    fn turns() -> Pacer {
        Pacer::new(Pace::turns())
    }

    fn full_duplex() -> Pacer {
        Pacer::new(Pace::full_duplex(8))
    }

    /// Everything that leaves from `begin` to `end`, with its time and first sample.
    fn drain(pacer: &mut Pacer, begin: Duration, end: Duration) -> Vec<(u128, f32)> {
        let mut left = Vec::new();
        while let Some(now) = pacer.wake().map(|wake| wake.max(begin)).filter(|now| *now <= end) {
            if let Some(frame) = pacer.take(now) {
                assert_eq!(frame.pcm.len(), FRAME_SAMPLES);
                assert!(frame.since <= now);
                left.push((now.as_millis(), frame.pcm[0]));
            }
        }
        left
    }

    /// A live caller from `begin` on: a frame every 80 ms, of which two in five are a pause if it makes any. Gives how
    /// many frames wait after each.
    fn live(pacer: &mut Pacer, begin: u64, frames: u64, pauses: bool) -> Vec<usize> {
        let mut waiting = Vec::new();
        for n in 0..frames {
            let now = ms(begin + n * 80);
            let level = if pauses && n % 5 < 2 { 0.0 } else { 0.5 };
            pacer.push(now, &[level; FRAME_SAMPLES]);
            drain(pacer, now, now + ms(79));
            waiting.push(pacer.waiting.len() / FRAME_SAMPLES);
        }
        waiting
    }

    #[test]
    fn a_burst_leaves_on_the_clock_and_then_silence_follows() {
        let mut pacer = turns();
        assert_eq!(pacer.wake(), None, "nothing runs before the caller begins");
        pacer.push(ms(5), &vec![0.5; 3 * FRAME_SAMPLES]);
        let left = drain(&mut pacer, ms(5), ms(500));
        assert_eq!(left, [(5, 0.5), (85, 0.5), (165, 0.5), (325, 0.0), (405, 0.0), (485, 0.0)]);
    }

    #[test]
    fn a_live_caller_with_jitter_gets_no_silence_into_its_voice() {
        let mut pacer = turns();
        let (mut left, mut before) = (Vec::new(), ms(0));
        for frame in 0..100_u64 {
            // Up to 60 ms late, and a clock that is half a percent slow.
            let now = ms(frame * 80 + frame * 2 / 5 + frame * 37 % 60);
            left.extend(drain(&mut pacer, before, now));
            pacer.push(now, &[0.5; FRAME_SAMPLES]);
            left.extend(drain(&mut pacer, now, now));
            before = now;
        }
        assert!(left.len() >= 98 && left.iter().all(|(_, sample)| *sample == 0.5), "{left:?}");
    }

    #[test]
    fn a_pause_makes_up_for_a_hiccup_and_a_caller_that_stopped_loses_nothing() {
        let mut pacer = turns();
        pacer.start(ms(0));
        assert_eq!(drain(&mut pacer, ms(0), ms(400)).len(), 5, "silence while the network hangs");
        pacer.push(ms(410), &[vec![0.5; FRAME_SAMPLES], vec![0.0; 5 * FRAME_SAMPLES]].concat());
        let left = drain(&mut pacer, ms(410), ms(640));
        assert_eq!(left.iter().filter(|(_, sample)| *sample == 0.5).count(), 1);
        assert!(pacer.waiting.len() < 2 * FRAME_SAMPLES, "most of the pause is left out");
        drain(&mut pacer, ms(640), ms(5_000));
        pacer.push(ms(5_000), &vec![0.0; 10 * FRAME_SAMPLES]);
        drain(&mut pacer, ms(5_000), ms(5_080));
        assert!(pacer.waiting.len() >= 8 * FRAME_SAMPLES, "a file's pauses are kept");
    }

    #[test]
    fn what_waits_is_bounded_and_can_be_forgotten() {
        let mut pacer = turns();
        pacer.push(ms(0), &vec![0.1; ROOM]);
        assert!(!pacer.has_room(1) && pacer.take_lost() == 0);
        pacer.push(ms(0), &[0.1]);
        assert!(pacer.waiting.len() <= ROOM && pacer.take_lost() == 1);
        pacer.clear();
        assert!(pacer.has_room(ROOM));
        // After a long standstill there is no flood of silence.
        assert!(drain(&mut pacer, ms(0), ms(200)).len() <= 3);
        assert!(drain(&mut pacer, ms(60_000), ms(60_000)).len() <= 2);
    }

    #[test]
    fn in_full_duplex_nothing_is_added_and_small_bursts_are_not_held_up() {
        let mut pacer = full_duplex();
        pacer.push(ms(0), &vec![0.5; 5 * FRAME_SAMPLES]);
        assert_eq!(drain(&mut pacer, ms(0), ms(0)).len(), 5, "a late start");
        assert!(drain(&mut pacer, ms(0), ms(9_000)).is_empty(), "no silence of ours");
        pacer.push(ms(9_000), &vec![0.5; 100 * FRAME_SAMPLES]);
        let at_once = drain(&mut pacer, ms(9_000), ms(9_000)).len();
        assert!(at_once <= 5, "{at_once} frames at once would overrun the engine");
        assert_eq!(drain(&mut pacer, ms(9_000), ms(18_000)).len(), 100 - at_once, "all is heard, in its time");
        assert_eq!(pacer.take_lost(), 0);
        // A live caller whose frames come up to 200 ms late waits for nothing.
        for frame in 0..200_u64 {
            let now = ms(20_000 + frame * 80 + frame * 73 % 200);
            pacer.push(now, &[0.5; FRAME_SAMPLES]);
            assert_eq!(drain(&mut pacer, now, now).len(), 1, "frame {frame}");
        }
    }

    #[test]
    fn pages_of_any_length_lose_nothing_and_keep_their_pauses() {
        for page_ms in [60, 120, 700, 1_000, 2_000, 6_000_u64] {
            let mut pacer = full_duplex();
            let (mut left, samples) = (0, usize::try_from(page_ms * 24).unwrap());
            for page in 0..40_u64 {
                pacer.push(ms(page * page_ms), &vec![0.0; samples]);
                left += drain(&mut pacer, ms(page * page_ms), ms((page + 1) * page_ms - 1)).len();
            }
            left += drain(&mut pacer, ms(40 * page_ms), ms(60 * page_ms)).len();
            assert_eq!((left, pacer.take_lost()), (40 * samples / FRAME_SAMPLES, 0), "pages of {page_ms} ms");
        }
    }

    #[test]
    fn after_a_stall_of_the_network_pauses_bring_a_live_voice_back_in_time() {
        for (mut pacer, stall) in [(full_duplex(), 3_000_u64), (full_duplex(), 1_500), (turns(), 3_000)] {
            live(&mut pacer, 0, 50, true);
            let back = 4_000 + stall;
            drain(&mut pacer, ms(4_000), ms(back - 1));
            pacer.push(ms(back), &vec![0.5; usize::try_from(stall * 24).unwrap()]);
            let waiting = live(&mut pacer, back, 1_500, true);
            assert!(waiting[5] > 10, "it is late: {waiting:?}");
            assert!(waiting[1_400] <= IN_TIME + 2, "a stall of {stall} ms is made up for: {waiting:?}");
            assert_eq!(pacer.take_lost(), 0);
        }
    }

    #[test]
    fn a_live_voice_without_pauses_does_not_stay_late_for_ever_and_the_loss_is_counted() {
        for mut pacer in [full_duplex(), turns()] {
            live(&mut pacer, 0, 50, false);
            drain(&mut pacer, ms(4_000), ms(9_999));
            pacer.push(ms(10_000), &vec![0.5; 75 * FRAME_SAMPLES]);
            let waiting = live(&mut pacer, 10_000, 250, false);
            assert!(waiting[50] > 40 && waiting[240] <= IN_TIME + 2, "{waiting:?}");
            assert!((40..=75).contains(&pacer.take_lost()));
        }
    }
}
