//! Typed reading of a JSON object: every error names the file, the key, what was found and what was expected.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, Result};

/// A JSON object of a configuration file, remembering which keys were asked for.
pub(crate) struct Reader<'a> {
    path: &'a Path,
    prefix: String,
    map: &'a Map<String, Value>,
    known: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    /// The object at the top of the file `path`.
    pub(crate) fn new(path: &'a Path, map: &'a Map<String, Value>) -> Self {
        Self { path, prefix: String::new(), map, known: RefCell::default() }
    }

    /// The file, for errors.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.to_path_buf()
    }

    /// An error about `key`.
    pub(crate) fn error(&self, key: &str, found: impl ToString, expected: impl ToString) -> Error {
        Error::Config {
            path: self.path(),
            key: format!("{}{key}", self.prefix),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// Whether any of `keys` is there.
    pub(crate) fn has_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|k| self.map.contains_key(*k))
    }

    /// The value of `key`; `null` counts as absent.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.known.borrow_mut().insert(key.to_owned());
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// Whether something is said about `key`.
    pub(crate) fn says(&self, key: &str) -> bool {
        self.single(key).is_some()
    }

    /// As [`Reader::value`] for what is no list: some writers say "none" with an empty one.
    fn single(&self, key: &str) -> Option<&'a Value> {
        self.value(key).filter(|v| v.as_array().is_none_or(|items| !items.is_empty()))
    }

    /// A whole number from `min` to `max`.
    pub(crate) fn count(&self, key: &str, min: usize, max: usize) -> Result<Option<usize>> {
        self.single(key).map(|v| self.to_count(key, v, min, max)).transpose()
    }

    /// As [`Reader::count`], but the key must be there.
    pub(crate) fn need_count(&self, key: &str, min: usize, max: usize) -> Result<usize> {
        self.count(key, min, max)?.ok_or_else(|| self.error(key, "missing", whole(min, max)))
    }

    fn to_count(&self, key: &str, value: &Value, min: usize, max: usize) -> Result<usize> {
        // Some writers store whole numbers as 3000.0.
        let number = value
            .as_u64()
            .or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && (0.0..1e15).contains(f)).map(|f| f as u64));
        match number.and_then(|n| usize::try_from(n).ok()) {
            Some(n) if (min..=max).contains(&n) => Ok(n),
            _ => Err(self.error(key, short(value), whole(min, max))),
        }
    }

    /// A list of whole numbers up to `max`.
    pub(crate) fn counts(&self, key: &str, min: usize, max: usize) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let Some(items) = value.as_array() else {
            return Err(self.error(key, short(value), "a list of whole numbers"));
        };
        let item = |(i, v): (usize, &Value)| self.to_count(&format!("{key}[{i}]"), v, min, max);
        items.iter().enumerate().map(item).collect::<Result<Vec<_>>>().map(Some)
    }

    /// A finite number from `min` to `max`.
    pub(crate) fn number(&self, key: &str, min: f64, max: f64) -> Result<Option<f64>> {
        let Some(value) = self.single(key) else { return Ok(None) };
        match value.as_f64() {
            Some(n) if n.is_finite() && (min..=max).contains(&n) => Ok(Some(n)),
            _ => Err(self.error(key, short(value), format!("a number from {min} to {max}"))),
        }
    }

    /// `true` or `false`; absent is `default`.
    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.single(key) {
            None => Ok(default),
            Some(Value::Bool(b)) => Ok(*b),
            Some(v) => Err(self.error(key, short(v), "true or false")),
        }
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<String>> {
        match self.single(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s.clone())),
            Some(v) => Err(self.error(key, short(v), "a text")),
        }
    }

    /// A list of texts; absent is none.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<String>> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let texts = value.as_array().and_then(|items| items.iter().map(|v| v.as_str().map(str::to_owned)).collect());
        texts.ok_or_else(|| self.error(key, short(value), "a list of texts"))
    }

    /// All keys of the object.
    pub(crate) fn keys(&self) -> impl Iterator<Item = String> + '_ {
        self.map.keys().cloned()
    }

    /// A text that names one of `choices`.
    pub(crate) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(value) = self.single(key) else { return Ok(None) };
        let found = value.as_str().and_then(|s| choices.iter().find(|(name, _)| *name == s));
        match found {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let names = choices.iter().map(|(n, _)| format!("{n:?}")).collect::<Vec<_>>().join(" or ");
                Err(self.error(key, short(value), names))
            }
        }
    }

    /// A nested object.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Reader<'a>>> {
        match self.single(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Reader {
                path: self.path,
                prefix: format!("{}{key}.", self.prefix),
                map,
                known: RefCell::default(),
            })),
            Some(v) => Err(self.error(key, short(v), "an object {...}")),
        }
    }

    /// A warning for every key that nobody asked for, with the nearest known one where it looks like a slip.
    pub(crate) fn unknown_keys(&self) -> Vec<String> {
        let known = self.known.borrow();
        let unknown = self.map.keys().filter(|k| !known.contains(*k));
        unknown.map(|k| self.unknown_key(k, &known)).collect()
    }

    fn unknown_key(&self, key: &str, known: &BTreeSet<String>) -> String {
        let near = known
            .iter()
            .filter(|k| !self.map.contains_key(*k))
            .map(|k| (strsim::damerau_levenshtein(k, key), k))
            .filter(|(distance, k)| *distance <= (k.len() / 4).clamp(1, 3))
            .min();
        let start =
            format!("{}: unknown setting {:?} is ignored", self.path.display(), format!("{}{key}", self.prefix));
        match near {
            Some((_, k)) => format!("{start}; did you mean {k:?}?"),
            None => start,
        }
    }
}

fn whole(min: usize, max: usize) -> String {
    format!("a whole number from {min} to {max}")
}

/// A value as JSON, cut to a readable length.
fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { format!("{}...", text.chars().take(77).collect::<String>()) }
}
