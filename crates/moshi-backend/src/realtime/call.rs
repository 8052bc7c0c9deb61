//! One call from the upgrade to the close frame.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message as Frame, WebSocket};
use futures_util::StreamExt;
use moshi_protocol::CloseReason;

use super::events::Teller;
use super::format::AudioFormat;
use super::outbox::outbox;
use super::settings::Dialect;
use super::talk::Talk;
use crate::app::App;
use crate::chat::{CallRequest, Ending, Pulse, out_of_time, record, say_goodbye};
use crate::engine_thread::Session;
use crate::peer::Peer;
use crate::quota::Share;
use crate::shutdown::CallGuard;

/// How long a caller has to take what was said before its call ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// An admitted call whose WebSocket is about to open.
pub(super) struct RealtimeCall {
    /// The server.
    pub(super) app: Arc<App>,
    /// Who calls.
    pub(super) peer: Peer,
    /// What it takes of what it may have.
    pub(super) share: Share,
    /// What was asked for.
    pub(super) request: CallRequest<AudioFormat>,
    /// The row.
    pub(super) session: Session,
    /// Tells when the server ends.
    pub(super) guard: CallGuard,
    /// How events are spelled.
    pub(super) dialect: Dialect,
}

impl RealtimeCall {
    /// Runs the call to its end; longer messages than `limit` bytes are not read.
    pub(super) async fn run(self, socket: WebSocket, limit: usize) {
        let Self { app, peer, share, request, session, mut guard, dialect } = self;
        tracing::info!(%peer, ?dialect, "realtime call begins");
        let (mut sink, mut source) = socket.split();
        let pulse = Pulse::new();
        let Session { input, events } = session;
        let mut teller = Teller::new(dialect, request.params.seed);
        let recorder = record(&app, &guard);
        let (outbox, mut writer) = outbox();
        let ending = {
            let mut talk = Talk::new(&app, &input, &pulse, &mut teller, &request, outbox);
            (talk.limit, talk.recorder) = (limit, recorder);
            tokio::select! {
                ending = talk.run(&mut source, events) => ending,
                ending = writer.run(&mut sink, app.config.calls.ping_interval) => ending,
                ending = out_of_time(&app, &mut guard) => ending,
            }
        };
        // The row is free for the next caller before this one has been seen off.
        drop((input, share));
        app.metrics.closed(ending.label());
        let seconds = pulse.start.elapsed().as_secs();
        tracing::info!(%peer, reason = ending.label(), seconds, "realtime call ended");
        if matches!(&ending, Ending::Close(reason, _) if *reason != CloseReason::NotReading) {
            writer.finish(&mut sink, LAST_WORDS).await;
        }
        let error = |reason: CloseReason, words: &str| Frame::Text(teller.failure(reason.name(), words).into());
        say_goodbye(&mut sink, &mut source, ending, error).await;
        drop(guard);
    }
}
