//! The golden repositories under `tests/fixtures/golden`.

use std::path::PathBuf;

use crate::tensors::{FileTensors, TensorError};

/// One golden repository: a small checkpoint and what the reference computes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Golden {
    name: &'static str,
}

impl Golden {
    /// The repository in the shape of Moshi 7B.
    pub const TINY_MOSHI: Self = Self { name: "tiny-moshi" };
    /// The repository with the options that later models of the family use.
    pub const TINY_VARIANT: Self = Self { name: "tiny-variant" };

    /// Both repositories.
    pub const ALL: [Self; 2] = [Self::TINY_MOSHI, Self::TINY_VARIANT];

    /// Name of the folder.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Path of a file of the repository.
    pub fn path(&self, file: &str) -> PathBuf {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden");
        PathBuf::from(root).join(self.name).join(file)
    }

    /// A safetensors file of the repository.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn tensors(&self, file: &str) -> Result<FileTensors, TensorError> {
        FileTensors::open(self.path(file))
    }

    /// The reference results (`golden.safetensors`).
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn results(&self) -> Result<FileTensors, TensorError> {
        self.tensors("golden.safetensors")
    }

    /// The codec's weights (`mimi.safetensors`).
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn mimi(&self) -> Result<FileTensors, TensorError> {
        self.tensors("mimi.safetensors")
    }

    /// The text of a file of the repository.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn text(&self, file: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.path(file))
    }
}
