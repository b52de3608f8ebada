//! The routes of objects.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::multipart::MultipartError;
use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use belljar_protocol::{
    ObjectCopy, ObjectName, ObjectPage, ObjectRecord, SignedMethod, SignedUrl, SignedUrlRequest,
};
use belljar_service::{NewUpload, ServiceError};
use futures::{Stream, StreamExt};

use crate::authentication::{Allowed, Authenticated, Storage, for_object};
use crate::content::{Content, ObjectForm};
use crate::form::{Form, IDLE_TIME};
use crate::input::{Json, Query, invalid};
use crate::problem::Refusal;
use crate::state::State;

/// The beginning of the name of each header with metadata.
const METADATA: &str = "belljar-metadata-";
const SHA256: HeaderName = HeaderName::from_static("belljar-sha256");
const MD5: HeaderName = HeaderName::from_static("content-md5");

/// The error that ends the reading of an upload.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Http(#[from] axum::Error),
    #[error("{0}")]
    Part(#[from] MultipartError),
    #[error("no bytes arrived for {} s", IDLE_TIME.as_secs())]
    Idle,
}

/// Returns a body that fails if no bytes arrive for [`IDLE_TIME`].
fn patient<S, E>(body: S) -> impl Stream<Item = Result<bytes::Bytes, Broken>> + Send
where
    S: Stream<Item = Result<bytes::Bytes, E>> + Send + Unpin,
    Broken: From<E>,
{
    futures::stream::unfold(Some(body), |body| async move {
        let mut body = body?;
        match tokio::time::timeout(IDLE_TIME, body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(body))),
            Ok(Some(Err(error))) => Some((Err(error.into()), None)),
            Err(_) => Some((Err(Broken::Idle), None)),
        }
    })
}

fn object_name(name: String) -> Result<ObjectName, Refusal> {
    ObjectName::try_from(name).map_err(|error| ServiceError::from(error).into())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    headers
        .get(name)
        .map(|value| value.to_str().map_err(|_| invalid(name.as_str(), "it is not valid text")))
        .transpose()
}

fn new_upload(headers: &HeaderMap) -> Result<NewUpload, Refusal> {
    let mut metadata = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(METADATA) {
            let value =
                value.to_str().map_err(|_| invalid(name.as_str(), "it is not valid text"))?;
            metadata.insert(key.to_owned(), value.to_owned());
        }
    }
    let md5 = text(headers, &MD5)?.map(|encoded| {
        // RFC 1864: base64.
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|_| invalid("Content-MD5", "it is not base64"))?;
        Ok::<_, Refusal>(hex::encode(bytes))
    });
    Ok(NewUpload {
        content_type: text(headers, &header::CONTENT_TYPE)?.map(str::to_owned),
        metadata,
        md5: md5.transpose()?,
        sha256: text(headers, &SHA256)?.map(str::to_owned),
        size_bytes: text(headers, &header::CONTENT_LENGTH)?.and_then(|text| text.parse().ok()),
        only_new: match text(headers, &header::IF_NONE_MATCH)? {
            None => false,
            Some("*") => true,
            Some(_) => return Err(invalid("If-None-Match", "expected `*`")),
        },
    })
}

/// Upload an object
///
/// The content of the object is the body. Readers see the previous object of that name until the
/// new one is complete. `Content-MD5` (base64) and `Belljar-SHA256` (hexadecimal) are checked
/// against the received content. `If-None-Match: *` refuses to replace an object. Headers
/// `Belljar-Metadata-*` are stored as metadata of the object.
#[utoipa::path(put, path = "/v1/objects/{name}", tag = "objects", operation_id = "put_object",
    params(("name" = String, Path, description = "Name of the object, which may contain `/`"),
        ("Content-MD5" = Option<String>, Header, description = "MD5 of the content in base64"),
        ("Belljar-SHA256" = Option<String>, Header, description = "SHA-256 of the content in hexadecimal"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only create the object, and never replace one of that name")),
    request_body(content = inline(Content), content_type = "application/octet-stream", description = "The content of the object"),
    responses((status = 200, body = ObjectRecord, description = "The record of the object")))]
pub(crate) async fn put(
    Shared(state): Shared<State>,
    Path(name): Path<String>,
    request: Request,
) -> Result<axum::Json<ObjectRecord>, Refusal> {
    let name = object_name(name)?;
    let (mut parts, body) = request.into_parts();
    let mut query = Query::of(&parts.uri);
    let caller = for_object(&mut parts, &state, &mut query, &name, SignedMethod::Put).await?;
    query.end()?;
    let new = new_upload(&parts.headers)?;
    let record =
        state.service.storage().put(&caller, name, new, patient(body.into_data_stream())).await?;
    Ok(axum::Json(record))
}

