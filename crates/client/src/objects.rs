//! Objects.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use belljar_protocol::{ObjectCopy, ObjectName, ObjectPage, ObjectRecord, SignedMethod, SignedUrl, SignedUrlRequest};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH};
use reqwest::{Body, Method};
use ring::digest;

use crate::client::{Client, with_query};
use crate::error::ClientError;
use crate::runs::paged;
use crate::transfer::{Download, hexadecimal};

/// What a name may have in an address as it stands. Everything else would be read as something else.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(crate) fn path_of(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// What is said of an object when it is uploaded. The default says nothing.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// Media type.
    pub content_type: Option<String>,
    /// At most 16 names and values.
    pub metadata: BTreeMap<String, String>,
    /// How many bytes will come, where that is known: quotas are checked before, and what is cut off is noticed.
    pub size_bytes: Option<u64>,
    /// SHA-256 of the content, hexadecimal, where it is known before: the server then stores nothing else.
    pub sha256: Option<String>,
    /// Refuse to replace an object.
    pub only_new: bool,
}

/// What an upload has been so far.
struct Sent {
    hash: digest::Context,
    /// Why the content could not be read on.
    failed: Option<String>,
}

impl Client {
    /// Uploads an object: readers see the one of that name from before until this one is whole. What arrived is compared with what was sent.
    pub async fn put_object<S, E>(&self, name: &ObjectName, upload: &Upload, content: S) -> Result<ObjectRecord, ClientError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let sent = Arc::new(Mutex::new(Sent { hash: digest::Context::new(&digest::SHA256), failed: None }));
        let content = {
            let sent = Arc::clone(&sent);
            content.inspect(move |piece| {
                let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                match piece {
                    Ok(piece) => sent.hash.update(piece),
                    Err(error) => sent.failed = Some(error.to_string()),
                }
            })
        };
        let mut request = self.request(Method::PUT, &format!("/v1/objects/{}", path_of(name.as_str())));
        if let Some(size) = upload.size_bytes {
            request = request.header(CONTENT_LENGTH, size);
        }
        if let Some(sha256) = &upload.sha256 {
            request = request.header("belljar-sha256", sha256);
        }
        if upload.only_new {
            request = request.header(IF_NONE_MATCH, "*");
        }
        request = request.header(CONTENT_TYPE, upload.content_type.as_deref().unwrap_or("application/octet-stream"));
        for (key, value) in &upload.metadata {
            request = request.header(format!("belljar-metadata-{key}"), value);
        }
        let answered = match self.send(request.body(Body::wrap_stream(content))).await {
            Ok(response) => self.json::<ObjectRecord>(response).await,
            Err(error) => Err(error),
        };
        let (hash, failed) = {
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            (sent.hash.clone(), sent.failed.take())
        };
        if let Some(why) = failed {
            return Err(ClientError::Content(why));
        }
        let record = answered?;
        let actual = hexadecimal(hash.finish().as_ref());
        if record.sha256 != actual {
            return Err(ClientError::Checksum { name: name.to_string(), expected: actual, actual: record.sha256 });
        }
        Ok(record)
    }

    /// Downloads an object, and checks it against its SHA-256.
    pub async fn get_object(&self, name: &ObjectName) -> Result<Download, ClientError> {
        Download::start(self.clone(), format!("/v1/objects/{}", path_of(name.as_str())), name.to_string(), None).await
    }

    /// Downloads the bytes of a range of an object. They are not checked: the SHA-256 is that of the whole.
    pub async fn get_object_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Download, ClientError> {
        Download::start(self.clone(), format!("/v1/objects/{}", path_of(name.as_str())), name.to_string(), Some(range)).await
    }

    /// One page of objects by name: at most `limit`, 1 to 1,000, after the page that gave `cursor`.
    pub async fn objects_page(&self, prefix: &str, limit: u32, cursor: Option<&str>) -> Result<ObjectPage, ClientError> {
        let path = with_query("/v1/objects", [("prefix", Some(prefix)), ("limit", Some(&limit.to_string())), ("cursor", cursor)]);
        self.get(&path).await
    }

    /// All objects whose names begin with `prefix`, by name.
    pub fn objects(&self, prefix: &str) -> impl Stream<Item = Result<ObjectRecord, ClientError>> + use<> {
        let (client, prefix) = (self.clone(), prefix.to_owned());
        paged(move |cursor| {
            let (client, prefix) = (client.clone(), prefix.clone());
            async move {
                let page = client.objects_page(&prefix, 1000, cursor.as_deref()).await?;
                Ok((page.objects, page.next_cursor))
            }
        })
    }

    /// Deletes an object.
    pub async fn delete_object(&self, name: &ObjectName) -> Result<(), ClientError> {
        self.delete(&format!("/v1/objects/{}", path_of(name.as_str()))).await
    }

    /// Copies an object to another name, on the server.
    pub async fn copy_object(&self, from: &ObjectName, to: &ObjectName) -> Result<ObjectRecord, ClientError> {
        let copy = ObjectCopy { from: from.clone(), to: to.clone() };
        // Without a bound: a large object takes its time.
        let response = self.send(self.request(Method::POST, "/v1/object-copies").json(&copy)).await?;
        self.json(response).await
    }

    /// Makes an address of an object that works without a token, for at most seven days. Over a socket it is a path: see [`Client::url`].
    pub async fn sign_url(&self, name: &ObjectName, method: SignedMethod, expires_in_ms: u64) -> Result<SignedUrl, ClientError> {
        let request = SignedUrlRequest { name: name.clone(), method, expires_in_ms };
        let mut signed: SignedUrl = self.change(self.request(Method::POST, "/v1/object-urls").json(&request)).await?;
        if let Some(base) = self.url() {
            signed.url = format!("{base}{}", signed.url);
        }
        Ok(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_path_whatever_is_in_it() {
        assert_eq!(path_of("inputs/a b?c#d%2e.csv"), "inputs/a%20b%3Fc%23d%252e.csv");
        assert_eq!(path_of("ü/..a/%2e%2e"), "%C3%BC/..a/%252e%252e");
    }
}
