//! Connections that end properly. A client that does not read its answer cannot hold the
//! connection, and the answer, forever. A connection that is closed while its client still sends is
//! closed in two steps, so that the client reads the answer and then an end, not a reset (RFC 9112,
//! 9.6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

/// The time and the number of bytes for which the server still reads from a client after it has
/// sent everything.
const CLOSE_TIME: Duration = Duration::from_secs(2);
const CLOSE_BYTES: u64 = 16 << 20;

/// A connection that fails if the client reads nothing for some time, and that otherwise ends in
/// two steps.
#[derive(Debug)]
pub(crate) struct ReadInTime<S: Close> {
    /// The stream, or `None` after the drop.
    stream: Option<S>,
    /// The permit among all connections, released when the connection is closed.
    place: Option<OwnedSemaphorePermit>,
    most: Duration,
    /// The timeout. It is set while there are bytes to be written that the client does not read.
    waiting: Option<Pin<Box<Sleep>>>,
}

/// A stream that a task of its own can close.
pub(crate) trait Close: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Close for S {}

impl<S: Close> ReadInTime<S> {
    pub(crate) fn new(stream: S, most: Duration, place: OwnedSemaphorePermit) -> Self {
        Self { stream: Some(stream), place: Some(place), most, waiting: None }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut S>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Returns the result of an attempt to write, or an error if the client has read nothing for
    /// too long.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        tried: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.waiting = None;
            return tried;
        }
        let most = self.most;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + most)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client does not read its answer",
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: Close> AsyncRead for ReadInTime<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, buffer)
    }
}

impl<S: Close> AsyncWrite for ReadInTime<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tried = self.stream()?.poll_write(context, bytes);
        self.in_time(context, tried)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = self.stream()?.poll_write_vectored(context, slices);
        self.in_time(context, tried)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = self.stream()?.poll_flush(context);
        self.in_time(context, tried)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = self.stream()?.poll_shutdown(context);
        self.in_time(context, tried)
    }
}

impl<S: Close> Drop for ReadInTime<S> {
    fn drop(&mut self) {
        let (Some(stream), place) = (self.stream.take(), self.place.take()) else { return };
        // A client that reads nothing will not read the end either. Without a runtime, the process
        // is exiting.
        if self.waiting.is_none()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(CLOSE_TIME, close(stream)).await;
                drop(place);
            });
        }
    }
}

/// Sends the end of the stream, and reads what the client sends until it has seen that end. The
/// kernel answers unread bytes with a reset, which overtakes the answer.
async fn close(mut stream: impl Close) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(CLOSE_BYTES), &mut tokio::io::sink()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn a_connection_breaks_when_nothing_moves_and_only_then() {
        let (near, mut far) = tokio::io::duplex(100);
        let place =
            std::sync::Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut near = ReadInTime::new(near, Duration::from_mins(1), place);
        let writing = tokio::spawn(async move {
            let started = Instant::now();
            (near.write_all(&[7; 1000]).await, started.elapsed())
        });
        let mut some = [0; 50];
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            far.read_exact(&mut some).await.unwrap();
        }
        let (written, took) = writing.await.unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(took, Duration::from_secs(10 * 50 + 60));
    }
}
