//! How a call ends or is refused: one table of close codes, and the body of a refusal.

use serde::{Deserialize, Serialize};

/// Why the server ends a call: the WebSocket close code and its reason.
///
/// Codes below 4000 have the meaning RFC 6455 (section 7.4.1) and its registry give them; 4000 and above are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// 1000: the conversation is over, as either side wanted it.
    Finished,
    /// 1001: the server is shutting down.
    ShuttingDown,
    /// 1002: bytes that are no WebSocket frame, or a close frame that is none.
    WebSocket,
    /// 1003: a text frame, where only binary messages are spoken.
    TextFrame,
    /// 1007: the audio never was Ogg Opus, or a message broke the protocol.
    BadMessage,
    /// 1008: not allowed here (origin, token).
    NotAllowed,
    /// 1009: a message over the size limit.
    TooLong,
    /// 1011: the model or the server failed.
    Internal,
    /// 1013: no free place; try again later.
    Full,
    /// 4000: nothing came for too long.
    Idle,
    /// 4001: the call reached its longest allowed time or number of steps.
    TimeLimit,
    /// 4002: the client does not read what it is sent.
    NotReading,
    /// 4003: audio arrives faster than real time allows, for too long.
    TooFast,
}

impl CloseReason {
    /// Every reason, for tables and tests.
    pub const ALL: [Self; 13] = [
        Self::Finished,
        Self::ShuttingDown,
        Self::WebSocket,
        Self::TextFrame,
        Self::BadMessage,
        Self::NotAllowed,
        Self::TooLong,
        Self::Internal,
        Self::Full,
        Self::Idle,
        Self::TimeLimit,
        Self::NotReading,
        Self::TooFast,
    ];

    /// The WebSocket close code.
    pub fn code(self) -> u16 {
        match self {
            Self::Finished => 1000,
            Self::ShuttingDown => 1001,
            Self::WebSocket => 1002,
            Self::TextFrame => 1003,
            Self::BadMessage => 1007,
            Self::NotAllowed => 1008,
            Self::TooLong => 1009,
            Self::Internal => 1011,
            Self::Full => 1013,
            Self::Idle => 4000,
            Self::TimeLimit => 4001,
            Self::NotReading => 4002,
            Self::TooFast => 4003,
        }
    }

    /// A short name, good as a metrics label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ShuttingDown => "shutting_down",
            Self::WebSocket => "websocket",
            Self::TextFrame => "text_frame",
            Self::BadMessage => "bad_message",
            Self::NotAllowed => "not_allowed",
            Self::TooLong => "too_long",
            Self::Internal => "internal",
            Self::Full => "full",
            Self::Idle => "idle",
            Self::TimeLimit => "time_limit",
            Self::NotReading => "not_reading",
            Self::TooFast => "too_fast",
        }
    }

    /// The reason in words; fits into a close frame (at most 123 bytes).
    pub fn text(self) -> &'static str {
        match self {
            Self::Finished => "the conversation is over",
            Self::ShuttingDown => "the server is shutting down; call again in a moment",
            Self::WebSocket => "a frame broke the WebSocket protocol",
            Self::TextFrame => "text frames are not part of this protocol; send binary messages",
            Self::BadMessage => "a message broke the protocol; see the error message before this",
            Self::NotAllowed => "this page or token may not call this server",
            Self::TooLong => "a message was too long; send audio in pieces of 80 ms",
            Self::Internal => "the server failed; call again",
            Self::Full => "all places are taken; try again later",
            Self::Idle => "nothing came for too long; send audio all the time, silence too",
            Self::TimeLimit => "the call reached its longest allowed time",
            Self::NotReading => "the client does not read what it is sent",
            Self::TooFast => "audio came faster than real time for too long",
        }
    }
}

/// The JSON body of an answer that refuses a call before it became a WebSocket.
///
/// ```
/// use moshi_protocol::Refusal;
/// let full = Refusal { error: "full".into(), reason: "all 8 places are taken".into(), retry_after: Some(5) };
/// assert_eq!(full.to_json(), r#"{"error":"full","reason":"all 8 places are taken","retry_after":5}"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Short name of the kind of refusal, such as `full` or `parameter`.
    pub error: String,
    /// For a person to read: what was found, what is allowed.
    pub reason: String,
    /// Seconds after which another attempt makes sense, if any does; goes into the `Retry-After` header too.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// A refusal for the reason a call would otherwise be closed with.
    pub fn new(reason: CloseReason, retry_after: Option<u32>) -> Self {
        Self { error: reason.name().to_owned(), reason: reason.text().to_owned(), retry_after }
    }

    /// The HTTP body.
    pub fn to_json(&self) -> String {
        // Two strings and a number always serialize; an empty object would be the honest answer to the impossible.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

impl From<&crate::ParamError> for Refusal {
    fn from(error: &crate::ParamError) -> Self {
        Self { error: "parameter".to_owned(), reason: error.to_string(), retry_after: None }
    }
}
