//! How much a caller may send: buckets that leak at real time, with room for the burst after a network's pause.

use std::time::Duration;

/// Seconds of audio that may come at once.
const AUDIO_BURST: f64 = 30.0;
/// Messages a second, and how many may come at once. A live caller sends 12.5 to 50.
const MESSAGE_RATE: f64 = 200.0;
const MESSAGE_BURST: f64 = 4_000.0;
/// Bytes a second, and how many may come at once. Raw audio is 48,000 a second.
const BYTE_RATE: f64 = 200_000.0;
const BYTE_BURST: f64 = 4_000_000.0;

/// A bucket that is filled by use and leaks with time.
#[derive(Debug)]
struct Bucket {
    level: f64,
    rate: f64,
    burst: f64,
    at: Duration,
}

impl Bucket {
    fn new(rate: f64, burst: f64) -> Self {
        Self { level: 0.0, rate, burst, at: Duration::ZERO }
    }

    /// Fills in `amount` at time `now`; false when it runs over.
    fn fill(&mut self, now: Duration, amount: f64) -> bool {
        let leaked = now.saturating_sub(self.at).as_secs_f64() * self.rate;
        self.at = self.at.max(now);
        self.level = (self.level - leaked).max(0.0) + amount;
        self.level <= self.burst
    }
}

/// The limits of one call. Times are since its beginning.
#[derive(Debug)]
pub(crate) struct RateLimits {
    audio: Bucket,
    messages: Bucket,
    bytes: Bucket,
}

impl RateLimits {
    /// Empty buckets.
    pub(crate) fn new() -> Self {
        // A clock of the caller's that runs a little fast must never run over, hence 2 % more than real time.
        Self {
            audio: Bucket::new(1.02, AUDIO_BURST),
            messages: Bucket::new(MESSAGE_RATE, MESSAGE_BURST),
            bytes: Bucket::new(BYTE_RATE, BYTE_BURST),
        }
    }

    /// Counts a message; false when there are too many or they are too big.
    pub(crate) fn message(&mut self, now: Duration, bytes: usize) -> bool {
        self.messages.fill(now, 1.0) & self.bytes.fill(now, real(bytes))
    }

    /// Counts audio; false when it comes faster than real time for too long.
    pub(crate) fn audio(&mut self, now: Duration, samples: usize) -> bool {
        self.audio.fill(now, real(samples) / f64::from(moshi_audio::SAMPLE_RATE))
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes and samples of one message are far below 2^53")]
fn real(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_never_runs_over_and_a_burst_may() {
        let mut limits = RateLimits::new();
        for frame in 0..10_000 {
            let now = Duration::from_millis(80 * frame);
            assert!(limits.message(now, 3_841) && limits.audio(now, 1_920), "frame {frame}");
        }
        let now = Duration::from_millis(80 * 10_000);
        assert!(limits.audio(now, 29 * 24_000), "half a minute after a pause");
        assert!(!limits.audio(now, 2 * 24_000), "more than that");
        assert!(limits.audio(now + Duration::from_secs(20), 24_000), "and it recovers");
    }
}
