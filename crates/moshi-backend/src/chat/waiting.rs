//! A caller in the waiting line: its socket is open, it is told where it stands, and it leaves when it hangs up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{Message as Frame, WebSocket};
use futures_util::StreamExt;
use moshi_protocol::{CloseReason, Message, WaitingNotice};

use super::call::ChatCall;
use super::format::ChatRequest;
use super::message;
use crate::app::App;
use crate::call::{Ending, RateLimits, Share, Ticket, turned_away};
use crate::engine_thread::Session;
use crate::peer::Peer;
use crate::shutdown::CallGuard;
use crate::websocket::{say_goodbye, size};

/// How often a caller is told its position when it does not change: the published web client hangs up after ten
/// seconds without a message.
const REMINDER: Duration = Duration::from_secs(4);
/// A caller whose socket takes no notice for this long has vanished.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// A caller that waits for a place.
pub(super) struct WaitingCall {
    /// The server.
    pub(super) app: Arc<App>,
    /// Who calls.
    pub(super) peer: Peer,
    /// What it takes of what it may have.
    pub(super) share: Share,
    /// What was asked for.
    pub(super) request: ChatRequest,
    /// Its turn.
    pub(super) ticket: Ticket,
    /// Tells when the server ends.
    pub(super) guard: CallGuard,
}

impl WaitingCall {
    /// Waits, then runs the call to its end.
    pub(super) async fn run(self, mut socket: WebSocket) {
        let Self { app, peer, share, request, mut ticket, mut guard } = self;
        tracing::info!(%peer, position = ticket.position(), "a caller waits");
        let begin = Instant::now();
        let limit = app.config.queue.longest;
        let outcome = tokio::select! {
            outcome = wait(&app, &request, &mut ticket, &mut socket, begin) => outcome,
            () = guard.draining() => {
                let (reason, words) = guard.reason();
                Err(Ending::Close(reason, words))
            }
            () = tokio::time::sleep(limit), if !limit.is_zero() => {
                Err(Ending::Close(CloseReason::Full, Some("no place became free in time".to_owned())))
            }
        };
        // The next in line moves up.
        drop(ticket);
        match outcome {
            Ok(session) => {
                app.metrics.waited.record(begin.elapsed().as_secs_f64());
                ChatCall { app, peer, share, request, session, guard }.run(socket).await;
            }
            Err(ending) => {
                app.metrics.closed(ending.label());
                tracing::info!(%peer, reason = ending.label(), seconds = begin.elapsed().as_secs(), "left the line");
                let (mut sink, mut source) = socket.split();
                say_goodbye(&mut sink, &mut source, ending, message::error).await;
            }
        }
    }
}

async fn wait(
    app: &App,
    request: &ChatRequest,
    ticket: &mut Ticket,
    socket: &mut WebSocket,
    begin: Instant,
) -> Result<Session, Ending> {
    let mut limits = RateLimits::new();
    let mut reminder = tokio::time::interval(REMINDER);
    loop {
        let first = ticket.position() == 1;
        tokio::select! {
            place = app.engine.next_place(), if first => {
                let place = place.ok_or_else(|| Ending::because(CloseReason::Internal))?;
                return app.engine.admit_to(place, request.spec()).await.map_err(|error| {
                    let (reason, words) = turned_away(&error);
                    Ending::Close(reason, words)
                });
            }
            () = ticket.moved() => tell(socket, ticket).await?,
            _ = reminder.tick() => tell(socket, ticket).await?,
            // What a caller says before its place is free is not heard; flooding does not pay here either.
            heard = socket.recv() => match heard {
                None | Some(Err(_) | Ok(Frame::Close(_))) => return Err(Ending::Left),
                Some(Ok(frame)) => if !limits.message(begin.elapsed(), size(&frame)) {
                    return Err(Ending::because(CloseReason::TooFast));
                },
            },
        }
    }
}

async fn tell(socket: &mut WebSocket, ticket: &Ticket) -> Result<(), Ending> {
    let notice = WaitingNotice::new(ticket.position(), ticket.length()).to_json();
    let frame = message::frame(&Message::Metadata(&notice));
    match tokio::time::timeout(SEND_TIMEOUT, socket.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ending::Left),
        Err(_) => Err(Ending::because(CloseReason::NotReading)),
    }
}
