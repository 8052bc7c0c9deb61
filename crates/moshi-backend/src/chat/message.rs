//! Messages of `/api/chat` as frames of its WebSocket.

use axum::extract::ws::Message as Frame;
use moshi_protocol::{CloseReason, Message};

/// The frame of a message.
pub(super) fn frame(message: &Message<'_>) -> Frame {
    Frame::Binary(message.to_bytes().into())
}

/// An error as a message.
pub(super) fn error(_reason: CloseReason, words: &str) -> Frame {
    frame(&Message::Error(words))
}
