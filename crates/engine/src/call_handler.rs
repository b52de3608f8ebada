//! Calls of a sandbox to the host: the trait that the host implements, and the host's end of a
//! call's socket.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;

use belljar_channel::{
    BodyReader, CallAnswer, CallError, CallProtocolError, CallRequest, END_OF_BODY, LENGTH_BYTES,
    ListWriter, MAX_CHUNK_BYTES, chunk_header, decode_header, encode_call_header, header_length,
};
use belljar_protocol::{Denial, RunId};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A handler for the calls of a sandbox. Each call has a socket of its own.
pub trait CallHandler: Send + Sync + Debug {
    /// Serves one call until it ends. Returns its denials for the outcome's `denied`.
    ///
    /// The future is dropped at any point when the run ends. An incomplete call must leave nothing
    /// behind.
    fn serve(
        &self,
        run: RunId,
        call: UnixStream,
    ) -> Pin<Box<dyn Future<Output = Vec<Denial>> + Send>>;
}

/// The maximum number of bytes of a body that are read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// The host's end of a call: [`CallRequest`] and the rest of `belljar_channel`'s call protocol over
/// a socket. A violation of the protocol is an error of kind `InvalidData`. If the sandbox is gone,
/// the error has the kind `UnexpectedEof` or `BrokenPipe`, and no answer is possible.
#[derive(Debug)]
pub struct Call {
    socket: UnixStream,
    body: BodyReader,
    buffer: Vec<u8>,
    /// The received part of the buffer that has not been processed.
    unread: std::ops::Range<usize>,
}

impl Call {
    /// Returns a call whose request has not been read yet.
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, body: BodyReader::default(), buffer: Vec::new(), unread: 0..0 }
    }

    /// Reads the request.
    pub async fn request(&mut self) -> io::Result<CallRequest> {
        let mut length = [0; LENGTH_BYTES];
        self.socket.read_exact(&mut length).await?;
        let mut json = vec![0; header_length(length).map_err(invalid)?];
        self.socket.read_exact(&mut json).await?;
        decode_header(&json).map_err(invalid)
    }

    /// Reads the next part of an upload's body, as far as it has arrived. Returns `None` at the end
    /// of the body. A truncated body is an error, and must have no effect.
    pub async fn part(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let start = self.unread.start;
            let mut arrived = &self.buffer[self.unread.clone()];
            let length = self.body.next_part(&mut arrived).map_err(invalid)?.map(<[u8]>::len);
            self.unread.start = self.unread.end - arrived.len();
            if let Some(length) = length {
                // The part ends where the unread data begins.
                debug_assert!(start + length <= self.unread.start);
                return Ok(Some(&self.buffer[self.unread.start - length..self.unread.start]));
            }
            if self.body.has_ended() {
                return Ok(None);
            }
            self.buffer.resize(BUFFER_BYTES, 0);
            let length = self.socket.read(&mut self.buffer).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread = 0..length;
        }
    }

    /// Answers that the call succeeded. The body of a download, or the list, follows.
    pub async fn succeed<T: Serialize + Sync>(&mut self, value: &T) -> io::Result<()> {
        let header = encode_call_header(&CallAnswer::Ok(value)).map_err(invalid)?;
        self.socket.write_all(&header).await
    }

    /// Answers that the call failed. Discards the rest of a body until the sandbox has read the
    /// answer and closed the socket: otherwise a write of the sandbox would fail and hide the
    /// answer.
    pub async fn fail(mut self, error: CallError) -> io::Result<()> {
        let header = encode_call_header(&CallAnswer::<()>::Error(error)).map_err(invalid)?;
        self.socket.write_all(&header).await?;
        self.socket.shutdown().await?;
        self.buffer.resize(BUFFER_BYTES, 0);
        while self.socket.read(&mut self.buffer).await? > 0 {}
        Ok(())
    }

    /// Sends a part of a download's body.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(MAX_CHUNK_BYTES) {
            self.socket.write_all(&chunk_header(chunk.len())).await?;
            self.socket.write_all(chunk).await?;
        }
        Ok(())
    }

    /// Marks the end of the body. If the mark is missing, data was lost, and the program gets an
    /// error.
    pub async fn end(&mut self) -> io::Result<()> {
        self.socket.write_all(&END_OF_BODY).await
    }

    /// Sends a list and the mark of its end.
    pub async fn send_list<T: Serialize + Sync>(&mut self, records: &[T]) -> io::Result<()> {
        self.send_records(records).await?;
        self.end().await
    }

    /// Sends a part of a list, so that a long list is never in memory as a whole.
    pub async fn send_records<T: Serialize + Sync>(&mut self, records: &[T]) -> io::Result<()> {
        let mut writer = ListWriter::default();
        for record in records {
            if let Some(chunk) = writer.push(record).map_err(invalid)? {
                self.send(&chunk).await?;
            }
        }
        if let Some(chunk) = writer.finish() {
            self.send(&chunk).await?;
        }
        Ok(())
    }
}

