//! Ctrl-C while Rust works without the interpreter lock.

use std::time::{Duration, Instant};

use moshi_engine::GoOn;
use pyo3::prelude::*;

/// How often Python is asked for signals: soon enough for a person, seldom enough to cost nothing.
const EVERY: Duration = Duration::from_millis(50);

/// Does `work` without the interpreter lock. It asks between its pieces whether to go on; a signal whose handler raises
/// (Ctrl-C) ends it with that exception.
pub(crate) fn interruptible<T: Send, E: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut GoOn<'_>) -> Result<T, E> + Send,
    wrap: impl FnOnce(E) -> PyErr,
) -> PyResult<T> {
    let mut raised = None;
    let done = py.detach(|| {
        let mut asked = Instant::now();
        work(&mut || {
            if raised.is_none() && asked.elapsed() >= EVERY {
                raised = Python::attach(|py| py.check_signals()).err();
                asked = Instant::now();
            }
            raised.is_none()
        })
    });
    match raised {
        Some(exception) => Err(exception),
        None => done.map_err(wrap),
    }
}
