//! What a caller is told of its audio that was not heard: once for each reason, for one message says it all.

use moshi_audio::FRAME_TIME;
use moshi_protocol::Notice;

/// What has been told.
#[derive(Debug, Default)]
pub(crate) struct LostAudio {
    slow_server: bool,
    late_arrival: bool,
}

impl LostAudio {
    /// The engine dropped frames: the machine is too slow. What to tell, if it was not told before.
    pub(crate) fn slow_server(&mut self, frames: usize) -> Option<Notice> {
        let why = "the server does not keep up";
        (!std::mem::replace(&mut self.slow_server, true)).then(|| Notice::audio_lost(words(frames, why)))
    }

    /// Frames stayed late after they came all at once. What to tell, if it was not told before.
    pub(crate) fn late_arrival(&mut self, frames: usize) -> Option<Notice> {
        let why = "it came late and all at once, and the call had to be in time again";
        (!std::mem::replace(&mut self.late_arrival, true)).then(|| Notice::audio_lost(words(frames, why)))
    }
}

fn words(frames: usize, why: &str) -> String {
    let ms = frames as u128 * FRAME_TIME.as_millis();
    format!("{ms} ms of your audio were not heard: {why}; it may happen again without another word")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once() {
        let mut lost = LostAudio::default();
        let told = lost.slow_server(7).unwrap();
        assert_eq!((told.kind.as_str(), told.text.contains("560 ms")), ("audio_lost", true));
        assert_eq!(lost.slow_server(2), None);
        assert!(lost.late_arrival(40).unwrap().text.contains("late") && lost.late_arrival(1).is_none());
    }
}
