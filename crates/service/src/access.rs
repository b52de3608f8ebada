//! Access: the identity of callers, their projects and tokens, and how much of the server each
//! project may use at once.

mod cache;
pub(crate) mod ceilings;
mod projects;
pub(crate) mod signing;
mod tokens;

use std::sync::Arc;
use std::time::Instant;

use belljar_engine::Engine;
use belljar_protocol::{PackagePolicy, Scope, SignedMethod, Timestamp};
use belljar_store::Store;

use self::cache::AccessCache;
use self::ceilings::Ceilings;
use self::signing::{Keys, SignedAccess};
use crate::caller::{Caller, OPERATOR};
use crate::error::ServiceError;
use crate::memory_account::{HeldMemory, MemoryAccount};
use crate::rates::{Rates, WRONG_TOKENS_BURST_S};
use crate::runs::live::LiveRuns;

/// The number of seconds whose worth of a project's requests may come at once.
const REQUESTS_BURST_S: f64 = 10.0;
/// The maximum size of all answers that wait in memory for their clients. A project may use as much
/// of it as it leaves free.
const MAX_ANSWERS_BYTES: u64 = 256 << 20;

/// The settings of the server that no project can exceed.
#[derive(Clone, Debug)]
pub(crate) struct ServerRules {
    /// The package policy, which that of a project narrows.
    pub(crate) packages: PackagePolicy,
    /// Maximum number of concurrent runs of all projects.
    pub(crate) concurrent_runs: u32,
}

/// Projects, tokens, and the identity of callers.
#[derive(Debug)]
pub struct Access {
    store: Store,
    keys: Keys,
    engine: Engine,
    server: ServerRules,
    ceilings: Arc<Ceilings>,
    /// The unfinished runs, which are cancelled when their project is deleted.
    live: Arc<LiveRuns>,
    cache: AccessCache,
    wrong_tokens: Rates,
    requests: Rates,
    /// Memory of answers that their clients have not read yet.
    answers: MemoryAccount,
}

impl Access {
    /// The project of a request that names none.
    pub const FIRST_PROJECT: &str = "default";

    pub(crate) fn new(
        store: Store,
        keys: Keys,
        engine: Engine,
        server: ServerRules,
        ceilings: Arc<Ceilings>,
        live: Arc<LiveRuns>,
    ) -> Self {
        Self {
            cache: AccessCache::new(store.clone()),
            store,
            keys,
            engine,
            server,
            ceilings,
            live,
            wrong_tokens: Rates::new(WRONG_TOKENS_BURST_S),
            requests: Rates::new(REQUESTS_BURST_S),
            answers: MemoryAccount::new(MAX_ANSWERS_BYTES),
        }
    }

    /// Returns the operator as the caller in a project. Only the socket in the home leads here.
    pub async fn operator(&self, project: &str) -> Result<Caller, ServiceError> {
        let project = self.cache.project_of_name(project).await?;
        Ok(Caller {
            project,
            actor: OPERATOR.to_owned(),
            name: None,
            scopes: Scope::ALL.into(),
            source: Some("socket".to_owned()),
            expires_at: None,
        })
    }

    /// Returns the caller of a signed URL, who has access to that object only.
    pub async fn signed_caller(
        &self,
        access: &SignedAccess,
        signature: &str,
        source: Option<String>,
    ) -> Result<Caller, ServiceError> {
        if !self.keys.is_signed(access, signature) || access.expires_at <= Timestamp::now() {
            return Err(ServiceError::BadSignature);
        }
        let scope = match access.method {
            SignedMethod::Get => Scope::Read,
            SignedMethod::Put => Scope::Storage,
        };
        let project = self.cache.project_of_id(&access.project_id).await;
        let caller = Caller {
            project: project.map_err(|_| ServiceError::BadSignature)?,
            actor: "signed-url".to_owned(),
            name: None,
            scopes: [scope].into(),
            source,
            expires_at: Some(access.expires_at),
        };
        self.within_rate(&caller)?;
        Ok(caller)
    }

    /// Reserves memory for an answer until its client has read it. Fails if unread answers use too
    /// much already.
    pub fn hold_answer(&self, project_id: &str, bytes: u64) -> Result<HeldMemory, ServiceError> {
        self.answers.hold(project_id, bytes).ok_or(ServiceError::Busy {
            detail: "too many large answers of the project are still unread",
            retry_after_s: 5,
        })
    }

    fn within_rate(&self, caller: &Caller) -> Result<(), ServiceError> {
        let Some(rate) = caller.project.settings.quotas.requests_per_second else { return Ok(()) };
        if self.requests.take(caller.project_id(), f64::from(rate), Instant::now()) {
            return Ok(());
        }
        Err(ServiceError::Busy {
            detail: "the project's quota of requests per second is used up",
            retry_after_s: 1,
        })
    }
}
