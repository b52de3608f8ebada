//! A provisioned runtime, and how the engine starts it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use belljar_protocol::{Exec, RuntimeName, Start};
use belljar_provision::{
    NodeRequest, NodeRuntime, Progress, ProvisionError, Provisioner, PythonRequest, PythonRuntime,
};

use crate::carried::{self, Carried, FOLDER};
use crate::error::EngineError;

/// A kind of runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeKind {
    /// Node.js runs JavaScript and TypeScript.
    Node,
    /// `CPython` runs Python.
    Python,
}

/// A runtime that can be started.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Kind of the runtime.
    pub kind: RuntimeKind,
    /// Name with the exact version, such as `node@24.21.0`.
    pub name: String,
    /// Host path of the executable.
    pub executable: PathBuf,
    /// Host paths that must be visible in a sandbox.
    pub mounts: Vec<PathBuf>,
    /// Host paths that must also be visible when packages are built.
    pub headers: Vec<PathBuf>,
    /// Host folders with packages, which must never be visible.
    pub(crate) packages: Vec<PathBuf>,
    /// Hash of the executable.
    pub identity: String,
    /// Human-readable name of the source that the runtime came from.
    pub source: String,
    pub(crate) carried: Carried,
}

impl Runtime {
    /// Finds or downloads a runtime, and stores its driver in `cache`. Blocks.
    pub(crate) fn provision(
        provisioner: &Provisioner,
        cache: &Path,
        name: &RuntimeName,
        progress: &mut dyn Progress,
    ) -> Result<Self, EngineError> {
        match name {
            RuntimeName::Node(version) => {
                let request = version.as_deref().map_or(Ok(NodeRequest::default()), str::parse)?;
                Self::from_node(&provisioner.node(&request, progress)?, cache)
            }
            RuntimeName::Python(version) => {
                let request = version
                    .as_deref()
                    .map_or(Ok::<_, ProvisionError>(PythonRequest::default()), str::parse)?;
                Self::from_python(&provisioner.python(&request, progress)?, cache)
            }
        }
    }

    fn from_node(node: &NodeRuntime, cache: &Path) -> Result<Self, EngineError> {
        Ok(Self {
            carried: carried::for_node(cache)
                .map_err(|source| EngineError::Cache { folder: cache.to_owned(), source })?,
            kind: RuntimeKind::Node,
            name: format!("node@{}", node.version),
            executable: node.executable.clone(),
            mounts: node.mounts(),
            headers: Vec::new(),
            packages: Vec::new(),
            identity: node.identity.as_str().to_owned(),
            source: format!("{:?}", node.source).to_lowercase(),
        })
    }

    fn from_python(python: &PythonRuntime, cache: &Path) -> Result<Self, EngineError> {
        let identity = python.identity.as_str();
        Ok(Self {
            carried: carried::for_python(cache, &python.executable, identity)
                .map_err(|source| EngineError::Cache { folder: cache.to_owned(), source })?,
            kind: RuntimeKind::Python,
            name: format!("python@{}", python.version),
            executable: python.executable.clone(),
            mounts: python.mounts(),
            headers: python.headers.clone(),
            packages: python.packages.clone(),
            identity: identity.to_owned(),
            source: format!("{:?}", python.source).to_lowercase(),
        })
    }

    /// Returns the command line in the sandbox.
    pub(crate) fn arguments(&self, start: Start) -> Vec<CString> {
        let mut arguments = vec![self.executable.as_os_str().as_bytes().to_vec()];
        match self.kind {
            RuntimeKind::Node => {
                // A fork has only the thread that called it, so V8 must not rely on other threads.
                if start == Start::Fork {
                    arguments.extend([b"--single-threaded".to_vec(), b"--v8-pool-size=1".to_vec()]);
                    // Derived from the host's memory it would be 64 MB, which a program would see
                    // as part of its heap limit.
                    arguments.push(b"--max-semi-space-size=8".to_vec());
                }
                arguments.push(format!("{FOLDER}/node/driver.js").into_bytes());
            }
            RuntimeKind::Python => {
                // Isolated mode: neither environment variables nor the working folder affect the
                // imports of the driver. Without `site`, packages that the host has installed are
                // not found: a run's packages come from its environment.
                arguments.extend([
                    b"-I".to_vec(),
                    b"-S".to_vec(),
                    b"-X".to_vec(),
                    b"utf8".to_vec(),
                    format!("{FOLDER}/python/driver.py").into_bytes(),
                ]);
            }
        }
        arguments.into_iter().filter_map(|argument| CString::new(argument).ok()).collect()
    }

    /// Returns all environment variables at boot. The program's variables come with its activation.
    /// A process that may start programs gets an init.
    pub(crate) fn environment(exec: Exec) -> Vec<CString> {
        let mut environment = vec![
            "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
            format!("HOME={}", belljar_jail::HOME),
            "LANG=C.UTF-8".to_owned(),
            "TMPDIR=/tmp".to_owned(),
            // The library replaces `getifaddrs` of the C library, and removes this variable.
            format!("LD_PRELOAD={FOLDER}/libbelljar.so"),
        ];
        if exec == Exec::Granted {
            environment.push("BELLJAR_INIT=1".to_owned());
        }
        environment.into_iter().filter_map(|variable| CString::new(variable).ok()).collect()
    }

    /// Returns the name of the folder under [`FOLDER`] that contains the driver.
    pub(crate) fn driver_folder(&self) -> &'static str {
        match self.kind {
            RuntimeKind::Node => "node",
            RuntimeKind::Python => "python",
        }
    }
}
