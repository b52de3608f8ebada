//! The tokens and projects in memory, so that most requests are authenticated without the database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use belljar_protocol::ProjectRecord;
use belljar_store::{Store, Token, TokenHash};

use crate::error::ServiceError;

/// The maximum number of cached tokens. Further ones are looked up each time.
const MAX_CACHED_TOKENS: usize = 10_000;

/// A cached token.
#[derive(Debug)]
pub(crate) struct CachedToken {
    pub(crate) token: Token,
    touched: Mutex<Option<Instant>>,
}

impl CachedToken {
    /// Returns whether the last use of the token has to be recorded now, and marks it as recorded.
    pub(crate) fn is_touch_due(&self, every: Duration) -> bool {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = touched.is_none_or(|at| at.elapsed() >= every);
        if is_due {
            *touched = Some(Instant::now());
        }
        is_due
    }
}

/// The caches of tokens and projects. Only this process changes them, so they are never stale.
#[derive(Debug)]
pub(crate) struct AccessCache {
    store: Store,
    /// The generation of the caches. A lookup that began in an older generation is not cached.
    generation: AtomicU64,
    tokens: Mutex<HashMap<TokenHash, Arc<CachedToken>>>,
    projects: Mutex<HashMap<String, Arc<ProjectRecord>>>,
}

impl AccessCache {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            generation: AtomicU64::new(0),
            tokens: Mutex::default(),
            projects: Mutex::default(),
        }
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<TokenHash, Arc<CachedToken>>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn projects(&self) -> MutexGuard<'_, HashMap<String, Arc<ProjectRecord>>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) async fn token(
        &self,
        hash: &TokenHash,
    ) -> Result<Option<Arc<CachedToken>>, ServiceError> {
        if let Some(known) = self.tokens().get(hash) {
            return Ok(Some(Arc::clone(known)));
        }
        let generation = self.generation();
        let Some(token) = self.store.token(hash).await? else { return Ok(None) };
        let known = Arc::new(CachedToken { token, touched: Mutex::default() });
        let mut cached = self.tokens();
        if known.token.record.revoked_at.is_none() && self.generation() == generation {
            if cached.len() >= MAX_CACHED_TOKENS {
                cached.clear();
            }
            cached.insert(hash.clone(), Arc::clone(&known));
        }
        Ok(Some(known))
    }

    pub(crate) async fn project_of_id(&self, id: &str) -> Result<Arc<ProjectRecord>, ServiceError> {
        if let Some(known) = self.projects().get(id) {
            return Ok(Arc::clone(known));
        }
        let generation = self.generation();
        let project = Arc::new(self.store.project(id).await?);
        self.remember_project(&project, generation);
        Ok(project)
    }

    pub(crate) async fn project_of_name(
        &self,
        name: &str,
    ) -> Result<Arc<ProjectRecord>, ServiceError> {
        if let Some(known) = self.projects().values().find(|project| project.name.as_str() == name)
        {
            return Ok(Arc::clone(known));
        }
        let generation = self.generation();
        let project = Arc::new(self.store.project_named(name).await?);
        self.remember_project(&project, generation);
        Ok(project)
    }

    fn remember_project(&self, project: &Arc<ProjectRecord>, generation: u64) {
        let mut cached = self.projects();
        if self.generation() == generation {
            cached.insert(project.id.clone(), Arc::clone(project));
        }
    }

    /// Forgets a token after its revocation.
    pub(crate) fn forget_token(&self, hash: &TokenHash) {
        let mut cached = self.tokens();
        self.generation.fetch_add(1, Ordering::AcqRel);
        cached.remove(hash);
    }

    /// Forgets all projects and tokens after a change of projects.
    pub(crate) fn forget_projects(&self) {
        let (mut projects, mut tokens) = (self.projects(), self.tokens());
        self.generation.fetch_add(1, Ordering::AcqRel);
        projects.clear();
        tokens.clear();
    }
}
