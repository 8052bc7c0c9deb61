//! Who may call: bearer keys, from a file and from the environment, read again when the file changes.
//!
//! Only digests are kept and compared, each in constant time, so that neither the time of an answer nor a log tells
//! anything about a key.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};

use crate::key_id::KeyId;
use crate::lent_keys::LentKeys;
use crate::text_file;

/// Shortest key that is accepted: one that cannot be guessed by trying.
const SHORTEST: usize = 16;
/// What a browser's WebSocket puts before a key among its subprotocols, because it can send no headers: OpenAI's clients,
/// and ours.
const KEY_PROTOCOLS: [&str; 2] = ["openai-insecure-api-key.", "rustymoshi-key."];
/// Query parameters in which people put keys, where they would end in histories and logs.
const KEY_PARAMETERS: [&str; 7] = ["key", "api_key", "apikey", "api-key", "token", "access_token", "authorization"];

/// Why keys cannot be used. The texts never hold a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error("api_key_file: cannot read {file}: {source}", file = file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no key in it.
    #[error("api_key_file: {file} holds no key; write one on each line", file = file.display())]
    Empty {
        /// Which file.
        file: PathBuf,
    },
    /// A key that is too short or has strange characters.
    #[error("{place}: a key has {found}; expected {SHORTEST} or more letters, digits or - _ . ~ + / =")]
    Unusable {
        /// File and line, or the environment.
        place: String,
        /// What is wrong with it.
        found: String,
    },
}

/// Where keys come from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeySource {
    /// A file with one key on each line; lines that begin with `#` are comments.
    pub file: Option<PathBuf>,
    /// Keys given directly, as by the environment.
    pub given: Vec<String>,
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySource").field("file", &self.file).field("given", &self.given.len()).finish()
    }
}

/// The keys that open this server; without any source it is open to everybody.
pub(crate) struct Keys {
    source: KeySource,
    digests: RwLock<Arc<[KeyId]>>,
    lent: LentKeys,
}

/// What a request's keys are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Come in, with this key, where keys are needed.
    Granted(Option<KeyId>),
    /// There is no key.
    Missing,
    /// There is a key, and it is wrong.
    Wrong,
}

impl Keys {
    /// Reads the keys.
    ///
    /// # Errors
    /// [`KeyError`] names the file and the line.
    pub(crate) fn load(source: KeySource) -> Result<Self, KeyError> {
        let digests = RwLock::new(read(&source)?);
        Ok(Self { source, digests, lent: LentKeys::default() })
    }

    /// Reads the keys again; on an error the old ones stay.
    ///
    /// # Errors
    /// As [`Keys::load`].
    pub(crate) fn reload(&self) -> Result<usize, KeyError> {
        let fresh = read(&self.source)?;
        let count = fresh.len();
        *self.digests.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(count)
    }

    /// Whether there are any.
    pub(crate) fn needed(&self) -> bool {
        self.source != KeySource::default()
    }

    /// The file that may change.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.source.file.as_deref()
    }

    /// Whether this request may come in: `Authorization: Bearer KEY`, or a key among the subprotocols.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Access {
        if !self.needed() {
            return Access::Granted(None);
        }
        let offered = offered(headers);
        if offered.is_empty() {
            return Access::Missing;
        }
        let now = Instant::now();
        let real = offered.into_iter().filter_map(|key| {
            let id = KeyId::of(key);
            self.knows(id).or_else(|| self.knows(self.lent.lender(id, now)?))
        });
        let real = real.fold(None, |_, id| Some(id));
        real.map_or(Access::Wrong, |id| Access::Granted(Some(id)))
    }

    /// Lends a key for a while to who has one; a lent one is not lent on. None if there is no real key, or if there are too
    /// many lent ones.
    pub(crate) fn lend(&self, headers: &HeaderMap, lifetime: Duration) -> Option<String> {
        let by = if self.needed() {
            Some(offered(headers).into_iter().find_map(|key| self.knows(KeyId::of(key)))?)
        } else {
            None
        };
        self.lent.lend(by, Instant::now(), lifetime)
    }

    /// The key of this digest, if it is one of the real ones.
    fn knows(&self, id: KeyId) -> Option<KeyId> {
        let known = Arc::clone(&self.digests.read().unwrap_or_else(PoisonError::into_inner));
        id.is_among(&known).then_some(id)
    }
}

/// The query parameter that seems to hold a key, if any.
pub(crate) fn key_in_query(query: &str) -> Option<&'static str> {
    let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    names.find_map(|name| KEY_PARAMETERS.into_iter().find(|known| known.eq_ignore_ascii_case(&name)))
}

