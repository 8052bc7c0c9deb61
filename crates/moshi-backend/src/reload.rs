//! Keys and certificates that change while the server runs: on a signal, and when a file has another content than before.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::app::App;
use crate::tls::Shown;

/// How often the files are looked at. They are read rather than watched: secrets are often mounted as links to links,
/// whose changes no file watcher sees.
const LOOK: Duration = Duration::from_secs(2);

/// What can be read again.
pub(crate) struct Reloader {
    /// The server, with its keys.
    pub(crate) app: Arc<App>,
    /// Its certificate, if it speaks TLS.
    pub(crate) tls: Option<Shown>,
    /// Told to read everything again now.
    pub(crate) now: Arc<Notify>,
}

impl Reloader {
    /// Watches until the server ends.
    pub(crate) async fn run(self) {
        let keys: Vec<PathBuf> = self.app.keys.file().map(PathBuf::from).into_iter().collect();
        let pair = self.tls.iter().map(Shown::files);
        let pair: Vec<PathBuf> = pair.flat_map(|files| [files.cert.clone(), files.key.clone()]).collect();
        let mut keys_seen = fingerprint(&keys).await;
        let mut pair_seen = fingerprint(&pair).await;
        loop {
            let asked = tokio::select! {
                () = self.now.notified() => true,
                () = tokio::time::sleep(LOOK), if !(keys.is_empty() && pair.is_empty()) => false,
            };
            let (keys_now, pair_now) = (fingerprint(&keys).await, fingerprint(&pair).await);
            if !keys.is_empty() && (asked || keys_now != keys_seen) {
                self.reload_keys();
            }
            if asked || pair_now != pair_seen {
                self.reload_certificate().await;
            }
            (keys_seen, pair_seen) = (keys_now, pair_now);
        }
    }

    fn reload_keys(&self) {
        match self.app.keys.reload() {
            Ok(count) => tracing::info!(count, "keys read again"),
            Err(error) => tracing::error!(%error, "the keys stay as they were"),
        }
    }

    async fn reload_certificate(&self) {
        let Some(shown) = &self.tls else { return };
        match shown.renew().await {
            Ok(names) => {
                self.app.welcome.renew(names);
                tracing::info!(certificate = %shown.files().cert.display(), "certificate read again");
            }
            // Half a pair while it is being replaced; the other half's change brings us back.
            Err(error) => tracing::error!(%error, "the certificate stays as it was"),
        }
    }
}

/// What the files hold; a file that is not there counts as empty.
async fn fingerprint(files: &[PathBuf]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in files {
        let bytes = tokio::fs::read(file).await.unwrap_or_default();
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}
