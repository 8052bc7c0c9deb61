//! The part of a call that feeds: gives the model each frame when it is due.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::mpsc;

use super::backlog::{Backlog, Look};
use crate::call::{CallInput, Ending, Pulse};

/// Feeds the model with one caller's voice.
pub(super) struct Feeder<'a> {
    /// What the caller has sent.
    pub(super) backlog: &'a Backlog,
    /// Towards the model.
    pub(super) input: &'a CallInput<'a>,
    /// The caller's signs of life.
    pub(super) pulse: &'a Pulse,
    /// Takes how many frames were left out, so that the caller can be told.
    pub(super) report: mpsc::Sender<usize>,
}

impl Feeder<'_> {
    /// Feeds until the call must end.
    pub(super) async fn run(self) -> Ending {
        match self.feed().await {
            Ok(never) => match never {},
            Err(ending) => ending,
        }
    }

    async fn feed(self) -> Result<Infallible, Ending> {
        loop {
            let now = self.pulse.elapsed();
            let Look { frame, wake, lost } = self.backlog.look(now);
            if lost > 0 {
                self.input.lost(lost);
                // One report is enough, and one that waits will do for this too.
                let _ = self.report.try_send(lost);
            }
            match frame {
                Some(frame) => self.input.hear(frame).await?,
                None => self.wait(wake.map(|wake| wake.saturating_sub(now))).await,
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
