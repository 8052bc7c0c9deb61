//! Entries of mapped files: what a tensor is made of.

use moshi_tensor::weight::Quants;

use crate::file::RawTensor;

/// A whole entry of a file, or some rows of one.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) file: usize,
    /// Name in the file.
    pub(crate) name: String,
    pub(crate) raw: RawTensor,
    pub(crate) scales: Scales,
    /// What is added to it.
    pub(crate) adapter: Option<Box<Adapter>>,
}

/// Other entries that an entry's numbers need.
#[derive(Debug, Clone)]
pub(crate) enum Scales {
    None,
    /// PyTorch int8: the largest absolute weight of each row, which 127 stands for.
    Rows(Box<Entry>),
    /// MLX: a scale and a bias for each group of neighbours in a row.
    Groups {
        quants: Quants,
        group: usize,
        scales: Box<Entry>,
        biases: Box<Entry>,
    },
}

impl Scales {
    /// The entries themselves.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        let (first, second) = match self {
            Self::None => (None, None),
            Self::Rows(scales) => (Some(scales), None),
            Self::Groups { scales, biases, .. } => (Some(scales), Some(biases)),
        };
        first.into_iter().chain(second).map(AsRef::as_ref)
    }

    /// The same with every entry changed.
    pub(crate) fn map(self, change: impl Fn(&Entry) -> Entry) -> Self {
        let change = |entry: &Entry| Box::new(change(entry));
        match self {
            Self::None => Self::None,
            Self::Rows(scales) => Self::Rows(change(&scales)),
            Self::Groups { quants, group, scales, biases } => {
                Self::Groups { quants, group, scales: change(&scales), biases: change(&biases) }
            }
        }
    }
}

/// What is added to a matrix.
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    /// `[r, in]`
    pub(crate) a: Entry,
    /// `[out, r]`
    pub(crate) b: Entry,
    /// r.
    pub(crate) rank: usize,
    /// What the product is multiplied with.
    pub(crate) scaling: f32,
}
