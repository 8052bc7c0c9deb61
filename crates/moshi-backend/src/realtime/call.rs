//! One call from the upgrade to the close frame.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message as Frame, WebSocket};
use futures_util::StreamExt;
use moshi_protocol::CloseReason;

use super::event_writer::EventWriter;
use super::format::RealtimeRequest;
use super::outbox::outbox;
use super::settings::Dialect;
use super::talk::Talk;
use crate::app::App;
use crate::call::{CallEvents, CallInput, Ending, Pulse, Recorder, Share, out_of_time};
use crate::engine_thread::Session;
use crate::peer::Peer;
use crate::shutdown::CallGuard;
use crate::websocket::say_goodbye;

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
    pub(super) request: RealtimeRequest,
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
        let mut events_out = EventWriter::new(dialect, request.params.seed);
        let recorder = Recorder::of_call(app.config.record_dir.as_deref(), &app.metrics, &guard);
        let (outbox, mut sender) = outbox();
        let ending = {
            let input = CallInput::new(&input, &pulse, recorder.clone(), &app.metrics);
            let mut said = CallEvents::new(&app.engine, events, recorder, request.max_steps);
            let mut talk = Talk::new(&app, &input, &pulse, &mut events_out, &request, outbox);
            talk.limit = limit;
            tokio::select! {
                ending = talk.run(&mut source, &mut said) => ending,
                ending = sender.run(&mut sink, app.config.calls.ping_interval) => ending,
                ending = out_of_time(app.config.calls.max_duration, &pulse, &mut guard) => ending,
            }
        };
        // The row is free for the next caller before this one has been seen off.
        drop((input, share));
        app.metrics.closed(ending.label());
        let seconds = pulse.elapsed().as_secs();
        tracing::info!(%peer, reason = ending.label(), seconds, "realtime call ended");
        if matches!(&ending, Ending::Close(reason, _) if *reason != CloseReason::NotReading) {
            sender.finish(&mut sink, LAST_WORDS).await;
        }
        let error = |reason: CloseReason, words: &str| Frame::Text(events_out.failure(reason.name(), words).into());
        say_goodbye(&mut sink, &mut source, ending, error).await;
        drop(guard);
    }
}
