//! Upkeep of a home: readiness, periodic clean-up, backup and restore.

pub(crate) mod backup;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use belljar_engine::Engine;
use belljar_objects::Objects;
use belljar_store::{Retention, Store};
use tokio::sync::{Mutex, Notify};

use crate::audit::Audit;
use crate::config::RunConfig;
use crate::error::ServiceError;
use crate::home::Home;

/// The time for which a successful probe of the sandboxes' isolation counts: it starts a process,
/// and anyone may ask whether the server is ready.
const ISOLATION_PROBED_FOR: Duration = Duration::from_secs(10);

/// The upkeep of a home while its server runs.
#[derive(Debug)]
pub struct Upkeep {
    home: Home,
    engine: Engine,
    /// Time of the last successful probe. Locked during a probe, so that there is one at a time.
    isolation_probed: Mutex<Option<Instant>>,
    store: Store,
    objects: Objects,
    audit: Arc<Audit>,
    retention: Retention,
    /// Notified when contents lost their last name.
    blobs_doomed: Arc<Notify>,
    is_stopping: Arc<AtomicBool>,
}

impl Upkeep {
    #[expect(clippy::too_many_arguments, reason = "each is a part of its own")]
    pub(crate) fn new(
        home: Home,
        engine: Engine,
        store: Store,
        objects: Objects,
        audit: Arc<Audit>,
        config: &RunConfig,
        blobs_doomed: Arc<Notify>,
        is_stopping: Arc<AtomicBool>,
    ) -> Self {
        let retention =
            Retention { age_ms: Some(config.keep_ms.0), count: Some(config.keep_count) };
        Self {
            home,
            engine,
            isolation_probed: Mutex::default(),
            store,
            objects,
            audit,
            retention,
            blobs_doomed,
            is_stopping,
        }
    }

    /// Checks that everything that runs and objects need is available.
    pub async fn check(&self) -> Result<(), ServiceError> {
        if self.is_stopping.load(Ordering::Acquire) {
            return Err(ServiceError::Stopping);
        }
        self.check_isolation().await?;
        self.store.check().await?;
        Ok(self.objects.check().await?)
    }

    async fn check_isolation(&self) -> Result<(), ServiceError> {
        let mut probed = self.isolation_probed.lock().await;
        if probed.is_none_or(|probed| probed.elapsed() >= ISOLATION_PROBED_FOR) {
            *probed = None;
            self.engine.check_isolation().await?;
            *probed = Some(Instant::now());
        }
        Ok(())
    }
}
