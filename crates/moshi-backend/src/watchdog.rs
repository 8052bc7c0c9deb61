//! Notices an engine that makes no progress: a device that hangs cannot be repaired from inside the process, so the
//! callers are told, `/health/live` turns red, and the program ends with an exit code of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::app::App;

/// Looks are this far apart at most.
const LOOK: Duration = Duration::from_secs(1);

/// Completes when the engine has made no progress for the configured time; never if that is zero.
pub(crate) async fn watch(app: Arc<App>, stuck: watch::Sender<bool>) {
    let limit = app.config.watchdog;
    if limit.is_zero() {
        return std::future::pending().await;
    }
    let mut look = tokio::time::interval(LOOK.min(limit / 4).max(Duration::from_millis(10)));
    loop {
        look.tick().await;
        let status = app.engine.status();
        let silent = status.since_beat();
        // A model that is lost for good is told of elsewhere, and its thread goes on beating.
        if silent > limit {
            tracing::error!(seconds = silent.as_secs(), "the engine makes no progress; it is given up");
            app.metrics.stalls.increment(1);
            status.give_up();
            app.shutdown.give_up();
            stuck.send_replace(true);
            return;
        }
    }
}
