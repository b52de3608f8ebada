//! A provisioned runtime, as the engine starts it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use belljar_protocol::{RuntimeName, Start};
use belljar_provision::{NodeRequest, NodeRuntime, Progress, ProvisionError, Provisioner, PythonRequest, PythonRuntime};

use crate::carried::{self, Carried, FOLDER};
use crate::error::EngineError;

/// Which engine of a language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeKind {
    /// Node.js.
    Node,
    /// `CPython`.
    Python,
}

/// A runtime that can be started.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Which.
    pub kind: RuntimeKind,
    /// `node@24.21.0`.
    pub name: String,
    /// The program.
    pub executable: PathBuf,
    /// Host paths that it needs to see.
    pub mounts: Vec<PathBuf>,
    /// Host paths that builds of packages for it need to see as well.
    pub headers: Vec<PathBuf>,
    /// Host folders of packages, which nothing may see.
    pub(crate) packages: Vec<PathBuf>,
    /// The hash of its program.
    pub identity: String,
    /// Where it was found, for people.
    pub source: String,
    pub(crate) carried: Carried,
}

impl Runtime {
    /// Finds or fetches it, and puts its driver into `cache`. Blocks.
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
                let request = version.as_deref().map_or(Ok::<_, ProvisionError>(PythonRequest::default()), str::parse)?;
                Self::from_python(&provisioner.python(&request, progress)?, cache)
            }
        }
    }

    fn from_node(node: &NodeRuntime, cache: &Path) -> Result<Self, EngineError> {
        Ok(Self {
            carried: carried::for_node(cache).map_err(|source| EngineError::Cache { folder: cache.to_owned(), source })?,
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

    /// The command line inside.
    pub(crate) fn arguments(&self, start: Start) -> Vec<CString> {
        let mut arguments = vec![self.executable.as_os_str().as_bytes().to_vec()];
        match self.kind {
            RuntimeKind::Node => {
                // A fork has only the thread that forked: V8 must not count on others.
                if start == Start::Fork {
                    arguments.extend([b"--single-threaded".to_vec(), b"--v8-pool-size=1".to_vec()]);
                    // By the host's memory it would be 64 MB, which a program is told of as a part of its heap's limit.
                    arguments.push(b"--max-semi-space-size=8".to_vec());
                }
                arguments.push(format!("{FOLDER}/node/driver.js").into_bytes());
            }
            RuntimeKind::Python => {
                // Isolated: neither the environment nor the working folder change what the driver itself imports.
                // And without what the host has installed beside it: packages come with an environment.
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

    /// The whole environment at boot. A program's own comes with its activation.
    pub(crate) fn environment(init: bool) -> Vec<CString> {
        let mut environment = vec![
            "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
            format!("HOME={}", belljar_jail::HOME),
            "LANG=C.UTF-8".to_owned(),
            "TMPDIR=/tmp".to_owned(),
            // It answers `getifaddrs` in place of the C library, and takes this variable away.
            format!("LD_PRELOAD={FOLDER}/libbelljar.so"),
        ];
        if init {
            environment.push("BELLJAR_INIT=1".to_owned());
        }
        environment.into_iter().filter_map(|variable| CString::new(variable).ok()).collect()
    }

    /// The folder under [`FOLDER`] that holds its driver.
    pub(crate) fn driver_folder(&self) -> &'static str {
        match self.kind {
            RuntimeKind::Node => "node",
            RuntimeKind::Python => "python",
        }
    }
}
