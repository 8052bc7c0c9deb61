//! The half of a call that writes: what there is to tell waits here, so that a caller who reads slowly holds up nobody
//! who listens and feeds for it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::ws::Message as Frame;
use moshi_protocol::CloseReason;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::call::Ending;
use crate::websocket::{Sink, send_frame};

/// Events that may wait: more than those of forty seconds of voice and words. Whoever lets more gather does not read.
const EVENTS: usize = 1_024;

/// Takes what there is to tell.
#[derive(Debug)]
pub(super) struct Outbox(mpsc::Sender<String>);

/// Sends it.
#[derive(Debug)]
pub(super) struct Sender(mpsc::Receiver<String>);

/// An empty outbox and the sender that empties it.
pub(super) fn outbox() -> (Outbox, Sender) {
    let (events, rest) = mpsc::channel(EVENTS);
    (Outbox(events), Sender(rest))
}

impl Outbox {
    /// Takes events; an ending when the caller has not read those before.
    pub(super) fn tell(&self, events: impl IntoIterator<Item = String>) -> Result<(), Ending> {
        let full = |_| Ending::because(CloseReason::NotReading);
        events.into_iter().try_for_each(|event| self.0.try_send(event).map_err(full))
    }
}

impl Sender {
    /// Sends events, and a ping every `ping`, until the caller takes no more.
    pub(super) async fn run(&mut self, sink: &mut Sink, ping: Duration) -> Ending {
        match self.send(sink, ping).await {
            Ok(never) => match never {},
            Err(ending) => ending,
        }
    }

    /// Sends what still waits, for a call that ends in order.
    pub(super) async fn finish(&mut self, sink: &mut Sink, time: Duration) {
        let rest = async {
            while let Ok(event) = self.0.try_recv() {
                send_frame(sink, Frame::Text(event.into())).await?;
            }
            Ok::<(), Ending>(())
        };
        // Who does not take it will not take the goodbye either.
        let _ = tokio::time::timeout(time, rest).await;
    }

    async fn send(&mut self, sink: &mut Sink, ping: Duration) -> Result<Infallible, Ending> {
        let mut ping = tokio::time::interval(ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.0.recv() => match event {
                    Some(event) => send_frame(sink, Frame::Text(event.into())).await?,
                    None => return Err(Ending::because(CloseReason::Internal)),
                },
                _ = ping.tick() => send_frame(sink, Frame::Ping(Default::default())).await?,
            }
        }
    }
}
