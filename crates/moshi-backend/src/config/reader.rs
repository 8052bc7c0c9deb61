//! Reads one JSON object key by key, so that every error names file, key, what was found and what was expected.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::ConfigError;
use crate::text_file;

/// A configuration file whose keys are taken one after the other; what is left over at the end is unknown.
pub(super) struct Reader {
    file: PathBuf,
    keys: Map<String, Value>,
    known: BTreeSet<&'static str>,
}

impl Reader {
    /// Opens a JSON file that holds one object.
    pub(super) fn open(file: &Path) -> Result<Self, ConfigError> {
        let text = text_file::read(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
        Self::parse(file, &text)
    }

    /// As [`Reader::open`], from text that is in memory; `file` is what errors name.
    pub(super) fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let text = text.trim_start_matches('\u{feff}');
        if text.trim().is_empty() {
            return Err(ConfigError::NotAnObject { file: file.to_owned(), found: "nothing" });
        }
        let value = serde_json::from_str(text).map_err(|source| ConfigError::Json { file: file.to_owned(), source })?;
        match value {
            Value::Object(keys) => match repeated_key(text) {
                Some(key) => Err(ConfigError::Twice { file: file.to_owned(), key }),
                None => Ok(Self { file: file.to_owned(), keys, known: BTreeSet::new() }),
            },
            other => Err(ConfigError::NotAnObject { file: file.to_owned(), found: kind(&other) }),
        }
    }

    /// The file that errors name.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// A value of any type; `null` counts as absent.
    pub(super) fn any(&mut self, key: &'static str) -> Option<Value> {
        self.known.insert(key);
        self.keys.remove(key).filter(|v| !v.is_null())
    }

    /// A text, with `$NAME` and `${NAME}` replaced by environment variables, as the published server does.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        match self.any(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(expand(&s, |name| std::env::var(name).ok()))),
            Some(other) => Err(self.wrong(key, &other, "a text in quotes")),
        }
    }

    /// A path, expanded as [`Reader::text`].
    pub(super) fn path(&mut self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        match self.text(key)? {
            Some(empty) if empty.trim().is_empty() => Err(self.wrong(key, &empty.into(), "a path")),
            found => Ok(found.map(PathBuf::from)),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        match self.any(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(b)),
            Some(other) => Err(self.wrong(key, &other, "true or false")),
        }
    }

    /// A whole number from `low` to `high`.
    pub(super) fn whole(&mut self, key: &'static str, low: u64, high: u64) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.any(key) else { return Ok(None) };
        match value.as_u64().filter(|v| (low..=high).contains(v)) {
            Some(v) => Ok(Some(v)),
            None => Err(self.wrong(key, &value, &format!("a whole number from {low} to {high}"))),
        }
    }

    /// Seconds, fractions allowed, from 0 to `high`.
    pub(super) fn seconds(&mut self, key: &'static str, high: f64) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.any(key) else { return Ok(None) };
        match value.as_f64().filter(|v| (0.0..=high).contains(v)) {
            Some(v) => Ok(Some(v)),
            None => Err(self.wrong(key, &value, &format!("seconds from 0 to {high}"))),
        }
    }

    /// A list of texts, each read by `read`, whose error says what is expected; empty where there is none.
    pub(super) fn each<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let Some(value) = self.any(key) else { return Ok(Vec::new()) };
        let Some(items) = value.as_array() else { return Err(self.wrong(key, &value, "a list of texts")) };
        let one = |item: &Value| match item.as_str() {
            Some(text) => read(text).map_err(|expected| self.wrong(key, item, &expected)),
            None => Err(self.wrong(key, &value, "a list of texts")),
        };
        items.iter().map(one).collect()
    }

    /// The keys that were asked for.
    pub(super) fn known(&self) -> &BTreeSet<&'static str> {
        &self.known
    }

    /// An error about this key's value.
    pub(super) fn wrong(&self, key: &str, found: &Value, expected: &str) -> ConfigError {
        ConfigError::Value {
            file: self.file.clone(),
            key: key.to_owned(),
            found: shorten(&found.to_string()),
            expected: expected.to_owned(),
        }
    }

    /// Fails on the first key that nothing asked for.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let Some(key) = self.keys.keys().next().cloned() else { return Ok(()) };
        let close = self.known.iter().map(|known| (strsim::jaro_winkler(&key, known), *known));
        let best = close.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness > 0.8);
        let hint = match best {
            Some((_, known)) => format!("; did you mean \"{known}\"?"),
            None => "; docs/server.md lists every key".to_owned(),
        };
        Err(ConfigError::UnknownKey { file: self.file, key, hint })
    }
}

/// A number of the file as a count.
pub(super) fn to_usize(v: u64) -> usize {
    usize::try_from(v).unwrap_or(usize::MAX)
}

/// Replaces `$NAME` and `${NAME}`; a name that is not set stays as it is, so that the error that follows shows it.
fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after.strip_prefix('{').and_then(|s| s.split_once('}')).map(|(name, _)| (name, name.len() + 2));
        let plain_len = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
        let (name, used) = braced.unwrap_or((&after[..plain_len], plain_len));
        match lookup(name).filter(|_| !name.is_empty()) {
            Some(value) => out.push_str(&value),
            None => {
                out.push('$');
                out.push_str(&after[..used]);
            }
        }
        rest = &after[used..];
    }
    out.push_str(rest);
    out
}

/// The first key that an object has twice; [`Map`] keeps only the last.
fn repeated_key(text: &str) -> Option<String> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Option<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut seen, mut repeated) = (BTreeSet::new(), None);
            while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if !seen.insert(key.clone()) {
                    repeated.get_or_insert(key);
                }
            }
            Ok(repeated)
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_map(Keys).ok().flatten()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_variables_are_replaced_and_unknown_ones_stay() {
        let lookup = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
        assert_eq!(expand("$HOME/a", lookup), "/home/me/a");
        assert_eq!(expand("x${HOME}y$", lookup), "x/home/mey$");
        assert_eq!(expand("$NO_SUCH/a$HOME", lookup), "$NO_SUCH/a/home/me");
        assert_eq!(expand("plain", lookup), "plain");
    }
}