/// The keys that a request offers; more than a few are not looked at.
fn offered(headers: &HeaderMap) -> Vec<&str> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    let protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let protocols = protocols.flat_map(|list| list.split(',')).map(str::trim);
    let in_protocols =
        protocols.filter_map(|name| KEY_PROTOCOLS.into_iter().find_map(|prefix| name.strip_prefix(prefix)));
    bearer.chain(in_protocols).filter(|key| !key.is_empty()).take(4).collect()
}

fn read(source: &KeySource) -> Result<Arc<[KeyId]>, KeyError> {
    let mut digests = Vec::new();
    for key in &source.given {
        digests.push(digest(key, || "the environment".to_owned())?);
    }
    if let Some(file) = &source.file {
        let text = text_file::read(file).map_err(|source| KeyError::Read { file: file.clone(), source })?;
        let before = digests.len();
        // Files that were joined have a byte order mark inside too.
        let lines = text.lines().map(|line| line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}'));
        for (at, line) in lines.enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#')) {
            digests.push(digest(line, || format!("{} line {}", file.display(), at + 1))?);
        }
        if digests.len() == before {
            return Err(KeyError::Empty { file: file.clone() });
        }
    }
    Ok(digests.into())
}

fn digest(key: &str, place: impl Fn() -> String) -> Result<KeyId, KeyError> {
    let unusable = |found: String| KeyError::Unusable { place: place(), found };
    if key.len() < SHORTEST {
        return Err(unusable(format!("{} characters", key.len())));
    }
    match key.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.~+/=".contains(*c))) {
        Some(_) => Err(unusable("a character that no key can have".to_owned())),
        None => Ok(KeyId::of(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn keys(given: &[&str]) -> Result<Keys, KeyError> {
        Keys::load(KeySource { file: None, given: given.iter().map(|k| (*k).to_owned()).collect() })
    }

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_key_opens_as_a_bearer_or_as_a_subprotocol_and_nothing_else_does() {
        let keys = keys(&["another-key-of-some-length", KEY]).unwrap();
        let bearer = |value: &str| keys.check(&with(header::AUTHORIZATION, value));
        let granted = Access::Granted(Some(KeyId::of(KEY)));
        assert_eq!(bearer(&format!("Bearer {KEY}")), granted);
        assert_eq!(bearer(&format!("bearer {KEY}")), granted);
        assert_eq!(bearer(&format!("Basic {KEY}")), Access::Missing);
        assert_eq!(bearer(&format!("Bearer {KEY}x")), Access::Wrong);
        assert_eq!(bearer("Bearer "), Access::Missing);
        let protocol = |value: &str| keys.check(&with(header::SEC_WEBSOCKET_PROTOCOL, value));
        assert_eq!(protocol(&format!("realtime, openai-insecure-api-key.{KEY}")), granted);
        assert_eq!(protocol(&format!("rustymoshi,rustymoshi-key.{KEY}")), granted);
        assert_eq!(protocol(&format!("rustymoshi-key.{}", &KEY[1..])), Access::Wrong);
        assert_eq!(protocol("realtime"), Access::Missing);
        assert_eq!(keys.check(&HeaderMap::new()), Access::Missing);
        let open = Keys::load(KeySource::default()).unwrap();
        assert_eq!(open.check(&HeaderMap::new()), Access::Granted(None));
    }

    #[test]
    fn a_file_is_read_again_and_a_broken_one_leaves_the_keys_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        std::fs::write(&file, format!("# for the phone\n\n {KEY} \n")).unwrap();
        let keys = Keys::load(KeySource { file: Some(file.clone()), given: Vec::new() }).unwrap();
        let opens = |key: &str| {
            keys.check(&with(header::AUTHORIZATION, &format!("Bearer {key}"))) == Access::Granted(Some(KeyId::of(key)))
        };
        assert!(opens(KEY));
        // As an editor of Windows writes it.
        std::fs::write(&file, "\u{feff}a-new-key-for-everybody\r\n").unwrap();
        assert_eq!(keys.reload().unwrap(), 1);
        assert!(opens("a-new-key-for-everybody") && !opens(KEY));
        for (text, words) in
            [("# none\n", "holds no key"), ("short\n", "line 1: a key has 5"), ("ümläut-ümläut-ümläut", "a character")]
        {
            std::fs::write(&file, text).unwrap();
            let error = keys.reload().unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains(text.trim()), "{error}");
            assert!(opens("a-new-key-for-everybody"));
        }
    }

    #[test]
    fn keys_in_a_query_are_noticed_and_debug_output_hides_them() {
        assert_eq!(key_in_query("text_topk=3&API_KEY=x"), Some("api_key"));
        assert_eq!(key_in_query("seed=1&api%5Fkey=x"), Some("api_key"));
        assert_eq!(key_in_query("text_topk=3&worker_auth_id=7&monkey=1"), None);
        let source = KeySource { file: None, given: vec![KEY.to_owned()] };
        assert!(!format!("{source:?}").contains(KEY));
    }
}
