//! Who calls: a token in the header, or whoever may use the home's own socket.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use belljar_protocol::{ObjectName, Scope, SignedMethod, Timestamp};
use belljar_service::{Caller, Service, ServiceError, SignedAccess};

use crate::State;
use crate::input::{Query, invalid};
use crate::listen::Origin;
use crate::problem::Refusal;

/// In which project the operator acts, over the socket.
const PROJECT_HEADER: &str = "belljar-project";

/// Whoever calls, once they are known.
#[derive(Debug)]
pub(crate) struct Authenticated(pub(crate) Caller);

impl FromRequestParts<State> for Authenticated {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Refusal> {
        let caller = authenticate(parts, state).await?;
        if let Some(who) = parts.extensions.get::<Who>() {
            // Set once: nobody authenticates twice.
            let _ = who.0.set(caller.clone());
        }
        Ok(Self(caller))
    }
}

/// What a route needs, known before anything of a body is read.
pub(crate) trait Needs {
    /// Refuses whoever may not.
    fn check(caller: &Caller) -> Result<(), ServiceError>;
}

/// To start runs.
#[derive(Debug)]
pub(crate) struct Run;
/// To upload, copy and delete objects.
#[derive(Debug)]
pub(crate) struct Storage;
/// To manage the project's tokens.
#[derive(Debug)]
pub(crate) struct Admin;
/// To manage the server.
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

/// Whoever calls, and may do what the route needs. Routes with a body have this, so that a body of whoever may not is never read; the service decides
/// again, about what the body says.
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

/// A submission whose announced size fits into the project's quota of history: of another nothing is read. Comes after [`Allowed`], which
/// finds out who calls.
#[derive(Debug)]
pub(crate) struct CanBeKept;

impl FromRequestParts<State> for CanBeKept {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Refusal> {
        let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let who = parts.extensions.get::<Who>().and_then(|who| who.0.get());
        if let (Some(caller), Some(bytes)) = (who, announced) {
            state.service.within_history(caller, bytes)?;
        }
        Ok(Self)
    }
}

/// Filled once it is known who calls, for the layer that writes refusals down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Who(pub(crate) Arc<OnceLock<Caller>>);

fn origin(parts: &Parts) -> Origin {
    Origin::of(&parts.extensions)
}

async fn authenticate(parts: &Parts, state: &State) -> Result<Caller, ServiceError> {
    let origin = origin(parts);
    let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
        let Origin::Operator = origin else { return Err(ServiceError::Unauthorized) };
        let project = parts.headers.get(PROJECT_HEADER).map(|value| value.to_str().unwrap_or_default());
        return state.service.operator(project.unwrap_or(Service::FIRST_PROJECT)).await;
    };
    let token = value.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = token else { return Err(ServiceError::Unauthorized) };
    state.service.authenticate(token.trim(), origin.source()).await
}

/// Whoever calls for an object: by a token, or by a signed address, which says what it is for.
pub(crate) async fn for_object(
    parts: &mut Parts,
    state: &State,
    query: &mut Query,
    name: &ObjectName,
    method: SignedMethod,
) -> Result<Caller, Refusal> {
    let Some(signature) = query.one("signature")? else {
        return Authenticated::from_request_parts(parts, state).await.map(|Authenticated(caller)| caller);
    };
    let missing = |name| move || invalid(name, "a signed address has it");
    let project_id = query.one("project")?.ok_or_else(missing("project"))?;
    let signed_for = query.one("method")?.ok_or_else(missing("method"))?;
    let expires: i64 = query.parsed("expires")?.ok_or_else(missing("expires"))?;
    if signed_for != method.name() {
        return Err(ServiceError::BadSignature.into());
    }
    let access = SignedAccess { project_id, name: name.clone(), method, expires_at: Timestamp::from_unix_ms(expires) };
    let source = origin(parts).source();
    Ok(state.service.signed_caller(&access, &signature, source).await?)
}