/// Upload objects as a form
///
/// Each file becomes an object. Its name is the file name, or the value of the field `name` before
/// the file.
#[utoipa::path(post, path = "/v1/objects", tag = "objects", operation_id = "post_objects",
    request_body(content = inline(ObjectForm), content_type = "multipart/form-data"), responses((status = 200, body = ObjectPage, description = "The records of the objects")))]
pub(crate) async fn post(
    Shared(state): Shared<State>,
    Allowed { caller, .. }: Allowed<Storage>,
    request: Request,
) -> Result<axum::Json<ObjectPage>, Refusal> {
    let mut form = Form::of(request).await?;
    let (mut objects, mut name) = (Vec::new(), None);
    while let Some(field) = form.next_part().await? {
        let Some(file_name) = field.file_name().map(str::to_owned) else {
            match field.name() {
                Some("name") => {
                    let mut text = Vec::new();
                    let mut chunks = std::pin::pin!(patient(field));
                    while let Some(chunk) = chunks.next().await {
                        text.extend_from_slice(
                            &chunk.map_err(|error| Refusal::malformed(error.to_string()))?,
                        );
                        if text.len() > 4096 {
                            return Err(invalid("name", "it exceeds 1,024 bytes"));
                        }
                    }
                    name = Some(
                        String::from_utf8(text).map_err(|_| invalid("name", "it is not UTF-8"))?,
                    );
                }
                other => {
                    return Err(invalid(
                        other.unwrap_or("a field"),
                        "expected a file or a field `name`",
                    ));
                }
            }
            continue;
        };
        let new = NewUpload {
            content_type: field.content_type().map(str::to_owned),
            ..NewUpload::default()
        };
        let name = object_name(name.take().unwrap_or(file_name))?;
        objects.push(state.service.storage().put(&caller, name, new, patient(field)).await?);
    }
    if objects.is_empty() {
        return Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-request",
            "the form has no file",
        ));
    }
    Ok(axum::Json(ObjectPage { objects, next_cursor: None }))
}

/// Download an object, or a range of it
#[utoipa::path(get, path = "/v1/objects/{name}", tag = "objects", operation_id = "get_object",
    params(("name" = String, Path, description = "Name of the object"),
        ("Range" = Option<String>, Header, description = "One range of bytes: `bytes=0-99`, `bytes=100-`, `bytes=-100`"),
        ("If-Range" = Option<String>, Header, description = "An `ETag` or a `Last-Modified`: return the range if the object still matches it, and the whole object otherwise")),
    responses((status = 200, body = inline(Content), content_type = "application/octet-stream", description = "The whole object"),
        (status = 206, body = inline(Content), content_type = "application/octet-stream", description = "The range"),
        (status = 304, description = "`If-None-Match` contains the `ETag` of the object")))]
pub(crate) async fn get(
    Shared(state): Shared<State>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let name = object_name(name)?;
    let is_head = request.method() == axum::http::Method::HEAD;
    let (mut parts, _) = request.into_parts();
    let mut query = Query::of(&parts.uri);
    let caller = for_object(&mut parts, &state, &mut query, &name, SignedMethod::Get).await?;
    query.end()?;
    if is_head {
        let record = state.service.storage().object(&caller, &name).await?;
        return Ok((StatusCode::OK, headers(&record, record.size_bytes)).into_response());
    }
    let [asked, if_range, if_none_match] = [
        text(&parts.headers, &header::RANGE)?,
        if_range(&parts.headers),
        text(&parts.headers, &header::IF_NONE_MATCH)?,
    ];
    let now = SystemTime::now();
    let is_unchanged =
        |record: &ObjectRecord| if_none_match.is_some_and(|tags| has_tag(tags, &etag(record)));
    let (record, range, content) = state
        .service
        .storage()
        .get(&caller, &name, |record| match asked {
            Some(asked)
                if !is_unchanged(record)
                    && if_range.is_none_or(|validator| holds(validator, record, now)) =>
            {
                range(asked, record.size_bytes)
            }
            _ => Ok(None),
        })
        .await?;
    if is_unchanged(&record) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(&record))]).into_response());
    }
    let body = Body::from_stream(content);
    let Some(range) = range else {
        return Ok((headers(&record, record.size_bytes), body).into_response());
    };
    let mut response =
        (StatusCode::PARTIAL_CONTENT, headers(&record, range.end - range.start), body)
            .into_response();
    let content_range = format!("bytes {}-{}/{}", range.start, range.end - 1, record.size_bytes);
    response.headers_mut().insert(
        header::CONTENT_RANGE,
        HeaderValue::from_str(&content_range).unwrap_or(HeaderValue::from_static("")),
    );
    Ok(response)
}

