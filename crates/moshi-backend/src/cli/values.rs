//! Values of options that several commands have.

use std::num::NonZeroUsize;

use crate::config::MOST_THREADS;

/// A number of threads: more than a machine has are a mistake, and many more cannot be started.
pub(crate) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    at_most(text, MOST_THREADS)
}

/// A number of rows of a batch.
pub(crate) fn rows(text: &str) -> Result<NonZeroUsize, String> {
    at_most(text, 4_096)
}

/// A number of frames to measure: a day is a million.
pub(crate) fn frames(text: &str) -> Result<NonZeroUsize, String> {
    at_most(text, 1_080_000)
}

fn at_most(text: &str, most: u64) -> Result<NonZeroUsize, String> {
    let count = text.trim().parse::<u64>().ok().filter(|count| *count <= most);
    let count = count.and_then(|count| NonZeroUsize::new(usize::try_from(count).ok()?));
    count.ok_or_else(|| format!("expected a whole number from 1 to {most}"))
}

/// A port; the variable of one may have blanks around it.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| format!("expected a whole number from 0 to {}", u16::MAX))
}

/// An entry of `allowed_origins`.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    crate::origin::check_origin(text).map_err(expected)?;
    Ok(text.trim().to_owned())
}

/// An entry of `allowed_hosts`.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    crate::origin::check_host(text).map_err(expected)?;
    Ok(text.trim().to_owned())
}

/// An address to listen on.
pub(crate) fn listen_host(text: &str) -> Result<String, String> {
    crate::listen::bare(text).map_err(expected)
}

/// A proxy that is believed.
pub(crate) fn proxy(text: &str) -> Result<crate::config::Proxy, String> {
    text.parse().map_err(expected)
}

fn expected(what: String) -> String {
    format!("expected {what}")
}
