//! What a request brings: its JSON body and its query, read with precise refusals.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use belljar_protocol::Timestamp;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::State;
use crate::problem::Refusal;

/// How long a JSON body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// All bodies that are being read together hold at most 512 MB.
const ROOM_UNIT: usize = 64 << 10;
const ROOM_UNITS: usize = 8192;
static ROOM: Semaphore = Semaphore::const_new(ROOM_UNITS);
/// The largest page.
const MOST_PAGE: u32 = 1000;
const DEFAULT_PAGE: u32 = 50;

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<State> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &State) -> Result<Self, Refusal> {
        let is_json = request.headers().get(header::CONTENT_TYPE).is_none_or(|value| {
            value.to_str().is_ok_and(|text| text.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")))
        });
        if !is_json {
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "the body is not application/json")
                .with_hint("send Content-Type: application/json"));
        }
        let most = state.service.most_submission_bytes();
        let _room = room_for(request.headers(), most).await?;
        let bytes = whole_body(request, most).await?;
        read(&bytes).map(Self)
    }
}

/// What is no JSON at all, and JSON that says something else, are told apart: a client can do something about the one or the other.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let not_json = |error: &serde_json::Error| Refusal::malformed(format!("the body is not JSON: {error}"));
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

/// Room for a body among all that are being read: a thousand connections cannot fill the memory with halves of requests.
async fn room_for(headers: &HeaderMap, most: usize) -> Result<SemaphorePermit<'static>, Refusal> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let bytes = announced.unwrap_or(most);
    if bytes > most {
        return Err(Refusal::too_large(most));
    }
    let units = u32::try_from(bytes.div_ceil(ROOM_UNIT)).unwrap_or(u32::MAX).clamp(1, ROOM_UNITS as u32);
    // The room is never closed.
    tokio::time::timeout(BODY_TIME, ROOM.acquire_many(units)).await.ok().and_then(Result::ok).ok_or_else(Refusal::too_slow)
}

async fn whole_body(request: Request, most: usize) -> Result<bytes::Bytes, Refusal> {
    let body = Limited::new(request.into_body(), most);
    match tokio::time::timeout(BODY_TIME, body.collect()).await {
        Err(_) => Err(Refusal::too_slow()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large(most)),
        Ok(Err(error)) => Err(Refusal::malformed(format!("the body could not be read: {error}"))),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

/// The parameters of a query. Each is taken by its name; what is left over is refused.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Ok(Self::of(&parts.uri))
    }
}

impl Query {
    /// The query of an address.
    pub(crate) fn of(uri: &Uri) -> Self {
        Self(form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// All values of a name.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect()
    }

    /// The value of a name that may be there once.
    pub(crate) fn one(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(invalid(name, "it is there more than once"));
        }
        Ok(values.pop())
    }

    /// The same, read as something.
    pub(crate) fn parsed<T: std::str::FromStr>(&mut self, name: &'static str) -> Result<Option<T>, Refusal>
    where
        T::Err: std::fmt::Display,
    {
        self.one(name)?.map(|text| text.parse().map_err(|error: T::Err| invalid(name, error))).transpose()
    }

    /// A moment, RFC 3339.
    pub(crate) fn moment(&mut self, name: &'static str) -> Result<Option<Timestamp>, Refusal> {
        self.one(name)?.map(|text| text.parse().map_err(|_| invalid(name, "it is not a moment such as 2026-01-02T03:04:05Z"))).transpose()
    }

    /// Whether something is `true`.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<bool, Refusal> {
        match self.one(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(invalid(name, "it is true or false")),
        }
    }

    /// The size of a page.
    pub(crate) fn limit(&mut self) -> Result<u32, Refusal> {
        let limit = self.parsed("limit")?.unwrap_or(DEFAULT_PAGE);
        if (1..=MOST_PAGE).contains(&limit) { Ok(limit) } else { Err(invalid("limit", "it is 1 to 1000")) }
    }

    /// Refuses what nobody has taken.
    pub(crate) fn end(self) -> Result<(), Refusal> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
                Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", format!("there is no query parameter `{name}` here")))
            }
        }
    }
}

pub(crate) fn invalid(name: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", format!("{name}: {why}"))
}
