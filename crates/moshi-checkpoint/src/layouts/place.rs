//! Where a tensor lies in a file.

use std::ops::Range;

use crate::names::TensorSpec;

/// Tells where a tensor lies, given which entries there are.
pub(crate) type Placing<'a> = &'a dyn Fn(&TensorSpec, &dyn Fn(&str) -> bool) -> Option<Place>;

/// Where a canonical tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Name in the file.
    pub(crate) entry: String,
    /// The rows that belong to it, and how many rows the entry must have; `None` is the whole entry.
    pub(crate) rows: Option<(Range<usize>, usize)>,
}

impl Place {
    pub(crate) fn whole(entry: impl Into<String>) -> Self {
        Self { entry: entry.into(), rows: None }
    }
}
