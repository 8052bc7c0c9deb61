//! One message: a type byte and its payload.

/// Largest message taken from a client unless the server decides otherwise, in bytes: several seconds of Opus.
pub const DEFAULT_MAX_MESSAGE: usize = 64 * 1024;

/// The version words of a long handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelVersions {
    /// Version of the protocol; the published servers send 0.
    pub protocol: u32,
    /// Version of the model; the published servers send 0.
    pub model: u32,
}

/// The payload of a control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// 0: start.
    Start,
    /// 1: end of turn.
    EndTurn,
    /// 2: pause.
    Pause,
    /// 3: restart.
    Restart,
}

impl Control {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        match self {
            Self::Start => 0,
            Self::EndTurn => 1,
            Self::Pause => 2,
            Self::Restart => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Start, Self::EndTurn, Self::Pause, Self::Restart].into_iter().find(|c| c.byte() == byte)
    }
}

/// A message of the protocol, borrowing its payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Message<'a> {
    /// 0: the model is ready for this caller. The published Python server sends no versions, the Rust server does;
    /// clients accept both.
    Handshake(Option<ModelVersions>),
    /// 1: a piece of one continuous Ogg Opus stream, 24 kHz mono.
    Audio(&'a [u8]),
    /// 2: a piece of the agent's words.
    Text(&'a str),
    /// 3: a control byte.
    Control(Control),
    /// 4: a JSON document, see [`SessionMetadata`](crate::SessionMetadata).
    Metadata(&'a str),
    /// 5: what went wrong, for a person to read.
    Error(&'a str),
    /// 6: nothing but a sign of life.
    Ping,
    /// 7: words with a colour number.
    ColouredText {
        /// Which colour; clients give it a meaning.
        colour: u8,
        /// The words.
        text: &'a str,
    },
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// There is not even a type byte.
    #[error("empty message; expected a type byte, 0 to 7, and its payload")]
    Empty,
    /// The type byte is none of the protocol's.
    #[error("message type {found} is unknown; expected 0 (handshake) to 7 (coloured text)")]
    UnknownType {
        /// The first byte.
        found: u8,
    },
    /// The message is longer than the limit.
    #[error("message of {found} bytes is too long; expected at most {limit}: send audio in smaller pieces")]
    TooLong {
        /// Length found, in bytes.
        found: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The payload's length does not fit the type.
    #[error("{kind} message has a payload of {found} bytes; expected {expected}")]
    Length {
        /// Name of the message type.
        kind: &'static str,
        /// Payload length found, in bytes.
        found: usize,
        /// Lengths allowed.
        expected: &'static str,
    },
    /// The control byte is none of the protocol's.
    #[error("control byte {found} is unknown; expected 0 (start), 1 (end of turn), 2 (pause) or 3 (restart)")]
    UnknownControl {
        /// The byte found.
        found: u8,
    },
    /// A text payload is not UTF-8.
    #[error("{kind} message is not UTF-8: byte {offset} of its text is the first bad one")]
    Utf8 {
        /// Name of the message type.
        kind: &'static str,
        /// Length of the valid beginning, in bytes.
        offset: usize,
    },
    /// The metadata payload is not JSON.
    #[error("metadata message is not JSON: {reason}")]
    Json {
        /// What the JSON parser says.
        reason: String,
    },
}

impl<'a> Message<'a> {
    /// The type byte on the wire.
    pub fn type_byte(&self) -> u8 {
        match self {
            Self::Handshake(_) => 0,
            Self::Audio(_) => 1,
            Self::Text(_) => 2,
            Self::Control(_) => 3,
            Self::Metadata(_) => 4,
            Self::Error(_) => 5,
            Self::Ping => 6,
            Self::ColouredText { .. } => 7,
        }
    }

    /// Replaces the contents of `out` by this message; `out` keeps its capacity, so one buffer serves a whole call.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(self.type_byte());
        match self {
            Self::Handshake(Some(versions)) => {
                out.extend_from_slice(&versions.protocol.to_le_bytes());
                out.extend_from_slice(&versions.model.to_le_bytes());
            }
            Self::Handshake(None) | Self::Ping => {}
            Self::Audio(bytes) => out.extend_from_slice(bytes),
            Self::Text(text) | Self::Metadata(text) | Self::Error(text) => out.extend_from_slice(text.as_bytes()),
            Self::Control(control) => out.push(control.byte()),
            Self::ColouredText { colour, text } => {
                out.push(*colour);
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// This message as new bytes; [`Message::encode`] reuses a buffer instead.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Reads one message of at most `limit` bytes.
    ///
    /// Anything after the version words of a handshake and any payload of a ping is ignored.
    ///
    /// # Errors
    /// [`MessageError`] says what was found and what was expected; no input panics.
    pub fn decode(bytes: &'a [u8], limit: usize) -> Result<Self, MessageError> {
        if bytes.len() > limit {
            return Err(MessageError::TooLong { found: bytes.len(), limit });
        }
        let (&kind, payload) = bytes.split_first().ok_or(MessageError::Empty)?;
        match kind {
            0 => handshake(payload),
            1 => Ok(Self::Audio(payload)),
            2 => Ok(Self::Text(utf8("text", payload)?)),
            3 => control(payload),
            4 => metadata(payload),
            5 => Ok(Self::Error(utf8("error", payload)?)),
            6 => Ok(Self::Ping),
            7 => coloured(payload),
            found => Err(MessageError::UnknownType { found }),
        }
    }
}

fn handshake(payload: &[u8]) -> Result<Message<'_>, MessageError> {
    let word = |at: usize| Some(u32::from_le_bytes(payload.get(at..at + 4)?.try_into().ok()?));
    match (payload.len(), word(0), word(4)) {
        (0, ..) => Ok(Message::Handshake(None)),
        (_, Some(protocol), Some(model)) => Ok(Message::Handshake(Some(ModelVersions { protocol, model }))),
        (found, ..) => Err(MessageError::Length { kind: "handshake", found, expected: "0 or 8" }),
    }
}

fn control(payload: &[u8]) -> Result<Message<'_>, MessageError> {
    match payload {
        [byte] => Control::from_byte(*byte).map(Message::Control).ok_or(MessageError::UnknownControl { found: *byte }),
        _ => Err(MessageError::Length { kind: "control", found: payload.len(), expected: "1" }),
    }
}

fn metadata(payload: &[u8]) -> Result<Message<'_>, MessageError> {
    let text = utf8("metadata", payload)?;
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|error| MessageError::Json { reason: error.to_string() })?;
    Ok(Message::Metadata(text))
}

fn coloured(payload: &[u8]) -> Result<Message<'_>, MessageError> {
    let (&colour, text) = payload.split_first().ok_or(MessageError::Length {
        kind: "coloured text",
        found: 0,
        expected: "a colour byte and its text",
    })?;
    Ok(Message::ColouredText { colour, text: utf8("coloured text", text)? })
}

fn utf8<'a>(kind: &'static str, payload: &'a [u8]) -> Result<&'a str, MessageError> {
    std::str::from_utf8(payload).map_err(|error| MessageError::Utf8 { kind, offset: error.valid_up_to() })
}
