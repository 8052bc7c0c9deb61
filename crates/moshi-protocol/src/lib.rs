//! The wire protocol of `/api/chat`: messages, query parameters, session metadata, refusals and close codes.
//!
//! It is the protocol that published Moshi clients and servers speak, over a WebSocket with binary messages only.
//! This crate knows bytes and numbers; it has no sockets, no clock and no audio.
//!
//! ```
//! use moshi_protocol::{ChatParams, DEFAULT_MAX_MESSAGE, Message};
//!
//! // A call arrives with its parameters in the query string ...
//! let params = ChatParams::parse("text_temperature=0.7&audio_topk=250&email=unknown-is-ignored")?;
//! assert_eq!(params.sampling.get("audio_topk"), Some(250.0));
//!
//! // ... and then messages go both ways.
//! let mut wire = Vec::new();
//! Message::Text("hello").encode(&mut wire);
//! assert_eq!(wire, b"\x02hello");
//! assert_eq!(Message::decode(&wire, DEFAULT_MAX_MESSAGE)?, Message::Text("hello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod close;
mod message;
mod metadata;
mod params;
mod steer;

pub use close::{CloseReason, Refusal};
pub use message::{Control, DEFAULT_MAX_MESSAGE, Message, MessageError, ModelVersions};
pub use metadata::{BuildInfo, Notice, SessionMetadata, WaitingNotice};
pub use params::{AskedSampling, ChatParams, ParamError};
pub use steer::{SayWhen, Steer};
