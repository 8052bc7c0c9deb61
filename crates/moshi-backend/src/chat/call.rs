//! One call from the upgrade to the close frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use moshi_protocol::{CloseReason, Message};
use tokio::sync::mpsc;

use super::backlog::Backlog;
use super::feeder::Feeder;
use super::listener::Listener;
use super::request::CallRequest;
use super::speaker::Speaker;
use crate::app::App;
use crate::engine_thread::Session;
use crate::peer::Peer;
use crate::quota::Share;
use crate::recording::Recorder;
use crate::shutdown::CallGuard;

/// How long a caller has to take the last message and to answer the close frame.
const FAREWELL: Duration = Duration::from_secs(2);
/// Complaints about unusable messages that may wait to be sent.
const COMPLAINTS: usize = 4;
/// Reports of lost audio that may wait: one tells of it.
const REPORTS: usize = 1;

/// The writing half of a call's socket.
pub(crate) type Sink = SplitSink<WebSocket, Frame>;
/// The reading half.
pub(crate) type Source = SplitStream<WebSocket>;

/// An admitted call whose WebSocket is about to open.
pub(super) struct Call {
    /// The server.
    pub(super) app: Arc<App>,
    /// Who calls.
    pub(super) peer: Peer,
    /// What it takes of what it may have.
    pub(super) share: Share,
    /// What was asked for.
    pub(super) request: CallRequest,
    /// The row.
    pub(super) session: Session,
    /// Tells when the server ends.
    pub(super) guard: CallGuard,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The caller hung up or vanished.
    Left,
    /// We end it, with words if there is more to say than the reason.
    Close(CloseReason, Option<String>),
}

impl Ending {
    /// We end the call for a reason that explains itself.
    pub(crate) fn because(reason: CloseReason) -> Self {
        Self::Close(reason, None)
    }

    /// Something of ours failed: the log hears `why`, which may speak of devices and files, and the caller hears `what`.
    pub(crate) fn failed(what: &str, why: &dyn std::fmt::Display) -> Self {
        tracing::error!(%why, "{what}");
        Self::Close(CloseReason::Internal, Some(what.to_owned()))
    }

    /// The model failed, and said `why`.
    pub(crate) fn model_failed(why: &str) -> Self {
        Self::failed("the model failed; call again", &why)
    }

    /// A short name, good as a metrics label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Close(reason, _) => reason.name(),
        }
    }
}

/// Signs of life of a caller, written by the listener and read by the speaker; milliseconds since the call began.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// When the call began.
    pub(crate) start: Instant,
    message: AtomicU64,
    pong: AtomicU64,
}

impl Pulse {
    /// At the beginning of a call.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), message: AtomicU64::new(0), pong: AtomicU64::new(0) }
    }

    /// A message of the protocol came.
    pub(crate) fn beat(&self) {
        self.message.store(self.now(), Ordering::Relaxed);
    }

    /// A ping was answered.
    pub(crate) fn pong(&self) {
        self.pong.store(self.now(), Ordering::Relaxed);
    }

    /// How long no message has come.
    pub(crate) fn since_message(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.message.load(Ordering::Relaxed)))
    }

    /// How long no ping has been answered.
    pub(crate) fn since_pong(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.pong.load(Ordering::Relaxed)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Call {
    /// Runs the call to its end.
    pub(super) async fn run(self, socket: WebSocket) {
        let Self { app, peer, share, request, session, mut guard } = self;
        tracing::info!(%peer, format = ?request.format, "call begins");
        let (mut sink, mut source) = socket.split();
        let pulse = Pulse::new();
        let (complain, complaints) = mpsc::channel(COMPLAINTS);
        let (report, lost) = mpsc::channel(REPORTS);
        let Session { input, events } = session;
        let recorder = record(&app, &guard);
        let backlog = Backlog::new(app.config.engine.backlog_limit);
        let ending = {
            let listener = Listener::new(&app, (&input, &backlog), request.format, &pulse, complain);
            let feeder = Feeder {
                app: &app,
                backlog: &backlog,
                input: &input,
                pulse: &pulse,
                recorder: recorder.clone(),
                report,
            };
            let speaker = Speaker { app: &app, request: &request, pulse: &pulse, events, complaints, lost, recorder };
            tokio::select! {
                ending = listener.run(&mut source) => ending,
                ending = feeder.run() => ending,
                ending = speaker.run(&mut sink) => ending,
                ending = out_of_time(&app, &mut guard) => ending,
            }
        };
        // The row is free for the next caller before this one has been seen off.
        drop((input, share));
        app.metrics.closed(ending.label());
        let seconds = pulse.start.elapsed().as_secs();
        tracing::info!(%peer, reason = ending.label(), seconds, "call ended");
        say_goodbye(&mut sink, &mut source, ending, error_message).await;
        drop(guard);
    }
}

/// Waits until a call has to end whatever its two sides say: the server ends, or the longest time of a call is over.
pub(crate) async fn out_of_time(app: &App, guard: &mut CallGuard) -> Ending {
    let longest = app.config.calls.max_duration;
    tokio::select! {
        () = guard.closing() => {
            let (reason, words) = guard.reason();
            Ending::Close(reason, words)
        }
        () = tokio::time::sleep(longest), if !longest.is_zero() => Ending::because(CloseReason::TimeLimit),
    }
}

/// Begins a recording where calls are recorded; `guard` keeps the server from ending before it is on disk. A call that
/// cannot be recorded goes on without.
pub(crate) fn record(app: &App, guard: &CallGuard) -> Option<Recorder> {
    let folder = app.config.record_dir.as_ref()?;
    let started = Recorder::start(folder, Arc::clone(&app.metrics), guard.witness());
    started
        .inspect_err(|error| {
            app.metrics.lost_recordings.increment(1);
            tracing::error!(%error, "a call is not recorded");
        })
        .ok()
}

/// An error as a message of the protocol.
pub(super) fn error_message(_reason: CloseReason, words: &str) -> Frame {
    Frame::Binary(Message::Error(words).to_bytes().into())
}

/// Ends a call as RFC 6455 (section 7) wants it: tells a caller that is still there why, and waits a moment until both
/// sides have said goodbye. `error` puts what there is to say beyond the reason into a message of the call's protocol.
pub(crate) async fn say_goodbye(
    sink: &mut Sink,
    source: &mut Source,
    ending: Ending,
    error: impl FnOnce(CloseReason, &str) -> Frame,
) {
    if let Ending::Close(reason, words) = ending {
        let words = words.map(|words| error(reason, &words));
        let close = CloseFrame { code: reason.code(), reason: reason.text().into() };
        let frames = words.into_iter().chain([Frame::Close(Some(close))]).map(Ok);
        let _ = tokio::time::timeout(FAREWELL, sink.send_all(&mut futures_util::stream::iter(frames))).await;
    }
    // The answer to the caller's close frame leaves with the next reading. And closing a socket with unread input resets
    // the connection: the caller might never see the reason.
    let rest = async { while let Some(Ok(_)) = source.next().await {} };
    let _ = tokio::time::timeout(FAREWELL, rest).await;
}
