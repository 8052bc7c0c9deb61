//! The commands of the binary.

pub mod bench;
pub mod check_config;
pub mod convert;
pub mod make_random;
pub mod quality;
pub mod standalone;

use std::io::Write;

/// Writes one line for the person at the terminal; log lines go to standard error.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
