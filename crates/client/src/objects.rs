//! The requests for objects in storage.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use belljar_protocol::{
    ObjectCopy, ObjectName, ObjectPage, ObjectRecord, PageRequest, SignedMethod, SignedUrl,
    SignedUrlRequest,
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH};
use reqwest::{Body, Method};
use ring::digest;

use crate::client::{Client, with_query};
use crate::error::ClientError;
use crate::pages::paged;
use crate::transfer::{Download, hexadecimal};

/// The characters of a name that are escaped in a URL: all that could have a meaning there.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Returns a name as part of a URL path. Slashes stay.
pub(crate) fn path_of(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// The properties of an upload. The default sets none.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// Media type; `application/octet-stream` if none is set.
    pub content_type: Option<String>,
    /// Metadata of the object: at most 16 names and values.
    pub metadata: BTreeMap<String, String>,
    /// The length of the content, if known. The server then checks quotas in advance and detects a
    /// truncated upload.
    pub size_bytes: Option<u64>,
    /// SHA-256 of the content, hexadecimal, if known in advance. The server then rejects any other
    /// content.
    pub sha256: Option<String>,
    /// Whether to fail instead of replacing an object.
    pub only_new: bool,
}

/// The state of an upload.
struct Sent {
    hash: digest::Context,
    /// The error with which reading the content ended.
    failed: Option<String>,
}

impl Client {
    /// Uploads an object. Readers see the previous object of that name until the new one is
    /// complete. The SHA-256 of the stored object is compared with that of the content.
    pub async fn put_object<S, E>(
        &self,
        name: &ObjectName,
        upload: &Upload,
        content: S,
    ) -> Result<ObjectRecord, ClientError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let sent = Arc::new(Mutex::new(Sent {
            hash: digest::Context::new(&digest::SHA256),
            failed: None,
        }));
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
        let mut request =
            self.request(Method::PUT, &format!("/v1/objects/{}", path_of(name.as_str())));
        if let Some(size) = upload.size_bytes {
            request = request.header(CONTENT_LENGTH, size);
        }
        if let Some(sha256) = &upload.sha256 {
            request = request.header("belljar-sha256", sha256);
        }
        if upload.only_new {
            request = request.header(IF_NONE_MATCH, "*");
        }
        request = request.header(
            CONTENT_TYPE,
            upload.content_type.as_deref().unwrap_or("application/octet-stream"),
        );
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
            return Err(ClientError::Checksum {
                name: name.to_string(),
                expected: actual,
                actual: record.sha256,
            });
        }
        Ok(record)
    }

    /// Downloads an object and checks it against its SHA-256.
    pub async fn get_object(&self, name: &ObjectName) -> Result<Download, ClientError> {
        Download::start(
            self.clone(),
            format!("/v1/objects/{}", path_of(name.as_str())),
            name.to_string(),
            None,
        )
        .await
    }

    /// Downloads a range of bytes of an object. The range is not checked, because the SHA-256 is
    /// that of the whole object.
    pub async fn get_object_range(
        &self,
        name: &ObjectName,
        range: Range<u64>,
    ) -> Result<Download, ClientError> {
        Download::start(
            self.clone(),
            format!("/v1/objects/{}", path_of(name.as_str())),
            name.to_string(),
            Some(range),
        )
        .await
    }

    /// Returns one page of the objects whose names begin with `prefix`, sorted by name.
    pub async fn objects_page(
        &self,
        prefix: &str,
        page: &PageRequest,
    ) -> Result<ObjectPage, ClientError> {
        let path = with_query(
            "/v1/objects",
            [
                ("prefix", Some(prefix)),
                ("limit", Some(&page.limit.to_string())),
                ("cursor", page.cursor.as_deref()),
            ],
        );
        self.get(&path).await
    }

    /// Returns all objects whose names begin with `prefix`, sorted by name.
    pub fn objects(
        &self,
        prefix: &str,
    ) -> impl Stream<Item = Result<ObjectRecord, ClientError>> + use<> {
        let (client, prefix) = (self.clone(), prefix.to_owned());
        paged(move |cursor| {
            let (client, prefix) = (client.clone(), prefix.clone());
            async move {
                let request = PageRequest { cursor, limit: 1000 };
                let page = client.objects_page(&prefix, &request).await?;
                Ok((page.objects, page.next_cursor))
            }
        })
    }

    /// Deletes an object.
    pub async fn delete_object(&self, name: &ObjectName) -> Result<(), ClientError> {
        self.delete(&format!("/v1/objects/{}", path_of(name.as_str()))).await
    }

    /// Copies an object to another name, on the server.
    pub async fn copy_object(
        &self,
        from: &ObjectName,
        to: &ObjectName,
    ) -> Result<ObjectRecord, ClientError> {
        let copy = ObjectCopy { from: from.clone(), to: to.clone() };
        // Without a timeout: a large object takes long.
        let response =
            self.send(self.request(Method::POST, "/v1/object-copies").json(&copy)).await?;
        self.json(response).await
    }

    /// Creates a URL that gives access to an object without a token, for at most seven days. Over a
    /// socket it is a path without a host: see [`Client::url`].
    pub async fn sign_url(
        &self,
        name: &ObjectName,
        method: SignedMethod,
        expires_in_ms: u64,
    ) -> Result<SignedUrl, ClientError> {
        let request = SignedUrlRequest { name: name.clone(), method, expires_in_ms };
        let mut signed: SignedUrl =
            self.change(self.request(Method::POST, "/v1/object-urls").json(&request)).await?;
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
