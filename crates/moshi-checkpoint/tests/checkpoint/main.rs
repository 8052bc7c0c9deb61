//! Tests over whole files and repositories; one program, so that it links once.

// Helpers of tests are tests too: clippy's own exception reaches only functions marked #[test].
#![allow(clippy::unwrap_used, clippy::panic)]

mod adapter;
mod configs;
mod damage;
mod export;
mod foreign;
mod gguf;
mod hub;
mod hub_moods;
mod hub_server;
mod invented;
mod layouts;
mod parts;
mod quantize;
mod quantized;
mod revisions;
mod voice;
mod written;

use std::path::{Path, PathBuf};

use moshi_checkpoint::{Error, OpenOptions, Repository, Source};

/// A file or folder of the golden data.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden").join(name)
}

/// Opens everything at a path.
pub(crate) fn open(source: &Path) -> Result<Repository, Error> {
    Repository::open(&Source::parse(&source.display().to_string())?, &OpenOptions::default(), &mut ())
}

/// Checks that a message holds every one of `parts`.
#[track_caller]
pub(crate) fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
}
