//! Where the time of a step goes.

use std::time::Instant;

use moshi_lm::{Place, Watcher};
use moshi_nn::Backend;
use serde::Serialize;

use super::percentiles::Percentiles;

/// Median times of the parts of a step, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Default)]
pub struct PartTimes {
    /// The temporal transformer with the embeddings before it.
    pub temporal: f64,
    /// Its last norm and the text logits.
    pub text_head: f64,
    /// The depth transformer, all codebooks, with their heads.
    pub depth: f64,
    /// Drawing the text token and all codes.
    pub sampling: f64,
    /// The codec, both ways; 0 where it takes no part.
    pub codec: f64,
}

/// Times the parts of one step after another.
pub(super) struct PartClock {
    last: Instant,
    now: PartTimes,
    all: Vec<PartTimes>,
}

impl PartClock {
    pub(super) fn new() -> Self {
        Self { last: Instant::now(), now: PartTimes::default(), all: Vec::new() }
    }

    /// Begins a step.
    pub(super) fn start(&mut self) {
        self.now = PartTimes::default();
        self.last = Instant::now();
    }

    /// The codec has worked since the last part.
    pub(super) fn codec(&mut self) {
        let passed = self.lap();
        self.now.codec += passed;
    }

    /// Ends a step, which counts or does not.
    pub(super) fn end(&mut self, counts: bool) {
        if counts {
            self.all.push(self.now);
        }
    }

    pub(super) fn medians(&self) -> PartTimes {
        let median = |part: fn(&PartTimes) -> f64| Percentiles::of(self.all.iter().map(part).collect()).p50;
        PartTimes {
            temporal: median(|t| t.temporal),
            text_head: median(|t| t.text_head),
            depth: median(|t| t.depth),
            sampling: median(|t| t.sampling),
            codec: median(|t| t.codec),
        }
    }

    /// Milliseconds since the last call.
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let passed = now.duration_since(self.last);
        self.last = now;
        1e3 * passed.as_secs_f64()
    }
}

impl<B: Backend> Watcher<B> for PartClock {
    fn at(&mut self, place: Place, _: &B::Buf) -> moshi_nn::Result<()> {
        let passed = self.lap();
        *match place {
            Place::Embedded | Place::Temporal { .. } => &mut self.now.temporal,
            Place::TextLogits => &mut self.now.text_head,
            Place::Drawn { .. } => &mut self.now.sampling,
            Place::Depth { .. } | Place::AudioLogits { .. } => &mut self.now.depth,
        } += passed;
        Ok(())
    }
}
