//! Tokens.

use axum::extract::{Path, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use belljar_protocol::{IssuedToken, NewToken, TokenList};
use serde::Serialize;

use crate::State;
use crate::authentication::{Admin, Allowed, Authenticated};
use crate::input::Json;
use crate::problem::Refusal;

/// What the callbacks of a project are signed with.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct CallbackKey {
    /// 64 hexadecimal digits; they are the key as they stand here, as text.
    key: String,
}

/// Make a token. It is shown this once.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", operation_id = "create_token", request_body = NewToken,
    responses((status = 201, body = IssuedToken)))]
pub(crate) async fn create(
    Shared(state): Shared<State>,
    Allowed { caller, .. }: Allowed<Admin>,
    Json(new): Json<NewToken>,
) -> Result<Response, Refusal> {
    let issued = state.service.create_token(&caller, new).await?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], axum::Json(issued)).into_response())
}

/// List the project's tokens, the latest first.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", operation_id = "list_tokens", responses((status = 200, body = TokenList)))]
pub(crate) async fn list(Shared(state): Shared<State>, Authenticated(caller): Authenticated) -> Result<axum::Json<TokenList>, Refusal> {
    Ok(axum::Json(state.service.tokens(&caller).await?))
}

/// Revoke a token, at once.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "revoke_token", params(("id" = String, Path, description = "The token's id")),
    responses((status = 204, description = "It is useless now")))]
pub(crate) async fn revoke(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    state.service.revoke_token(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the callbacks of the project are signed with.
#[utoipa::path(get, path = "/v1/callback-key", tag = "tokens", operation_id = "callback_key", responses((status = 200, body = CallbackKey)))]
pub(crate) async fn callback_key(Shared(state): Shared<State>, Authenticated(caller): Authenticated) -> Result<Response, Refusal> {
    let key = CallbackKey { key: state.service.callback_key(&caller)? };
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(key)).into_response())
}
