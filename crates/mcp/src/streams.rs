//! Standard input and output, and the moment at which the client is gone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rmcp::transport::io::{StdioReader, StdioWriter, stdio_pipes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

/// What a client writes.
pub type StandardInput = StdioReader;
/// What a client reads. Nothing else may be written there.
pub type StandardOutput = StdioWriter;

/// Standard input and output of this process. Must be called inside a tokio runtime.
pub fn standard_streams() -> (StandardInput, StandardOutput) {
    stdio_pipes()
}

/// A stream that tells when it has ended. The library behind it waits for calls in flight first.
pub(crate) struct Watched<R> {
    stream: R,
    ended: CancellationToken,
}

impl<R> Watched<R> {
    pub(crate) fn new(stream: R, ended: CancellationToken) -> Self {
        Self { stream, ended }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(&read, Poll::Ready(result) if result.is_err() || buffer.filled().len() == before) {
            self.ended.cancel();
        }
        read
    }
}
