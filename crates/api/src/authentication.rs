//! Authentication of callers: by a token in the header, or by access to the operator's socket in
//! the home.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use belljar_protocol::{ObjectName, Scope, SignedMethod, Timestamp};
use belljar_service::{Access, Caller, ServiceError, SignedAccess};

use crate::input::{Query, invalid};
use crate::listen::Origin;
use crate::problem::Refusal;
use crate::state::State;

/// The header with the project in which the operator acts. It only counts on the operator's socket.
const PROJECT_HEADER: &str = "belljar-project";

/// An authenticated caller.
#[derive(Debug)]
pub(crate) struct Authenticated(pub(crate) Caller);

impl FromRequestParts<State> for Authenticated {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Refusal> {
        let caller = authenticate(parts, state).await?;
        if let Some(who) = parts.extensions.get::<Who>() {
            // A request is authenticated only once, so this cannot fail.
            let _ = who.0.set(caller.clone());
        }
        Ok(Self(caller))
    }
}

/// The right that a route requires, checked before any of the body is read.
pub(crate) trait Needs {
    /// Refuses a caller that does not have the right.
    fn check(caller: &Caller) -> Result<(), ServiceError>;
}

/// The right to start runs.
#[derive(Debug)]
pub(crate) struct Run;
/// The right to upload, copy and delete objects.
#[derive(Debug)]
pub(crate) struct Storage;
/// The right to manage the project's tokens.
#[derive(Debug)]
pub(crate) struct Admin;
/// The right to manage the server.
#[derive(Debug)]
pub(crate) struct Operator;

impl Needs for Run {
    fn check(caller: &Caller) -> Result<(), ServiceError> {
        caller.must(Scope::Run)
    }
}

impl Needs for Storage {
    fn check(caller: &Caller) -> Result<(), ServiceError> {
        caller.must(Scope::Storage)
    }
}

impl Needs for Admin {
    fn check(caller: &Caller) -> Result<(), ServiceError> {
        caller.must(Scope::Admin)
    }
}

impl Needs for Operator {
    fn check(caller: &Caller) -> Result<(), ServiceError> {
        caller.must_be_operator()
    }
}

/// An authenticated caller with the right that the route requires. Routes with a body use this, so
/// that the body of an unauthorized request is never read. The service checks again, and also what
/// the body requests.
#[derive(Debug)]
pub(crate) struct Allowed<N> {
    pub(crate) caller: Caller,
    need: PhantomData<N>,
}

impl<N: Needs> FromRequestParts<State> for Allowed<N> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Refusal> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, state).await?;
        N::check(&caller)?;
        Ok(Self { caller, need: PhantomData })
    }
}

/// A submission whose announced size fits into the project's history quota. The body of a larger
/// one is not read. It has to follow [`Allowed`], which identifies the caller.
#[derive(Debug)]
pub(crate) struct CanBeKept;

impl FromRequestParts<State> for CanBeKept {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Refusal> {
        let announced = parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let who = parts.extensions.get::<Who>().and_then(|who| who.0.get());
        if let (Some(caller), Some(bytes)) = (who, announced) {
            state.service.runs().within_history(caller, bytes)?;
        }
        Ok(Self)
    }
}

/// The caller, filled in after authentication, for the layer that records refusals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Who(pub(crate) Arc<OnceLock<Caller>>);

fn origin(parts: &Parts) -> Origin {
    Origin::of(&parts.extensions)
}

async fn authenticate(parts: &Parts, state: &State) -> Result<Caller, ServiceError> {
    let origin = origin(parts);
    let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
        let Origin::Operator = origin else { return Err(ServiceError::Unauthorized) };
        let project =
            parts.headers.get(PROJECT_HEADER).map(|value| value.to_str().unwrap_or_default());
        return state.service.access().operator(project.unwrap_or(Access::FIRST_PROJECT)).await;
    };
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = token else { return Err(ServiceError::Unauthorized) };
    state.service.access().authenticate(token.trim(), origin.source()).await
}

/// Returns the caller of a request for an object, identified by a token or by a signed URL.
pub(crate) async fn for_object(
    parts: &mut Parts,
    state: &State,
    query: &mut Query,
    name: &ObjectName,
    method: SignedMethod,
) -> Result<Caller, Refusal> {
    let Some(signature) = query.one("signature")? else {
        return Authenticated::from_request_parts(parts, state)
            .await
            .map(|Authenticated(caller)| caller);
    };
    let missing = |name| move || invalid(name, "it is missing in the signed URL");
    let project_id = query.one("project")?.ok_or_else(missing("project"))?;
    let signed_for = query.one("method")?.ok_or_else(missing("method"))?;
    let expires: i64 = query.parsed("expires")?.ok_or_else(missing("expires"))?;
    if signed_for != method.name() {
        return Err(ServiceError::BadSignature.into());
    }
    let access = SignedAccess {
        project_id,
        name: name.clone(),
        method,
        expires_at: Timestamp::from_unix_ms(expires),
    };
    let source = origin(parts).source();
    Ok(state.service.access().signed_caller(&access, &signature, source).await?)
}
