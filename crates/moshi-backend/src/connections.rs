//! A bound on open connections: each costs a file descriptor and memory before anybody knows who it is.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;

/// Accepts so many connections at once, without delay for small packets; those beyond are closed unread.
#[derive(Clone)]
pub(crate) struct BoundedAcceptor {
    free: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A connection that counts until it is closed.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    stream: S,
    _permit: OwnedSemaphorePermit,
}

impl BoundedAcceptor {
    /// At most `connections` at once.
    pub(crate) fn new(connections: usize, metrics: Arc<Metrics>) -> Self {
        Self { free: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))), metrics }
    }

    fn count(&self, stream: TcpStream) -> io::Result<Counted<TcpStream>> {
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            self.metrics.refused_connections.increment(1);
            tracing::debug!("a connection is closed: there are as many as there may be");
            io::Error::other("too many connections")
        })?;
        stream.set_nodelay(true)?;
        Ok(Counted { stream, _permit: permit })
    }
}

impl<S> Accept<TcpStream, S> for BoundedAcceptor {
    type Stream = Counted<TcpStream>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(self.count(stream).map(|stream| (stream, service)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
