//! Tokens: made here, shown once, kept as a hash.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use belljar_protocol::{IssuedToken, NewToken, ProjectRecord, Scope, Timestamp, TokenList, TokenRecord};
use belljar_store::{Token, TokenHash};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::caller::{Caller, OPERATOR};
use crate::error::ServiceError;
use crate::metrics;
use crate::rate::network;
use crate::service::{CachedToken, Service};

/// How often the last use of a token is written down.
const TOUCH_EVERY: Duration = Duration::from_mins(1);
/// Wrong tokens from one source, a second, and how many seconds' worth at once.
pub(crate) const WRONG_TOKENS_PER_SECOND: f64 = 0.5;
pub(crate) const WRONG_TOKENS_BURST_S: f64 = 60.0;

impl Service {
    /// Who it is that has this token.
    pub async fn authenticate(&self, token: &str, source: Option<String>) -> Result<Caller, ServiceError> {
        let hash = TokenHash::of(token);
        let Some(known) = self.token(&hash).await? else { return Err(self.wrong_token(source.as_deref())) };
        let record = &known.token.record;
        let has_expired = record.expires_at.is_some_and(|at| at <= Timestamp::now());
        // The look-up is by hash already; this is for whoever reads the code and wonders.
        let is_same: bool = known.token.hash.as_str().as_bytes().ct_eq(hash.as_str().as_bytes()).into();
        if has_expired || record.revoked_at.is_some() || !is_same {
            return Err(self.wrong_token(source.as_deref()));
        }
        self.touch(&known);
        let project = self.project_of_id(&known.token.project_id).await?;
        let caller =
            Caller { project, actor: record.id.clone(), scopes: record.scopes.clone().into(), source, expires_at: record.expires_at };
        self.within_rate(&caller)?;
        Ok(caller)
    }

    /// The operator, in a project: whoever may use the home's own socket.
    pub async fn operator(&self, project: &str) -> Result<Caller, ServiceError> {
        let project = self.project_of_name(project).await?;
        Ok(Caller { project, actor: OPERATOR.to_owned(), scopes: Scope::ALL.into(), source: Some("socket".to_owned()), expires_at: None })
    }

    /// What a wrong token is answered with. Many of one source are told to come slower; whoever has a right one, from wherever, is not held up by them:
    /// with 256 bits of randomness there is nothing to guess.
    fn wrong_token(&self, source: Option<&str>) -> ServiceError {
        metrics::refused("unauthorized");
        if self.wrong_tokens().take(&network(source.unwrap_or("unknown")), WRONG_TOKENS_PER_SECOND, Instant::now()) {
            return ServiceError::Unauthorized;
        }
        ServiceError::Busy { detail: "too many wrong tokens came from this address", retry_after_s: 2 }
    }

    pub(crate) fn within_rate(&self, caller: &Caller) -> Result<(), ServiceError> {
        let Some(rate) = caller.project.settings.quotas.requests_per_second else { return Ok(()) };
        if self.requests().take(caller.project_id(), f64::from(rate), Instant::now()) {
            return Ok(());
        }
        Err(ServiceError::Busy { detail: "the project's quota of requests per second is used up", retry_after_s: 1 })
    }

    fn touch(&self, known: &Arc<CachedToken>) {
        if known.is_touch_due(TOUCH_EVERY) {
            let (store, id) = (self.store().clone(), known.token.record.id.clone());
            // Nobody waits for it; a token revoked and deleted meanwhile has none.
            tokio::spawn(async move { drop(store.touch_token(id).await) });
        }
    }

    /// Makes a token for the caller's project. It allows no more than the caller's own, and no longer.
    pub async fn create_token(&self, caller: &Caller, new: NewToken) -> Result<IssuedToken, ServiceError> {
        caller.must(Scope::Admin)?;
        if new.name.is_empty() || new.name.len() > 100 || new.name.chars().any(char::is_control) {
            return Err(ServiceError::invalid("name: 1 to 100 bytes, no control characters"));
        }
        if new.scopes.is_empty() {
            return Err(ServiceError::invalid("scopes: at least one of run, read, storage, secrets, admin"));
        }
        for scope in &new.scopes {
            caller.must(*scope)?;
        }
        self.issue(&caller.project, caller, new).await
    }

    pub(crate) async fn issue(&self, project: &ProjectRecord, caller: &Caller, new: NewToken) -> Result<IssuedToken, ServiceError> {
        let mut random = [0; 32];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| ServiceError::Home { what: "getting random bytes".into(), error: error.into() })?;
        let token = format!("bjr_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random));
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
            expires_at: new.expires_in_ms.map(|ms| now.plus_ms(ms)).into_iter().chain(caller.expires_at).min(),
            last_used_at: None,
            revoked_at: None,
        };
        let kept = Token { record: record.clone(), project_id: project.id.clone(), hash: TokenHash::of(&token) };
        let audit =
            caller.did("token.create", &record.id, json!({"name": record.name, "scopes": record.scopes, "expires_at": record.expires_at}));
        self.store().create_token(kept, audit).await?;
        Ok(IssuedToken { token, record })
    }

    /// The tokens of the caller's project.
    pub async fn tokens(&self, caller: &Caller) -> Result<TokenList, ServiceError> {
        caller.must(Scope::Admin)?;
        Ok(TokenList { tokens: self.store().tokens(caller.project_id()).await? })
    }

    /// Makes a token useless, at once.
    pub async fn revoke_token(&self, caller: &Caller, id: &str) -> Result<(), ServiceError> {
        caller.must(Scope::Admin)?;
        let audit = caller.did("token.revoke", id, json!({}));
        let hash = self.store().revoke_token(caller.project_id().to_owned(), id.to_owned(), audit).await?;
        self.forget_token(&hash);
        Ok(())
    }

    /// What the callbacks of the caller's project are signed with.
    pub fn callback_key(&self, caller: &Caller) -> Result<String, ServiceError> {
        caller.must(Scope::Admin)?;
        Ok(self.keys().callback_key(caller.project_id()))
    }
}
