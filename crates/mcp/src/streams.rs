//! Standard input and output, and the detection of a client that disconnects.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rmcp::transport::io::{StdioReader, StdioWriter, stdio_pipes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

/// The stream that a client writes to.
pub type StandardInput = StdioReader;
/// The stream that a client reads from. Nothing else may be written to it.
pub type StandardOutput = StdioWriter;

/// Returns standard input and output of this process. Must be called inside a tokio runtime.
pub fn standard_streams() -> (StandardInput, StandardOutput) {
    stdio_pipes()
}

/// A stream that signals its end immediately. The protocol library would wait for calls in flight
/// first.
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
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let is_empty = buffer.filled().len() == before;
        if matches!(&read, Poll::Ready(result) if result.is_err() || is_empty) {
            self.ended.cancel();
        }
        read
    }
}
