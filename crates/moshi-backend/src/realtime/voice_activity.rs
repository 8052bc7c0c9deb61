//! Voice activity detection (VAD): when the caller speaks, by loudness, for the events that say so. The model listens all the time regardless.

use moshi_audio::FRAME_TIME;

use super::settings::TurnDetection;
use crate::call::loudness;

/// What a threshold of 1 would be.
const LOUDEST: f32 = 0.02;
/// Milliseconds of a frame.
const FRAME_MS: u64 = FRAME_TIME.as_millis() as u64;

/// What changed with a frame; times are milliseconds of audio since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The caller began to speak.
    Started {
        /// With the padding that was asked for.
        at_ms: u64,
    },
    /// The caller has stopped.
    Stopped {
        /// Where its last sound ended.
        at_ms: u64,
    },
}

/// Notices when the caller begins and ends: an energy detector.
#[derive(Debug, Default)]
pub(super) struct VoiceActivity {
    heard_ms: u64,
    /// Where the last loud frame ended, while the caller speaks.
    speaking: Option<u64>,
}

impl VoiceActivity {
    /// Hears one frame of 1,920 samples.
    pub(super) fn hear(&mut self, frame: &[f32], turns: Option<&TurnDetection>) -> Option<Change> {
        let begin = self.heard_ms;
        self.heard_ms += FRAME_MS;
        let turns = turns.or_else(|| {
            self.speaking = None;
            None
        })?;
        let loud = loudness(frame.iter().copied()) >= LOUDEST * turns.threshold;
        match (self.speaking, loud) {
            (None, true) => {
                self.speaking = Some(self.heard_ms);
                Some(Change::Started { at_ms: begin.saturating_sub(turns.prefix_padding_ms) })
            }
            (Some(_), true) => {
                self.speaking = Some(self.heard_ms);
                None
            }
            (Some(end), false) if self.heard_ms - end >= turns.silence_duration_ms => {
                self.speaking = None;
                Some(Change::Stopped { at_ms: end })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moshi_audio::FRAME_SAMPLES;

    #[test]
    fn speech_has_a_beginning_and_an_end_and_short_pauses_belong_to_it() {
        let (mut activity, turns) = (VoiceActivity::default(), TurnDetection::default());
        let levels = [0.0, 0.0, 0.0, 0.0, 0.3, 0.3, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3];
        let changes: Vec<(usize, Change)> = levels
            .iter()
            .enumerate()
            .filter_map(|(at, level)| activity.hear(&[*level; FRAME_SAMPLES], Some(&turns)).map(|change| (at, change)))
            .collect();
        let started = Change::Started { at_ms: 4 * 80 - 300 };
        assert_eq!(changes[0], (4, started));
        assert_eq!(
            changes[1],
            (15, Change::Stopped { at_ms: 9 * 80 }),
            "half a second of silence after the last sound"
        );
        assert_eq!(changes[2].0, 17);
        assert_eq!(activity.hear(&[0.3; FRAME_SAMPLES], None), None, "nobody wants to know");
    }
}
