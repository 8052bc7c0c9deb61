//! Work of codecs, which never runs on an async worker.

/// Does `work` on `value` on a thread that may be busy for a while, and gives both back. None if the work panicked.
pub(crate) async fn off_worker<T, R>(mut value: T, work: impl FnOnce(&mut T) -> R + Send + 'static) -> Option<(T, R)>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut value);
        (value, result)
    });
    done.await.ok()
}
