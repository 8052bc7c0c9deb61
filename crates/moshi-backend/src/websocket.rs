//! What calls over WebSockets have in common: the two halves of a socket, frames that are taken in good time, and the
//! goodbye.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use moshi_protocol::CloseReason;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::ProtocolError;

use crate::call::Ending;
use crate::metrics::Metrics;

/// How long a caller has to take the last message and to answer the close frame.
const FAREWELL: Duration = Duration::from_secs(2);
/// A caller whose socket takes nothing for this long does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The writing half of a call's socket.
pub(crate) type Sink = SplitSink<WebSocket, Frame>;
/// The reading half.
pub(crate) type Source = SplitStream<WebSocket>;

/// Sends one frame to a caller that must take it in good time.
///
/// # Errors
/// The ending of the call of one who does not.
pub(crate) async fn send_frame(sink: &mut Sink, frame: Frame) -> Result<(), Ending> {
    match tokio::time::timeout(SEND_TIMEOUT, sink.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ending::Left),
        Err(_) => Err(Ending::because(CloseReason::NotReading)),
    }
}

/// Bytes of what a frame carries.
pub(crate) fn size(frame: &Frame) -> usize {
    match frame {
        Frame::Binary(bytes) | Frame::Ping(bytes) | Frame::Pong(bytes) => bytes.len(),
        Frame::Text(text) => text.len(),
        Frame::Close(_) => 0,
    }
}

/// The ending of a call whose WebSocket itself is broken.
pub(crate) fn broken(metrics: &Metrics, error: &axum::Error) -> Ending {
    let source = std::error::Error::source(error);
    let inner = source.and_then(|e| e.downcast_ref::<tungstenite::Error>());
    match inner {
        Some(tungstenite::Error::Capacity(why)) => {
            metrics.bad_input("too_long");
            Ending::Close(CloseReason::TooLong, Some(why.to_string()))
        }
        Some(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Ending::Left,
        Some(tungstenite::Error::Protocol(_)) => {
            metrics.bad_input("websocket");
            Ending::because(CloseReason::WebSocket)
        }
        Some(tungstenite::Error::Utf8(_)) => {
            metrics.bad_input("websocket");
            Ending::because(CloseReason::BadMessage)
        }
        _ => Ending::Left,
    }
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
