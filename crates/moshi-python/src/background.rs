//! Loading in the background, so that Ctrl-C ends it.
//!
//! Python remembers a signal and raises its exception when the interpreter runs again, which a call into Rust puts off
//! to its end. So the work is done on a thread of its own, and the thread that called waits here: it asks Python for
//! signals many times a second, whatever the work is busy with (a dead host, a lock, a sum over 15 GB).

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use moshi_checkpoint::{Progress, Stop};
use pyo3::prelude::*;

use crate::errors::{RustymoshiError, failure};

/// How often Python is asked for signals.
const PERIOD: Duration = Duration::from_millis(50);
/// How long interrupted work may take to put things in order before it is left behind.
const GRACE: Duration = Duration::from_secs(1);
/// Reports that may wait for a callback before the work does.
const WAITING: usize = 16;

/// What the work says of itself: a download of `file` has `done` of `size` bytes.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) file: String,
    pub(crate) done: u64,
    pub(crate) size: u64,
}

enum Message<T> {
    Report(Report),
    Done(T),
}

/// Runs `work` without the interpreter lock and returns its result. `listen` hears its reports on this thread.
///
/// # Errors
/// What a signal handler raises, `KeyboardInterrupt` as a rule: then the work is told to stop, and left behind if it does
/// not within a second.
pub(crate) fn in_background<T: Send + 'static>(
    py: Python<'_>,
    listen: &mut dyn FnMut(Report) -> PyResult<()>,
    work: impl FnOnce(Worker<T>) -> T + Send + 'static,
) -> PyResult<T> {
    let stop = Stop::default();
    let (sender, mut messages) = sync_channel(WAITING);
    let worker = Worker { stop: stop.clone(), sender: sender.clone(), file: String::new(), size: 0 };
    let thread = std::thread::Builder::new().name("rustymoshi-load".to_owned()).spawn(move || {
        // Whoever waits no more was interrupted.
        let _ = sender.send(Message::Done(work(worker)));
    });
    let thread = thread.map_err(failure)?;
    loop {
        let heard = match next(py, &mut messages) {
            Ok(Message::Report(report)) => listen(report),
            Ok(Message::Done(result)) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Err(end_of_panic(thread)),
        };
        // A callback runs Python, where a signal may be raised too.
        if let Err(interrupt) = heard.and_then(|()| py.check_signals()) {
            stop.raise();
            settle(py, messages);
            return Err(interrupt);
        }
    }
}

fn next<T: Send>(py: Python<'_>, messages: &mut Receiver<Message<T>>) -> Result<Message<T>, RecvTimeoutError> {
    py.detach(move || messages.recv_timeout(PERIOD))
}

/// Gives stopped work a moment to close what it has open.
fn settle<T: Send>(py: Python<'_>, mut messages: Receiver<Message<T>>) {
    let end = Instant::now() + GRACE;
    while Instant::now() < end {
        if !matches!(next(py, &mut messages), Ok(Message::Report(_)) | Err(RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

/// Work that ends without a word has panicked: its panic goes on here, where Python makes an exception of it.
fn end_of_panic(thread: JoinHandle<()>) -> PyErr {
    match thread.join() {
        Err(panic) => std::panic::resume_unwind(panic),
        Ok(()) => RustymoshiError::new_err("the loading ended without a result; please report this"),
    }
}

/// What the work has in its hands: the wish to stop, and a way to report a download.
pub(crate) struct Worker<T> {
    pub(crate) stop: Stop,
    sender: SyncSender<Message<T>>,
    file: String,
    size: u64,
}

impl<T> Worker<T> {
    fn report(&self, done: u64) {
        let report = Report { file: self.file.clone(), done, size: self.size };
        // Whoever waits no more was interrupted, and has raised `stop`.
        let _ = self.sender.send(Message::Report(report));
    }
}

impl<T> Progress for Worker<T> {
    fn start(&mut self, file: &str, done: u64, size: u64) {
        (self.file, self.size) = (file.to_owned(), size);
        self.report(done);
    }

    fn update(&mut self, done: u64) {
        self.report(done);
    }

    fn finish(&mut self) {
        self.report(self.size);
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_raised()
    }
}
