//! A recording while it is heard, on a thread that may wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use moshi_engine::EngineError;
use moshi_model::{Sound, Understood, WholeTranscription};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

use crate::app::App;

/// Pieces that wait for a client that reads slowly.
const PIECES: usize = 16;

/// A recording that is being heard; dropping it ends that.
pub(super) struct Hearing {
    pieces: mpsc::Receiver<Result<Piece, EngineError>>,
    left: Arc<AtomicBool>,
}

/// What a piece of the recording brought.
pub(super) struct Piece {
    pub(super) understood: Understood,
    /// Seconds heard so far.
    pub(super) position: f64,
}

impl Hearing {
    /// Begins to hear a file; `held` is given back when it is over.
    pub(super) fn begin(app: &Arc<App>, file: NamedTempFile, held: impl Send + 'static) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES);
        let left = Arc::new(AtomicBool::new(false));
        let (app, gone) = (Arc::clone(app), Arc::clone(&left));
        tokio::task::spawn_blocking(move || {
            if let Err(error) = hear(&app, &file, &sender, &gone) {
                // Whoever has left need not know.
                let _ = sender.blocking_send(Err(without_path(error, &file)));
            }
            drop((file, held));
        });
        Self { pieces, left }
    }

    /// The next piece; `None` after the last.
    pub(super) async fn next(&mut self) -> Option<Result<Piece, EngineError>> {
        self.pieces.recv().await
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.left.store(true, Ordering::Relaxed);
    }
}

/// Where the file lies is this machine's business.
fn without_path(error: EngineError, file: &NamedTempFile) -> EngineError {
    match error {
        EngineError::Load(why) => EngineError::Load(why.replace(&*file.path().to_string_lossy(), "the file")),
        other => other,
    }
}

fn hear(
    app: &App,
    file: &NamedTempFile,
    pieces: &mpsc::Sender<Result<Piece, EngineError>>,
    left: &AtomicBool,
) -> Result<(), EngineError> {
    let Some(recognition) = &app.recognition else { return Ok(()) };
    let sound = Sound::file(file.path())?;
    let mut whole = WholeTranscription::open(sound, &recognition.sessions, &recognition.transcriber)?;
    loop {
        let mut understood = Understood::default();
        let more = whole.advance(&mut understood, &mut || !left.load(Ordering::Relaxed))?;
        let position = whole.sound().position();
        let sent = pieces.blocking_send(Ok(Piece { understood, position }));
        if !more || sent.is_err() {
            return Ok(());
        }
    }
}
