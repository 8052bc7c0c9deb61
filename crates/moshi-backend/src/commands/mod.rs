//! The commands of the binary.

pub mod bench;
pub mod check_config;
pub mod convert;
pub mod make_random;
pub mod quality;
pub mod standalone;

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use moshi_checkpoint::{OpenOptions, Repository, Source};

/// Opens a model for a command that logs nothing; its warnings go to standard error.
///
/// # Errors
/// As [`Repository::open`], with the model's name in front.
pub(crate) fn open(model: &str, options: &OpenOptions) -> anyhow::Result<Repository> {
    let opened = Source::parse(model).and_then(|source| Repository::open(&source, options, &mut ()));
    let repository = opened.with_context(|| format!("cannot open the model {model}"))?;
    for warning in repository.warnings() {
        // A closed standard error is no reason to stop.
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    Ok(repository)
}

/// Writes one line for the person at the terminal; log lines go to standard error.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Prints a report, and writes it as JSON where that is wanted.
///
/// # Errors
/// When standard output is closed, or the file cannot be written.
fn tell<R: std::fmt::Display + serde::Serialize>(report: &R, json: Option<&Path>) -> anyhow::Result<()> {
    say(&report.to_string())?;
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
