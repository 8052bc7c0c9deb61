//! The part of a call that feeds: gives the model each frame when it is due.

use std::time::Duration;

use moshi_protocol::CloseReason;
use tokio::sync::mpsc;

use super::backlog::{Backlog, Look};
use super::call::{Ending, Pulse};
use crate::app::App;
use crate::engine_thread::SessionInput;
use crate::recording::Recorder;

/// Feeds the model with one caller's voice.
pub(super) struct Feeder<'a> {
    /// The server.
    pub(super) app: &'a App,
    /// What the caller has sent.
    pub(super) backlog: &'a Backlog,
    /// Towards the model.
    pub(super) input: &'a SessionInput,
    /// The caller's signs of life.
    pub(super) pulse: &'a Pulse,
    /// Takes what is heard, where calls are recorded.
    pub(super) recorder: Option<Recorder>,
    /// Takes how many frames were left out, so that the caller can be told.
    pub(super) report: mpsc::Sender<usize>,
}

impl Feeder<'_> {
    /// Feeds until the call must end.
    pub(super) async fn run(self) -> Ending {
        loop {
            let now = self.pulse.start.elapsed();
            let Look { frame, wake, lost } = self.backlog.look(now);
            if lost > 0 {
                self.app.metrics.dropped_frames.increment(lost as u64);
                // One report is enough, and one that waits will do for this too.
                let _ = self.report.try_send(lost);
            }
            let Some(frame) = frame else {
                self.wait(wake.map(|wake| wake.saturating_sub(now))).await;
                continue;
            };
            // Who sent much at once and waits for its answer is not idle.
            self.pulse.beat();
            if let Some(recorder) = &self.recorder {
                recorder.caller(&frame.pcm);
            }
            if !self.input.push(self.pulse.start + frame.since, frame.pcm).await {
                return Ending::because(CloseReason::Internal);
            }
        }
    }

    async fn wait(&self, time: Option<Duration>) {
        tokio::select! {
            () = self.backlog.more() => {}
            () = tokio::time::sleep(time.unwrap_or_default()), if time.is_some() => {}
        }
    }
}
