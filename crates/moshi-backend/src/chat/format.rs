//! What audio messages of `/api/chat` hold.

use crate::call::{CallRequest, NamedFormat};

/// What a caller of this wire asks for.
pub(super) type ChatRequest = CallRequest<WireFormat>;

/// A format of audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum WireFormat {
    /// One continuous Ogg Opus stream each way, as published clients send and expect.
    #[default]
    OggOpus,
    /// 24 kHz mono s16le samples, for clients without Opus.
    Pcm,
}

impl NamedFormat for WireFormat {
    const NAMES: &'static str = "opus or pcm";

    fn named(name: &str) -> Option<Self> {
        match name {
            "opus" => Some(Self::OggOpus),
            "pcm" => Some(Self::Pcm),
            _ => None,
        }
    }
}
