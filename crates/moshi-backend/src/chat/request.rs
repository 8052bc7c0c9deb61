//! What a caller asks for in the query string.

use std::hash::{BuildHasher, Hasher};

use moshi_engine::SessionParams;
use moshi_protocol::{ChatParams, Refusal};

/// What audio messages hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum WireFormat {
    /// One continuous Ogg Opus stream each way, as published clients send and expect.
    #[default]
    OggOpus,
    /// 24 kHz mono s16le samples, for clients without Opus.
    Pcm,
}

/// A call that makes sense.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CallRequest {
    /// Sampling parameters.
    pub(crate) params: SessionParams,
    /// What audio messages hold.
    pub(crate) format: WireFormat,
    /// The call ends after this many frames of reply.
    pub(crate) max_steps: Option<u32>,
}

impl CallRequest {
    /// Reads a query string; what it leaves open is as in `defaults`, and the seed is random.
    pub(crate) fn parse(query: &str, defaults: &SessionParams) -> Result<Self, Refusal> {
        let asked = ChatParams::parse(query).map_err(|error| Refusal::from(&error))?;
        let format = parse_format(query)?;
        let top_k = |k: Option<u32>, otherwise: usize| k.map_or(otherwise, |k| usize::try_from(k).unwrap_or(otherwise));
        let params = SessionParams {
            seed: asked.session_seed().unwrap_or_else(random_seed),
            temperature: asked.audio_temperature.unwrap_or(defaults.temperature),
            top_k: top_k(asked.audio_topk, defaults.top_k),
            text_temperature: asked.text_temperature.unwrap_or(defaults.text_temperature),
            text_top_k: top_k(asked.text_topk, defaults.text_top_k),
            top_p: defaults.top_p,
            pad_mult: asked.pad_mult.unwrap_or(defaults.pad_mult),
            repetition_penalty: asked.repetition_penalty.unwrap_or(defaults.repetition_penalty),
            repetition_context: top_k(asked.repetition_penalty_context, defaults.repetition_context),
        };
        Ok(Self { params, format, max_steps: asked.max_steps })
    }
}

fn parse_format(query: &str) -> Result<WireFormat, Refusal> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix("format="));
    match values.next_back() {
        None | Some("" | "opus") => Ok(WireFormat::OggOpus),
        Some("pcm") => Ok(WireFormat::Pcm),
        Some(other) => {
            let found: String = other.chars().take(64).collect();
            let reason = format!("query parameter format is {found:?}; expected opus or pcm");
            Err(Refusal { error: "parameter".to_owned(), reason, retry_after: None })
        }
    }
}

/// A seed that nobody chose. The standard library keys every hasher with fresh random numbers.
fn random_seed() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caller_leaves_open_is_the_servers_choice() {
        let defaults = SessionParams { temperature: 0.5, ..SessionParams::default() };
        let request = CallRequest::parse("text_topk=3&seed=7&format=pcm&max_steps=9", &defaults).unwrap();
        assert_eq!((request.params.temperature, request.params.text_top_k, request.params.seed), (0.5, 3, 7));
        assert_eq!((request.format, request.max_steps), (WireFormat::Pcm, Some(9)));
        let refusal = CallRequest::parse("format=mp3", &defaults).unwrap_err();
        assert_eq!(refusal.reason, "query parameter format is \"mp3\"; expected opus or pcm");
    }
}
