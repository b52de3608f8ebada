//! Environments that are ready to be used.

use std::sync::Arc;

use belljar_engine::{Environment, Preload, Runtime};
use belljar_protocol::PackagePolicy;

use crate::environment_record::EnvironmentRecord;
use crate::lock::Lock;
use crate::preload_modules::{MAX_MODULES, preload_modules};
use crate::store::Stored;

/// An existing environment. It is not removed as long as this, or the engine's part of it, is held.
#[derive(Clone, Debug)]
pub struct PreparedEnvironment {
    /// The engine's part of the environment.
    pub environment: Arc<Environment>,
    /// Record of the environment.
    pub record: EnvironmentRecord,
    /// Lock that it was installed from.
    pub lock: String,
}

impl PreparedEnvironment {
    /// Returns a stored environment for one program. `imported` are the modules of packages that it
    /// imports in any case, or `None` if they are not known.
    pub(crate) fn new(
        stored: Stored,
        lock: Lock,
        imported: Option<&[String]>,
        runtime: &Runtime,
        policy: &PackagePolicy,
    ) -> Self {
        let Stored { mut record, root, lease, .. } = stored;
        let is_trusted = !record.packages.is_empty()
            && record.packages.iter().all(|package| policy.trusts(record.ecosystem, &package.name));
        // Other programs may use this environment too. Only the imports of this program are
        // imported in advance.
        match imported {
            None => {}
            Some([]) => record.modules.clear(),
            Some(imported) => {
                record.modules =
                    preload_modules(&lock, &root, &record.requirements, imported, MAX_MODULES);
            }
        }
        // The environment may have been created from another lock.
        record.lock_sha256 = lock.sha256();
        let environment = Environment {
            key: record.key.clone(),
            folder: std::fs::canonicalize(&root).unwrap_or(root),
            place: Environment::place(runtime.kind).to_owned(),
            modules: record.modules.clone(),
            preload: if is_trusted { Preload::InZygote } else { Preload::InSandbox },
            lease: Some(lease),
        };
        Self { environment: Arc::new(environment), record, lock: lock.text }
    }
}
