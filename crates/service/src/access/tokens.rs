//! Tokens, which are created here, shown once, and stored as a hash.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use belljar_protocol::{
    IssuedToken, NewToken, ProjectRecord, Scope, Timestamp, TokenList, TokenRecord,
};
use belljar_store::{Token, TokenHash, is_reserved_name};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::Access;
use super::cache::CachedToken;
use crate::caller::Caller;
use crate::error::ServiceError;
use crate::metrics;
use crate::rates::{WRONG_TOKENS_PER_SECOND, network};

/// The interval at which the last use of a token is recorded.
const TOUCH_EVERY: Duration = Duration::from_mins(1);

impl Access {
    /// Returns the caller who has a token.
    pub async fn authenticate(
        &self,
        token: &str,
        source: Option<String>,
    ) -> Result<Caller, ServiceError> {
        let hash = TokenHash::of(token);
        let Some(known) = self.cache.token(&hash).await? else {
            return Err(self.wrong_token(source.as_deref()));
        };
        let record = &known.token.record;
        let has_expired = record.expires_at.is_some_and(|at| at <= Timestamp::now());
        // The lookup by hash has already compared them. The comparison in constant time makes that
        // evident to readers of the code.
        let is_same: bool =
            known.token.hash.as_str().as_bytes().ct_eq(hash.as_str().as_bytes()).into();
        if has_expired || record.revoked_at.is_some() || !is_same {
            return Err(self.wrong_token(source.as_deref()));
        }
        self.touch(&known);
        let project = self.cache.project_of_id(&known.token.project_id).await?;
        let caller = Caller {
            project,
            actor: record.id.clone(),
            name: Some(record.name.clone()).filter(|name| !is_reserved_name(name)),
            scopes: record.scopes.clone().into(),
            source,
            expires_at: record.expires_at,
        };
        self.within_rate(&caller)?;
        Ok(caller)
    }

    /// Returns the error of a wrong token. A source that sends many has to slow down, but valid
    /// tokens from the same source are not affected: 256 bits of randomness cannot be guessed.
    fn wrong_token(&self, source: Option<&str>) -> ServiceError {
        metrics::refused("unauthorized");
        if self.wrong_tokens.take(
            &network(source.unwrap_or("unknown")),
            WRONG_TOKENS_PER_SECOND,
            Instant::now(),
        ) {
            return ServiceError::Unauthorized;
        }
        ServiceError::Busy {
            detail: "there were too many wrong tokens from this address",
            retry_after_s: 2,
        }
    }

    fn touch(&self, known: &Arc<CachedToken>) {
        if known.is_touch_due(TOUCH_EVERY) {
            let (store, id) = (self.store.clone(), known.token.record.id.clone());
            // No one waits for the result. A token that was revoked and deleted meanwhile has no
            // record.
            tokio::spawn(async move { drop(store.touch_token(id).await) });
        }
    }

    /// Creates a token for the caller's project. It has no more rights than the caller, and does
    /// not outlive the caller's own.
    pub async fn create_token(
        &self,
        caller: &Caller,
        new: NewToken,
    ) -> Result<IssuedToken, ServiceError> {
        caller.must(Scope::Admin)?;
        if new.name.is_empty() || new.name.len() > 100 || new.name.chars().any(char::is_control) {
            return Err(ServiceError::invalid(
                "name: expected 1 to 100 bytes without control characters",
            ));
        }
        if is_reserved_name(&new.name) {
            return Err(ServiceError::invalid(format!(
                "name: `{}` would be mistaken for an id or for another actor of the audit trail",
                new.name
            )));
        }
        if new.scopes.is_empty() {
            return Err(ServiceError::invalid(
                "scopes: expected at least one of run, read, storage, secrets, admin",
            ));
        }
        for scope in &new.scopes {
            caller.must(*scope)?;
        }
        self.issue(&caller.project, caller, new).await
    }

    pub(super) async fn issue(
        &self,
        project: &ProjectRecord,
        caller: &Caller,
        new: NewToken,
    ) -> Result<IssuedToken, ServiceError> {
        let mut random = [0; 32];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(
            |error| ServiceError::Home { what: "reading random bytes".into(), error: error.into() },
        )?;
        let token =
            format!("bjr_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random));
        let now = Timestamp::now();
        let mut scopes = new.scopes;
        scopes.sort_unstable();
        scopes.dedup();
        let record = TokenRecord {
            id: format!("tok_{}", uuid::Uuid::now_v7().simple()),
            name: new.name,
            hint: token[..8].to_owned(),
            scopes,
            created_at: now,
            expires_at: new
                .expires_in_ms
                .map(|ms| now.plus_ms(ms))
                .into_iter()
                .chain(caller.expires_at)
                .min(),
            last_used_at: None,
            revoked_at: None,
        };
        let kept = Token {
            record: record.clone(),
            project_id: project.id.clone(),
            hash: TokenHash::of(&token),
        };
        let audit = caller.did(
            "token.create",
            &record.id,
            json!({"name": record.name, "scopes": record.scopes, "expires_at": record.expires_at}),
        );
        self.store.create_token(kept, audit).await?;
        Ok(IssuedToken { token, record })
    }

    /// Returns the tokens of the caller's project.
    pub async fn tokens(&self, caller: &Caller) -> Result<TokenList, ServiceError> {
        caller.must(Scope::Admin)?;
        Ok(TokenList { tokens: self.store.tokens(caller.project_id()).await? })
    }

    /// Revokes a token immediately.
    pub async fn revoke_token(&self, caller: &Caller, id: &str) -> Result<(), ServiceError> {
        caller.must(Scope::Admin)?;
        let audit = caller.did("token.revoke", id, json!({}));
        let hash =
            self.store.revoke_token(caller.project_id().to_owned(), id.to_owned(), audit).await?;
        self.cache.forget_token(&hash);
        Ok(())
    }
}