/// Show the headers of an object
#[utoipa::path(head, path = "/v1/objects/{name}", tag = "objects", operation_id = "head_object",
    params(("name" = String, Path, description = "Name of the object")), responses((status = 200, description = "The object exists")))]
#[allow(dead_code, reason = "`get` answers it, and this is its entry in the document")]
pub(crate) fn head() {}

fn etag(record: &ObjectRecord) -> String {
    format!("\"{}\"", record.sha256)
}

fn last_modified(record: &ObjectRecord) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(record.updated_at.unix_ms().max(0) as u64)
}

/// Returns whether a list of entity tags contains a tag, by the weak comparison (RFC 9110,
/// 8.8.3.2): proxies that compress mark tags as weak.
fn has_tag(tags: &str, etag: &str) -> bool {
    let tag = |tag: &str| tag.trim().strip_prefix("W/").unwrap_or(tag.trim()) == etag;
    tags.trim() == "*" || tags.split(',').any(tag)
}

/// Returns the validator of `If-Range`. If the header is not text, the validator matches nothing.
fn if_range(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::IF_RANGE).map(|value| value.to_str().unwrap_or_default())
}

/// Returns whether an object still matches the validator of a client that has part of it (RFC 9110,
/// 13.1.5): an entity tag by the strong comparison, under which weak tags match nothing, or the
/// exact `Last-Modified`. A date within the last second is not trusted, because the object may have
/// been replaced within that second (8.8.2.2).
fn holds(validator: &str, record: &ObjectRecord, now: SystemTime) -> bool {
    let validator = validator.trim();
    if validator.starts_with('"') {
        return validator == etag(record);
    }
    let modified = last_modified(record);
    let is_strong = now.duration_since(modified).is_ok_and(|age| age >= Duration::from_secs(1));
    is_strong
        && httpdate::parse_http_date(validator)
            .is_ok_and(|date| httpdate::fmt_http_date(modified) == httpdate::fmt_http_date(date))
}

fn headers(record: &ObjectRecord, length: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut insert = |name: HeaderName, value: &str| {
        // A value that is not valid in a header was refused at the upload, or is left out here.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    insert(header::CONTENT_TYPE, &record.content_type);
    insert(header::CONTENT_LENGTH, &length.to_string());
    insert(header::ETAG, &etag(record));
    insert(header::ACCEPT_RANGES, "bytes");
    insert(header::LAST_MODIFIED, &httpdate::fmt_http_date(last_modified(record)));
    insert(SHA256, &record.sha256);
    // Browsers must never show an upload as a page of this server.
    insert(header::CONTENT_DISPOSITION, "attachment");
    insert(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    insert(header::CONTENT_SECURITY_POLICY, "sandbox");
    for (name, value) in &record.metadata {
        if let Ok(name) = HeaderName::try_from(format!("{METADATA}{name}")) {
            insert(name, value);
        }
    }
    headers
}

/// Returns the range that a header requests. A header with several ranges, or with something other
/// than a range of bytes, is ignored (RFC 9110, 14.2).
fn range(header: &str, size: u64) -> Result<Option<Range<u64>>, ServiceError> {
    let Some((first, last)) =
        header.strip_prefix("bytes=").and_then(|spec| spec.trim().split_once('-'))
    else {
        return Ok(None);
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.is_empty() => first..size,
        (Err(_), Ok(length)) if first.is_empty() => size.saturating_sub(length)..size,
        _ => return Ok(None),
    };
    if range.start >= size || range.is_empty() {
        Err(ServiceError::Range(size))
    } else {
        Ok(Some(range))
    }
}

/// List objects by name
#[utoipa::path(get, path = "/v1/objects", tag = "objects", operation_id = "list_objects",
    params(("prefix" = Option<String>, Query, description = "Only objects whose names begin with this text"),
        ("limit" = Option<u32>, Query, description = "Maximum number of entries, 1 to 1,000 (default 50)", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the previous page")),
    responses((status = 200, body = ObjectPage, description = "A page of objects")))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    mut query: Query,
) -> Result<axum::Json<ObjectPage>, Refusal> {
    let (prefix, page) = (query.one("prefix")?.unwrap_or_default(), query.page()?);
    query.end()?;
    Ok(axum::Json(state.service.storage().list(&caller, &prefix, &page).await?))
}

/// Delete an object
#[utoipa::path(delete, path = "/v1/objects/{name}", tag = "objects", operation_id = "delete_object",
    params(("name" = String, Path, description = "Name of the object")), responses((status = 204, description = "The object was deleted")))]
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    state.service.storage().delete(&caller, object_name(name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Copy an object to another name
#[utoipa::path(post, path = "/v1/object-copies", tag = "objects", operation_id = "copy_object", request_body = ObjectCopy,
    responses((status = 200, body = ObjectRecord, description = "The record of the copy")))]
