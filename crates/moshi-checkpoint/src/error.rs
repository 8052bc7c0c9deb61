//! What can be wrong with a checkpoint, with the facts that a user needs to repair it.

use std::fmt;
use std::path::PathBuf;

use crate::hub::HubError;

/// Result of reading or writing a checkpoint.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A checkpoint that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: cannot {doing}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb.
        doing: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// A model was named in a way that says neither where it is on disk nor in which repository.
    #[error(
        "{given:?}: {problem}; give a folder, a .safetensors file, a hub repository such as kyutai/moshiko-pytorch-bf16 \
             (or owner/name@revision), hf://owner/name/file or file:///path"
    )]
    Source {
        /// The text given.
        given: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that a repository should hold is not there.
    #[error("{}: there is no {what} named {name:?}; {advice}", .folder.display())]
    NoFile {
        /// The folder that was searched.
        folder: PathBuf,
        /// What the file is, such as "language model".
        what: &'static str,
        /// The name looked for.
        name: String,
        /// What to do.
        advice: String,
    },
    /// The file is of another kind, or damaged.
    #[error("{}: expected {expected}, found {found}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the file should be.
        expected: &'static str,
        /// What it is instead.
        found: String,
    },
    /// A recognised layout that cannot be read.
    #[error("{}: this is {layout}, which cannot be read here; {advice}", .path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// The layout that was recognised.
        layout: String,
        /// What to use instead.
        advice: String,
    },
    /// Files that belong to the one that was found are not there.
    #[error(
        "{}: {count} of the {needed} files that belong together here are missing: {names}; put them beside it", .path.display()
    )]
    MissingParts {
        /// An index, or one of the parts.
        path: PathBuf,
        /// How many are missing.
        count: usize,
        /// How many there should be.
        needed: usize,
        /// Up to five of the missing names.
        names: String,
    },
    /// Tensors that the model needs are not in the file.
    #[error("{}: {count} of {needed} tensors are missing: {names}; does config.json belong to this file, and is it the whole model?", .path.display())]
    MissingTensors {
        /// The file.
        path: PathBuf,
        /// How many are missing.
        count: usize,
        /// How many the configuration asks for.
        needed: usize,
        /// Up to five of the missing names.
        names: String,
    },
    /// A tensor that was asked for is not in the file.
    #[error("{}: there is no tensor {name:?}", .path.display())]
    NoTensor {
        /// The file.
        path: PathBuf,
        /// The canonical name.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{}: tensor {name:?} has shape {}, expected {}", .path.display(), Dims(.found), Dims(.expected))]
    Shape {
        /// The file.
        path: PathBuf,
        /// The name in the file.
        name: String,
        /// The shape that the configuration leads to.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// As the error inside says, and nobody has said which sizes the model has.
    #[error("{0} There is no config.json with it, so it was taken for Moshi 7B: put the model's config.json beside it")]
    WithoutConfig(Box<Error>),
    /// A tensor is stored in a number format that cannot be used for it.
    #[error("{}: tensor {name:?} is stored as {found}, expected bf16, f16 or f32", .path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The name in the file.
        name: String,
        /// The format in the file.
        found: String,
    },
    /// A quantized tensor lacks a part.
    #[error(
        "{}: tensor {name:?} is stored as {found}, but {scales:?}, which belongs to it, is not there", .path.display()
    )]
    MissingScales {
        /// The file.
        path: PathBuf,
        /// The name in the file.
        name: String,
        /// The format in the file.
        found: String,
        /// The name of its scales or biases.
        scales: String,
    },
    /// Copies of a shared tensor differ from each other.
    #[error("{}: {first:?} and {second:?} differ, but this model shares one norm between its depth steps", .path.display())]
    Unshared {
        /// The file.
        path: PathBuf,
        /// The copy of step 0.
        first: String,
        /// The copy that differs.
        second: String,
    },
    /// A setting that no model can be built from.
    #[error("{}: {key:?} is {found}, expected {expected}", .path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The setting, with its path inside the file.
        key: String,
        /// The value found, or "missing".
        found: String,
        /// The values that would work.
        expected: String,
    },
    /// There is something where a file is to be written.
    #[error("{}: exists already; remove it, or name another place", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A conversion would round what is rounded already.
    #[error(
        "{}: {name:?} is stored as {found}, and {wanted} would round it a second time; start from the unquantized \
         checkpoint, or ask for it (--requantize)", .path.display()
    )]
    Requantize {
        /// The file.
        path: PathBuf,
        /// The canonical name.
        name: String,
        /// The format in the file.
        found: String,
        /// The format asked for.
        wanted: String,
    },
    /// Two tensors to be written have the same name, or one has too few values.
    #[error("cannot write {name:?}: {problem}")]
    Write {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The repository was opened without this part.
    #[error("the {0} was left out when this checkpoint was opened")]
    NotOpened(&'static str),
    /// The file that was named as the model is a codec's.
    #[error(
        "{}: this file holds the codec Mimi alone, and no language model; give the folder or repository of a whole \
         model, such as kyutai/moshiko-pytorch-bf16, or its language model's file", .path.display()
    )]
    CodecAlone {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be had from the hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A matrix did not fit its own description.
    #[error(transparent)]
    Tensor(#[from] moshi_tensor::Error),
}

/// A shape as `[2, 3]`.
pub(crate) struct Dims<'a>(pub(crate) &'a [usize]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Up to five of `names`, then how many more there are.
pub(crate) fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(5) {
        Some(more) if more > 0 => format!("{shown}, and {more} more"),
        _ => shown,
    }
}
