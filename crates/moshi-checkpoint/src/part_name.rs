//! The names of a model's files in parts: `model-00001-of-00004.safetensors`, `model.q8-00001-of-00002.gguf`.

use std::fmt;

/// The largest number of parts that is taken for meant.
const MOST: usize = 10_000;

/// The name of one part of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartName {
    stem: String,
    /// From 1.
    pub(crate) number: usize,
    pub(crate) count: usize,
    extension: String,
}

impl PartName {
    /// Reads a file's name; `None` for one that is no part, or the only one.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (rest, extension) = name.rsplit_once('.')?;
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = |s: &str| Some(s).filter(|s| s.len() == 5)?.parse::<usize>().ok();
        let (number, count) = (digits(number)?, digits(count)?);
        let is_part = (1..=count).contains(&number) && (2..=MOST).contains(&count);
        is_part.then(|| Self { stem: stem.to_owned(), number, count, extension: extension.to_owned() })
    }

    /// The name of the file that was cut.
    pub(crate) fn whole(&self) -> String {
        format!("{}.{}", self.stem, self.extension)
    }

    /// The names of all parts, this one among them, in their order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Self> + '_ {
        (1..=self.count).map(|number| Self { number, ..self.clone() })
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stem, number, count, extension } = self;
        write!(f, "{stem}-{number:05}-of-{count:05}.{extension}")
    }
}
