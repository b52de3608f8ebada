//! Environments: the packages that a sandbox has from the start. The engine knows only a folder,
//! its path in the sandbox, the modules to preload, and the source of environments. It knows
//! nothing about packages.

use std::fmt::Debug;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use belljar_protocol::{RunError, RunRequest};

use crate::runtime::RuntimeKind;

/// The path of packages for Node.js: above all folders of a program, so that `require` and `import`
/// find them as in plain Node.js.
pub(crate) const NODE_PLACE: &str = "/node_modules";
/// The path of packages for Python.
pub(crate) const PYTHON_PLACE: &str = "/opt/belljar/environment";

/// A source of environments for runs.
pub trait EnvironmentSource: Debug + Send + Sync {
    /// Returns the environment of a run, building it if it does not exist, or `None` if the run
    /// needs none. `tell` is called with human-readable progress. An error refuses the run. The
    /// future is dropped if the run is cancelled in the meantime.
    fn environment<'a>(
        &'a self,
        request: &'a RunRequest,
        tell: Arc<dyn Fn(String) + Send + Sync>,
    ) -> EnvironmentFuture<'a>;

    /// Returns a hint for the error that a run ended with, if the error concerns a package. It is
    /// called once the run has ended. The text of the error comes from the program.
    fn hint(&self, _error: &RunError) -> Option<String> {
        None
    }

    /// Returns notes on the packages for the author of the program. It is called once the run has
    /// ended.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The future that [`EnvironmentSource::environment`] returns.
pub type EnvironmentFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Arc<Environment>>, RunError>> + Send + 'a>>;

/// The process in which the modules of an environment are preloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preload {
    /// Each parked sandbox preloads the modules for itself, jailed like any program, so that only
    /// one run sees them.
    InSandbox,
    /// The zygote preloads the modules once for all its sandboxes. The code of the packages then
    /// has the rights of a zygote, so this is only for packages that the operator trusts.
    InZygote,
}

/// The packages that a sandbox has from the start.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Unique key: the hash of the lock and of everything else that the environment was built from.
    pub key: String,
    /// Folder on the host. It must not change while it is in use.
    pub folder: PathBuf,
    /// Path of the folder in the sandbox.
    pub place: PathBuf,
    /// Modules to preload, in order. If a module cannot be imported, the program gets the error
    /// when it imports the module.
    pub modules: Vec<String>,
    /// Process in which the modules are preloaded.
    pub preload: Preload,
    /// File that stays open as long as anything uses the environment, so that its owner can find
    /// out by a lock on it.
    pub lease: Option<Arc<File>>,
}

/// Compares the keys instead of the folders: equal keys have the same packages.
impl PartialEq for Environment {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.modules, self.preload) == (&other.key, &other.modules, other.preload)
    }
}

impl Eq for Environment {}

impl Hash for Environment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.key, &self.modules, self.preload).hash(state);
    }
}

impl Environment {
    /// Returns the path in a sandbox where a runtime looks for packages.
    pub fn place(kind: RuntimeKind) -> &'static Path {
        Path::new(match kind {
            RuntimeKind::Node => NODE_PLACE,
            RuntimeKind::Python => PYTHON_PLACE,
        })
    }

    /// Returns the environment without preloaded modules.
    #[must_use]
    pub fn without_modules(&self) -> Self {
        Self { modules: Vec::new(), preload: Preload::InSandbox, ..self.clone() }
    }

    /// Returns the settings of the environment for the driver.
    pub(crate) fn driver_settings(&self) -> serde_json::Value {
        let preload = match self.preload {
            Preload::InSandbox => "sandbox",
            Preload::InZygote => "zygote",
        };
        serde_json::json!({"place": self.place, "modules": self.modules, "preload": preload})
    }
}
