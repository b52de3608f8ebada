//! The input of a request, its JSON body and its query, read with precise refusals.

use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use belljar_protocol::{PageRequest, Timestamp};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::Refusal;
use crate::state::State;

/// The maximum time for a JSON body to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// All bodies that are being read take at most 512 MB together.
const ROOM_UNIT: usize = 64 << 10;
const ROOM_UNITS: usize = 8192;
static ROOM: Semaphore = Semaphore::const_new(ROOM_UNITS);
/// The maximum number of entries on a page.
const MAX_PAGE: u32 = 1000;
const DEFAULT_PAGE: u32 = 50;

/// The JSON body of a request.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<State> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &State) -> Result<Self, Refusal> {
        read(&json_body(request, state).await?).map(Self)
    }
}

/// The JSON body of a request, or the default if there is no body.
#[derive(Debug)]
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<State> for OptionalJson<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &State) -> Result<Self, Refusal> {
        // Clients such as curl send a media type of their own with an empty body.
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        let body = json_body(request, state).await?;
        if body.is_empty() { Ok(Self(T::default())) } else { read(&body).map(Self) }
    }
}

/// Reads a body that must be JSON by its media type.
async fn json_body(request: Request, state: &State) -> Result<bytes::Bytes, Refusal> {
    let is_json = request.headers().get(header::CONTENT_TYPE).is_none_or(|value| {
        value.to_str().is_ok_and(|text| {
            text.split(';')
                .next()
                .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        })
    });
    if !is_json {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "the body is not application/json",
        )
        .with_hint("send `Content-Type: application/json`"));
    }
    let most = state.service.runs().max_submission_bytes();
    let _room = room_for(request.headers(), most).await?;
    whole_body(request, most).await
}

/// Parses a JSON body. Invalid JSON and valid JSON with invalid content are different refusals,
/// because they have different causes in the client.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let not_json =
        |error: &serde_json::Error| Refusal::malformed(format!("the body is not JSON: {error}"));
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        match error.inner().classify() {
            serde_json::error::Category::Data if path == "." => invalid("the body", error.inner()),
            serde_json::error::Category::Data => invalid(&path, error.inner()),
            _ => not_json(error.inner()),
        }
    })?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// Waits for memory for a body among all that are being read, so that a thousand connections cannot
/// fill the memory with incomplete requests.
async fn room_for(headers: &HeaderMap, most: usize) -> Result<SemaphorePermit<'static>, Refusal> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let bytes = announced.unwrap_or(most);
    if bytes > most {
        return Err(Refusal::too_large(most));
    }
    let units =
        u32::try_from(bytes.div_ceil(ROOM_UNIT)).unwrap_or(u32::MAX).clamp(1, ROOM_UNITS as u32);
    // The semaphore is never closed.
    tokio::time::timeout(BODY_TIME, ROOM.acquire_many(units))
        .await
        .ok()
        .and_then(Result::ok)
        .ok_or_else(Refusal::too_slow)
}

async fn whole_body(request: Request, most: usize) -> Result<bytes::Bytes, Refusal> {
    let body = Limited::new(request.into_body(), most);
    match tokio::time::timeout(BODY_TIME, body.collect()).await {
        Err(_) => Err(Refusal::too_slow()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large(most)),
        Ok(Err(error)) => Err(Refusal::malformed(format!("cannot read the body: {error}"))),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

/// The parameters of a query. Handlers take each by its name, and any that is left over is refused.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Ok(Self::of(&parts.uri))
    }
}

impl Query {
    /// Returns the query of a URL.
    pub(crate) fn of(uri: &Uri) -> Self {
        Self(
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// Takes all values of a parameter.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect()
    }

    /// Takes the value of a parameter that may occur once.
    pub(crate) fn one(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(invalid(name, "it occurs more than once"));
        }
        Ok(values.pop())
    }

    /// Takes and parses the value of a parameter that may occur once.
    pub(crate) fn parsed<T: std::str::FromStr>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, Refusal>
    where
        T::Err: std::fmt::Display,
    {
        self.one(name)?
            .map(|text| text.parse().map_err(|error: T::Err| invalid(name, error)))
            .transpose()
    }

    /// Takes a parameter that is a time in RFC 3339.
    pub(crate) fn moment(&mut self, name: &'static str) -> Result<Option<Timestamp>, Refusal> {
        self.one(name)?
            .map(|text| {
                text.parse()
                    .map_err(|_| invalid(name, "expected a time such as 2026-01-02T03:04:05Z"))
            })
            .transpose()
    }

    /// Returns whether a parameter is `true`.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<bool, Refusal> {
        match self.one(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(invalid(name, "expected true or false")),
        }
    }

    /// Takes the parameters `cursor` and `limit`, which select a page.
    pub(crate) fn page(&mut self) -> Result<PageRequest, Refusal> {
        let (cursor, limit) = (self.one("cursor")?, self.parsed("limit")?);
        let limit = limit.unwrap_or(DEFAULT_PAGE);
        if (1..=MAX_PAGE).contains(&limit) {
            Ok(PageRequest { cursor, limit })
        } else {
            Err(invalid("limit", "expected 1 to 1000"))
        }
    }

    /// Refuses any parameter that no handler has taken.
    pub(crate) fn end(self) -> Result<(), Refusal> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
                Err(Refusal::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "invalid-request",
                    format!("unknown query parameter `{name}`"),
                ))
            }
        }
    }
}

pub(crate) fn invalid(name: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", format!("{name}: {why}"))
}
