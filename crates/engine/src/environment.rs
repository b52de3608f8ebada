//! Packages that a sandbox has from the start. The engine knows a folder, where it is seen, what to import ahead, and whom to ask for all that; what a
//! package is, it does not.

use std::fmt::Debug;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use belljar_protocol::{RunError, RunRequest};

use crate::runtime::RuntimeKind;

/// Where a sandbox's packages are for Node: above any folder of a program's, so that `require` and `import` find them as in plain Node.
pub(crate) const NODE_PLACE: &str = "/node_modules";
/// Where they are for Python.
pub(crate) const PYTHON_PLACE: &str = "/opt/belljar/environment";

/// Who makes the environments of runs.
pub trait EnvironmentSource: Debug + Send + Sync {
    /// The environment of a run, made where there is none yet; `None` where it needs none. What goes on is told to `tell`, for people. An error refuses
    /// the run. Dropped when the run is cancelled meanwhile.
    fn environment<'a>(&'a self, request: &'a RunRequest, tell: Arc<dyn Fn(String) + Send + Sync>) -> EnvironmentFuture<'a>;

    /// A hint for the error that a run ended with, where it is about a package. Asked once the run is over; the error is the program's word.
    fn hint(&self, _error: &RunError) -> Option<String> {
        None
    }

    /// Notes on the packages, for the writer of the program. Asked once the run is over.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What becomes of asking an [`EnvironmentSource`].
pub type EnvironmentFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Arc<Environment>>, RunError>> + Send + 'a>>;

/// Where the modules of an environment are imported ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ahead {
    /// In each parked sandbox, for itself: jailed like any program, and seen by one run only.
    Sandbox,
    /// Once, in the zygote, for all its sandboxes. The code of the packages then runs with what a zygote may do: only for packages that the operator
    /// trusts.
    Zygote,
}

/// Packages that a sandbox has from the start.
#[derive(Clone, Debug)]
pub struct Environment {
    /// What tells it from every other: the hash of its lock and of what it was made with.
    pub key: String,
    /// The folder outside. Nobody may change it while it is in use.
    pub folder: PathBuf,
    /// Where it is seen inside.
    pub place: PathBuf,
    /// Modules to import ahead, in order. What cannot be imported is left to the program, which is told why.
    pub modules: Vec<String>,
    /// Where they are imported.
    pub ahead: Ahead,
    /// Held for as long as anything uses the environment, so that whoever keeps it can tell by a lock on it.
    pub lease: Option<Arc<File>>,
}

/// The key stands for the folder: equal ones have the same packages.
impl PartialEq for Environment {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.modules, self.ahead) == (&other.key, &other.modules, other.ahead)
    }
}

impl Eq for Environment {}

impl Hash for Environment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.key, &self.modules, self.ahead).hash(state);
    }
}

impl Environment {
    /// Where a runtime looks for the packages of an environment.
    pub fn place(kind: RuntimeKind) -> &'static Path {
        Path::new(match kind {
            RuntimeKind::Node => NODE_PLACE,
            RuntimeKind::Python => PYTHON_PLACE,
        })
    }

    /// The same without anything imported ahead.
    #[must_use]
    pub fn without_modules(&self) -> Self {
        Self { modules: Vec::new(), ahead: Ahead::Sandbox, ..self.clone() }
    }

    /// What the driver is told at boot.
    pub(crate) fn told(&self) -> serde_json::Value {
        let ahead = match self.ahead {
            Ahead::Sandbox => "sandbox",
            Ahead::Zygote => "zygote",
        };
        serde_json::json!({"place": self.place, "modules": self.modules, "ahead": ahead})
    }
}