pub(crate) async fn copy(
    Shared(state): Shared<State>,
    Allowed { caller, .. }: Allowed<Storage>,
    Json(copy): Json<ObjectCopy>,
) -> Result<axum::Json<ObjectRecord>, Refusal> {
    Ok(axum::Json(state.service.storage().copy(&caller, copy).await?))
}

/// Create a signed URL of an object
///
/// The URL works without a token until it expires.
#[utoipa::path(post, path = "/v1/object-urls", tag = "objects", operation_id = "sign_url", request_body = SignedUrlRequest,
    responses((status = 200, body = SignedUrl, description = "The signed URL")))]
pub(crate) async fn sign(
    Shared(state): Shared<State>,
    Allowed { caller, .. }: Allowed<Storage>,
    Json(request): Json<SignedUrlRequest>,
) -> Result<axum::Json<SignedUrl>, Refusal> {
    Ok(axum::Json(state.service.storage().sign_url(&caller, request).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_only_added_to_what_the_object_still_is() {
        let record: ObjectRecord = serde_json::from_str(
            r#"{"name": "a", "size_bytes": 10, "content_type": "text/plain", "sha256": "abc", "md5": "d",
                "created_at": "2026-01-02T03:04:05.678Z", "updated_at": "2026-01-02T03:04:05.678Z", "metadata": {}}"#,
        )
        .unwrap();
        let modified = last_modified(&record);
        let later = modified + Duration::from_mins(1);
        for same in ["\"abc\"", " \"abc\" ", "Fri, 02 Jan 2026 03:04:05 GMT"] {
            assert!(holds(same, &record, later), "{same}");
        }
        for other in [
            "\"stale\"",
            "W/\"abc\"",
            "abc",
            "\"abc\", \"stale\"",
            "*",
            "",
            "Fri, 02 Jan 2026 03:04:04 GMT",
            "Fri, 02 Jan 2026 03:04:06 GMT",
            "2026-01-02T03:04:05Z",
        ] {
            assert!(!holds(other, &record, later), "{other}");
        }
        assert!(
            !holds("Fri, 02 Jan 2026 03:04:05 GMT", &record, modified + Duration::from_millis(300)),
            "it may change again"
        );
    }

    #[test]
    fn an_entity_tag_is_found_among_others_and_where_it_was_made_weak() {
        for has in ["\"abc\"", "W/\"abc\"", "\"x\", W/\"abc\"", "*"] {
            assert!(has_tag(has, "\"abc\""), "{has}");
        }
        for has_not in ["\"abcd\"", "abc", "", "\"x\",\"y\""] {
            assert!(!has_tag(has_not, "\"abc\""), "{has_not}");
        }
    }

    #[test]
    fn ranges_are_those_of_the_standard() {
        let of_ten = |header| range(header, 10).ok().flatten();
        for (header, expected) in [
            ("bytes=0-3", 0..4),
            ("bytes=4-", 4..10),
            ("bytes=-3", 7..10),
            ("bytes=0-99", 0..10),
            ("bytes=-99", 0..10),
        ] {
            assert_eq!(of_ten(header), Some(expected), "{header}");
        }
        for ignored in ["bytes=3-1", "bytes=a-b", "lines=1-2", "bytes=", "bytes=0-1,3-4"] {
            assert!(matches!(range(ignored, 10), Ok(None)), "{ignored}");
        }
        for outside in ["bytes=10-", "bytes=-0", "bytes=99-100"] {
            assert!(range(outside, 10).is_err(), "{outside}");
        }
        assert!(range("bytes=0-0", 0).is_err());
    }
}