fn invalid(error: CallProtocolError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use belljar_channel::CallErrorName;

    fn call() -> (Call, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Call::new(ours), theirs)
    }

    fn upload(chunks: &[&[u8]]) -> Vec<u8> {
        let request = CallRequest::Upload { name: "a".into(), content_type: None };
        let mut bytes = encode_call_header(&request).unwrap();
        for chunk in chunks {
            bytes.extend_from_slice(&chunk_header(chunk.len()));
            bytes.extend_from_slice(chunk);
        }
        bytes
    }

    async fn body(call: &mut Call) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(part) = call.part().await? {
            body.extend_from_slice(part);
        }
        Ok(body)
    }

    #[tokio::test]
    async fn an_upload_is_read_whole() {
        let (mut call, mut sandbox) = call();
        let large = vec![7; 3 * BUFFER_BYTES];
        let bytes = [upload(&[b"abc", &large, b"d"]), END_OF_BODY.to_vec()].concat();
        let writer = tokio::spawn(async move { sandbox.write_all(&bytes).await.map(|()| sandbox) });
        assert!(matches!(call.request().await.unwrap(), CallRequest::Upload { .. }));
        assert_eq!(body(&mut call).await.unwrap(), [b"abc", &large[..], b"d"].concat());
        call.succeed(&"stored").await.unwrap();
        let mut answer = [0; 19];
        writer.await.unwrap().unwrap().read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[4..], br#"{"ok":"stored"}"#);
    }

    #[tokio::test]
    async fn an_upload_that_is_cut_off_is_an_error() {
        for end in [&b""[..], &[0, 0], &[3, 0, 0, 0, b'x']] {
            let (mut call, mut sandbox) = call();
            sandbox.write_all(&[&upload(&[b"abc"]), end].concat()).await.unwrap();
            drop(sandbox);
            call.request().await.unwrap();
            assert_eq!(
                body(&mut call).await.unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof,
                "{end:?}"
            );
        }
    }

    #[tokio::test]
    async fn requests_and_bodies_over_their_bounds_are_errors() {
        for bad in [vec![255; 4], vec![0; 4], [&chunk_header(2)[..], b"{}"].concat()] {
            let (mut call, mut sandbox) = call();
            sandbox.write_all(&bad).await.unwrap();
            assert_eq!(
                call.request().await.unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{bad:?}"
            );
        }
        let (mut call, mut sandbox) = call();
        sandbox.write_all(&[&upload(&[])[..], &[255; 4]].concat()).await.unwrap();
        call.request().await.unwrap();
        assert_eq!(body(&mut call).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_refusal_reaches_a_sandbox_that_is_still_sending() {
        let (mut call, mut sandbox) = call();
        let handler = tokio::spawn(async move {
            call.request().await.unwrap();
            call.fail(CallError::new(CallErrorName::NotGranted, "no")).await
        });
        // More than a socket holds.
        sandbox
            .write_all(&upload(&[&vec![0; MAX_CHUNK_BYTES], &vec![0; MAX_CHUNK_BYTES]]))
            .await
            .unwrap();
        let mut answer = Vec::new();
        sandbox.read_to_end(&mut answer).await.unwrap();
        assert_eq!(&answer[4..], br#"{"error":{"name":"NotGranted","message":"no"}}"#);
        drop(sandbox);
        handler.await.unwrap().unwrap();
    }
}
