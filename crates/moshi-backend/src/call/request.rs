//! What a caller asks for in the query string.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use moshi_engine::{Prompt, SessionParams, SessionSpec};
use moshi_protocol::{ChatParams, Notice, ParamError, Refusal};

use crate::config::Part;

/// Formats of audio that can be asked for by name; each wire has its own.
pub(crate) trait NamedFormat: Default {
    /// The names, for people.
    const NAMES: &'static str;

    /// The format of this name.
    fn named(name: &str) -> Option<Self>;
}

/// A call that makes sense.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallRequest<F> {
    /// Sampling parameters.
    pub(crate) params: SessionParams,
    /// What audio messages hold.
    pub(crate) format: F,
    /// The call ends after this many frames of reply.
    pub(crate) max_steps: Option<u32>,
    /// Who the model is asked to be.
    pub(crate) part: Part,
    /// What makes the model that, once it was found to be possible.
    pub(crate) prompt: Option<Arc<Prompt>>,
    /// What was asked for in vain.
    pub(crate) notices: Vec<Notice>,
}

impl<F> CallRequest<F> {
    /// The session that was asked for.
    pub(crate) fn spec(&self) -> SessionSpec {
        SessionSpec { prompt: self.prompt.clone(), ..SessionSpec::live(self.params) }
    }
}

impl<F: NamedFormat> CallRequest<F> {
    /// Reads a query string; what it leaves open is as in `defaults`, and the seed is random.
    pub(crate) fn parse(query: &str, defaults: &SessionParams) -> Result<Self, Refusal> {
        let asked = ChatParams::parse(query).map_err(|error| Refusal::from(&error))?;
        let format = match asked.format.as_deref() {
            None => F::default(),
            Some(name) => F::named(name).ok_or_else(|| Refusal::from(&ParamError::new("format", name, F::NAMES)))?,
        };
        let mut params = SessionParams { seed: asked.session_seed().unwrap_or_else(random_seed), ..*defaults };
        asked.sampling.apply(&mut params);
        let part = Part { voice: asked.voice_prompt, role: asked.text_prompt };
        Ok(Self { params, format, max_steps: asked.max_steps, part, prompt: None, notices: Vec::new() })
    }
}

/// A seed that nobody chose. The standard library keys every hasher with fresh random numbers.
fn random_seed() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    enum WireFormat {
        #[default]
        OggOpus,
        Pcm,
    }

    impl NamedFormat for WireFormat {
        const NAMES: &'static str = "opus or pcm";

        fn named(name: &str) -> Option<Self> {
            [("opus", Self::OggOpus), ("pcm", Self::Pcm)].into_iter().find(|found| found.0 == name).map(|found| found.1)
        }
    }

    fn parse(query: &str) -> Result<CallRequest<WireFormat>, Refusal> {
        CallRequest::parse(query, &SessionParams { temperature: 0.5, ..SessionParams::default() })
    }

    #[test]
    fn what_the_caller_leaves_open_is_the_servers_choice() {
        let request = parse("text_topk=3&seed=7&format=pcm&max_steps=9").unwrap();
        assert_eq!((request.params.temperature, request.params.text_top_k, request.params.seed), (0.5, 3, 7));
        assert_eq!((request.format, request.max_steps), (WireFormat::Pcm, Some(9)));
        let refusal = parse("format=mp3").unwrap_err();
        assert_eq!(refusal.reason, "query parameter format is \"mp3\"; expected opus or pcm");
    }

    #[test]
    fn a_format_is_read_however_it_is_encoded() {
        for query in ["format=pcm", "format=%70cm", "f%6Frmat=pcm", "a=b&format=+pcm", "format=opus&format=pcm"] {
            assert_eq!(parse(query).unwrap().format, WireFormat::Pcm, "{query}");
        }
        for query in ["", "format", "format=", "format=pcm&format=", "xformat=pcm", "format=opus"] {
            assert_eq!(parse(query).unwrap().format, WireFormat::OggOpus, "{query}");
        }
        assert!(parse("format=%FF%00").unwrap_err().reason.contains("format"));
    }

    #[test]
    fn prompts_that_nobody_plays_are_told_and_cost_nothing() {
        assert!(parse("voice_prompt=&seed=1").unwrap().part.in_vain().is_empty());
        let notices = parse("voice_prompt=NATF2.pt&text_prompt=You+are+a+pirate").unwrap().part.in_vain();
        assert!(notices.len() == 2 && notices[0].text.contains("voice_prompt"), "{notices:?}");
    }
}
