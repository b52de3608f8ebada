//! Downloads. A download resumes if the connection breaks, and is checked against its SHA-256 when
//! it is complete.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::stream::{BoxStream, Stream, StreamExt};
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, RANGE,
};
use reqwest::{Method, Response, StatusCode};
use ring::digest;

use crate::client::{Client, Pieces, SILENCE, pieces};
use crate::error::ClientError;

/// Failed attempts in a row, without new bytes, after which a download fails.
const MAX_FAILURES: u32 = 5;
const METADATA: &str = "belljar-metadata-";

/// The properties of a content, known before its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentInfo {
    /// Bytes of the download: all, or those of the range.
    pub length: u64,
    /// Bytes of the whole content.
    pub size_bytes: u64,
    /// Media type of the content.
    pub content_type: String,
    /// SHA-256 of the whole content, hexadecimal.
    pub sha256: String,
    /// Metadata from the uploader.
    pub metadata: BTreeMap<String, String>,
}

/// A content, piece by piece. The stream ends after an error; without one, the content is complete
/// and correct.
pub struct Download {
    info: ContentInfo,
    stream: BoxStream<'static, Result<Bytes, ClientError>>,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Stream for Download {
    type Item = Result<Bytes, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(context)
    }
}

impl Download {
    /// Returns the properties of the content.
    pub fn info(&self) -> &ContentInfo {
        &self.info
    }

    /// Requests a content or a range of it. A range is not checked, because the SHA-256 is that of
    /// the whole content.
    pub(crate) async fn start(
        client: Client,
        path: String,
        name: String,
        range: Option<Range<u64>>,
    ) -> Result<Self, ClientError> {
        let response = client
            .retry(async || {
                client
                    .fetch(&path, range.as_ref().map(|range| (range.start, Some(range.end))))
                    .await
            })
            .await?;
        let info = info(&client, &response, range.as_ref())?;
        let from = range.as_ref().map_or(0, |range| range.start);
        let fetch = Fetch {
            client,
            path,
            name,
            sha256: info.sha256.clone(),
            at: from,
            end: from + info.length,
            pieces: Some(pieces(response)),
            skip: 0,
            hash: range.is_none().then(|| digest::Context::new(&digest::SHA256)),
            failures: 0,
        };
        let stream = futures::stream::unfold(Some(fetch), |fetch| async move {
            let mut fetch = fetch?;
            match fetch.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(fetch))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Self { info, stream: Box::pin(stream) })
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn sha256_of(headers: &HeaderMap) -> Option<&str> {
    text(headers, ETAG).map(|tag| tag.trim_matches('"'))
}

fn info(
    client: &Client,
    response: &Response,
    range: Option<&Range<u64>>,
) -> Result<ContentInfo, ClientError> {
    let headers = response.headers();
    let length = text(headers, CONTENT_LENGTH)
        .and_then(|length| length.parse().ok())
        .ok_or_else(|| client.unexpected("a content without a length"))?;
    let sha256 =
        sha256_of(headers).ok_or_else(|| client.unexpected("a content without a checksum"))?;
    let size_bytes = match range {
        None => length,
        // `bytes 0-99/1234`
        Some(_) => text(headers, CONTENT_RANGE)
            .filter(|_| response.status() == StatusCode::PARTIAL_CONTENT)
            .and_then(|range| range.rsplit('/').next()?.parse().ok())
            .ok_or_else(|| client.unexpected("a whole content instead of the requested range"))?,
    };
    let metadata = headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().strip_prefix(METADATA)?.to_owned(), value.to_str().ok()?.to_owned()))
    });
    Ok(ContentInfo {
        length,
        size_bytes,
        content_type: text(headers, CONTENT_TYPE).unwrap_or("application/octet-stream").to_owned(),
        sha256: sha256.to_owned(),
        metadata: metadata.collect(),
    })
}

impl Client {
    async fn fetch(
        &self,
        path: &str,
        range: Option<(u64, Option<u64>)>,
    ) -> Result<Response, ClientError> {
        let mut request = self.request(Method::GET, path);
        if let Some((start, end)) = range {
            let last = end.map_or_else(String::new, |end| end.saturating_sub(1).to_string());
            request = request.header(RANGE, format!("bytes={start}-{last}"));
        }
        match tokio::time::timeout(SILENCE, self.send(request)).await {
            Ok(response) => response,
            Err(_) => {
                Err(ClientError::Silent { server: self.server().to_owned(), silence: SILENCE })
            }
        }
    }
}

struct Fetch {
    client: Client,
    path: String,
    /// The content as it is called in messages.
    name: String,
    sha256: String,
    /// The index of the next byte, and that after the last byte.
    at: u64,
    end: u64,
    pieces: Option<Pieces>,
    /// Bytes to drop, because the server sends the whole content again.
    skip: u64,
    hash: Option<digest::Context>,
    failures: u32,
}

impl Fetch {
    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if self.at == self.end {
                return self.check().map(|()| None);
            }
            match self.receive().await {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => {
                    self.failures = 0;
                    self.at += piece.len() as u64;
                    if let Some(hash) = &mut self.hash {
                        hash.update(&piece);
                    }
                    return Ok(Some(piece));
                }
                Err(error) => {
                    self.pieces = None;
                    self.failures += 1;
                    let pause = std::time::Duration::from_millis(100 << self.failures);
                    let Some(pause) =
                        error.retry_delay(pause).filter(|_| self.failures < MAX_FAILURES)
                    else {
                        return Err(error);
                    };
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<Bytes, ClientError> {
        let pieces = match &mut self.pieces {
            Some(pieces) => pieces,
            None => {
                let response =
                    self.client.fetch(&self.path, Some((self.at, Some(self.end)))).await?;
                if sha256_of(response.headers()) != Some(self.sha256.as_str()) {
                    return Err(ClientError::Changed(self.name.clone()));
                }
                self.skip =
                    if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { self.at };
                self.pieces.insert(pieces(response))
            }
        };
        let Some(mut piece) = self.client.piece(pieces).await? else {
            return Err(ClientError::Broken {
                server: self.client.server().to_owned(),
                why: "the content ended too early".to_owned(),
            });
        };
        let skipped = self.skip.min(piece.len() as u64);
        self.skip -= skipped;
        piece.advance(usize::try_from(skipped).unwrap_or_default());
        if piece.len() as u64 > self.end - self.at {
            return Err(self.client.unexpected("a content longer than announced"));
        }
        Ok(piece)
    }

    fn check(&mut self) -> Result<(), ClientError> {
        let Some(hash) = self.hash.take() else { return Ok(()) };
        let actual = hexadecimal(hash.finish().as_ref());
        if actual == self.sha256 {
            return Ok(());
        }
        Err(ClientError::Checksum {
            name: self.name.clone(),
            expected: self.sha256.clone(),
            actual,
        })
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
