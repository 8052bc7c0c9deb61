//! One call from the upgrade to the close frame.

use std::sync::Arc;

use axum::extract::ws::WebSocket;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::backlog::Backlog;
use super::feeder::Feeder;
use super::format::ChatRequest;
use super::listener::Listener;
use super::message;
use super::speaker::Speaker;
use crate::app::App;
use crate::call::{CallEvents, CallInput, Pulse, Recorder, Share, out_of_time};
use crate::engine_thread::Session;
use crate::peer::Peer;
use crate::shutdown::CallGuard;
use crate::websocket::say_goodbye;

/// Complaints about unusable messages that may wait to be sent.
const COMPLAINTS: usize = 4;
/// Reports of lost audio that may wait: one tells of it.
const REPORTS: usize = 1;

/// An admitted call whose WebSocket is about to open.
pub(super) struct ChatCall {
    /// The server.
    pub(super) app: Arc<App>,
    /// Who calls.
    pub(super) peer: Peer,
    /// What it takes of what it may have.
    pub(super) share: Share,
    /// What was asked for.
    pub(super) request: ChatRequest,
    /// The row.
    pub(super) session: Session,
    /// Tells when the server ends.
    pub(super) guard: CallGuard,
}

impl ChatCall {
    /// Runs the call to its end.
    pub(super) async fn run(self, socket: WebSocket) {
        let Self { app, peer, share, request, session, mut guard } = self;
        tracing::info!(%peer, format = ?request.format, "call begins");
        let (mut sink, mut source) = socket.split();
        let pulse = Pulse::new();
        let (complain, complaints) = mpsc::channel(COMPLAINTS);
        let (report, lost) = mpsc::channel(REPORTS);
        let Session { input, events } = session;
        let recorder = Recorder::of_call(app.config.record_dir.as_deref(), &app.metrics, &guard);
        let backlog = Backlog::new(app.config.engine.backlog_limit);
        let ending = {
            let input = CallInput::new(&input, &pulse, recorder.clone(), &app.metrics);
            let events = CallEvents::new(&app.engine, events, recorder, request.max_steps);
            let listener = Listener::new(&app, (&input, &backlog), request.format, &pulse, complain);
            let feeder = Feeder { backlog: &backlog, input: &input, pulse: &pulse, report };
            let speaker = Speaker { app: &app, request: &request, pulse: &pulse, events, complaints, lost };
            tokio::select! {
                ending = listener.run(&mut source) => ending,
                ending = feeder.run() => ending,
                ending = speaker.run(&mut sink) => ending,
                ending = out_of_time(app.config.calls.max_duration, &pulse, &mut guard) => ending,
            }
        };
        // The row is free for the next caller before this one has been seen off.
        drop((input, share));
        app.metrics.closed(ending.label());
        let seconds = pulse.elapsed().as_secs();
        tracing::info!(%peer, reason = ending.label(), seconds, "call ended");
        say_goodbye(&mut sink, &mut source, ending, message::error).await;
        drop(guard);
    }
}
