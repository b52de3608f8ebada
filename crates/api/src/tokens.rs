//! The routes of tokens.

use axum::extract::{Path, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use belljar_protocol::{CallbackKey, IssuedToken, NewToken, TokenList};

use crate::authentication::{Admin, Allowed, Authenticated};
use crate::input::Json;
use crate::problem::Refusal;
use crate::state::State;

/// Create a token
///
/// The answer is the only one that contains the token.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", operation_id = "create_token", request_body = NewToken,
    responses((status = 201, body = IssuedToken, description = "The new token")))]
pub(crate) async fn create(
    Shared(state): Shared<State>,
    Allowed { caller, .. }: Allowed<Admin>,
    Json(new): Json<NewToken>,
) -> Result<Response, Refusal> {
    let issued = state.service.access().create_token(&caller, new).await?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], axum::Json(issued))
        .into_response())
}

/// List the project's tokens, the latest first
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", operation_id = "list_tokens", responses((status = 200, body = TokenList, description = "The tokens of the project")))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
) -> Result<axum::Json<TokenList>, Refusal> {
    Ok(axum::Json(state.service.access().tokens(&caller).await?))
}

/// Revoke a token immediately
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "revoke_token", params(("id" = String, Path, description = "Id of the token")),
    responses((status = 204, description = "The token was revoked")))]
pub(crate) async fn revoke(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    state.service.access().revoke_token(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show the key that signs the project's callbacks
#[utoipa::path(get, path = "/v1/callback-key", tag = "tokens", operation_id = "callback_key", responses((status = 200, body = CallbackKey, description = "The key")))]
pub(crate) async fn callback_key(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
) -> Result<Response, Refusal> {
    let key = state.service.callbacks().key(&caller)?;
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(key)).into_response())
}
