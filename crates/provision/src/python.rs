//! Finds Python. The order is the configured one, the pinned one from a mirror of uv's managed
//! Pythons if one is configured, and one of this machine: on PATH (resolved through pyenv's shims,
//! links and virtual environments to the interpreter itself) or installed by a version manager. No
//! registry of packages has builds of Python.
//!
//! The choice for a request without a minor version does not depend on the user's configuration: it
//! is the first available one of [`pins::PYTHON_MINORS`], with the newest patch.

mod fetch;
mod versions;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::FileStamp;
use crate::error::ProvisionError;
use crate::integrity::Identity;
use crate::interpreter::{self, Library};
use crate::pins;
use crate::progress::{Progress, Step};
use crate::provisioner::{Provisioner, Source};
use crate::request::PythonRequest;
use crate::version::Version;

/// A `CPython` that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonRuntime {
    /// Exact version of the Python.
    pub version: Version,
    /// Canonical path of the program itself, which is not a link, a shim or part of a virtual
    /// environment.
    pub executable: PathBuf,
    /// Canonical `sys.base_prefix`. Virtual environments are never used, so `sys.prefix` is the
    /// same.
    pub prefix: PathBuf,
    /// Folder of the standard library.
    pub stdlib: PathBuf,
    /// Shared library of the interpreter, if it is not part of the program.
    pub libpython: Option<PathBuf>,
    /// Folders (or files) outside of the prefix, `/usr` and `/lib*` with libraries that the
    /// interpreter or its standard modules load.
    pub library_mounts: Vec<PathBuf>,
    /// Place where the Python was found.
    pub source: Source,
    /// Hash of the program, and of `libpython` if it has one.
    pub identity: Identity,
    /// Folders for packages, whether or not they exist. They are not part of this Python, and may
    /// contain packages of the host's users.
    pub packages: Vec<PathBuf>,
    /// Folders of its headers, which builds of packages need.
    pub headers: Vec<PathBuf>,
    extensions: Vec<PathBuf>,
}

impl PythonRuntime {
    /// Returns the paths of the host that a jail must show at the same places for this Python to
    /// start and to import its standard library: the program, the standard library, `libpython` and
    /// [`library_mounts`](Self::library_mounts). At other places, it would load the wrong
    /// `libpython`. The whole prefix is never shown, because it contains what users of the host
    /// have installed and configured. [`packages`](Self::packages) can be beneath the shown paths,
    /// and must be hidden. Every jail shows `/usr` and `/lib*`.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let parts = [&self.executable, &self.stdlib].into_iter().chain(&self.libpython);
        let outside = self.extensions.iter().filter(|folder| !folder.starts_with(&self.stdlib));
        let mut mounts: Vec<PathBuf> = parts.chain(outside).cloned().collect();
        mounts.extend(
            self.library_mounts
                .iter()
                .filter(|path| !mounts.contains(path))
                .cloned()
                .collect::<Vec<_>>(),
        );
        mounts
    }
}

const PROBE: &str = include_str!("python/probe.py");

/// The answer of Python.
#[derive(Deserialize)]
struct Answer {
    implementation: String,
    version: Version,
    /// Release level: `final`, or an earlier one.
    #[serde(default)]
    level: Option<String>,
    executable: PathBuf,
    prefix: PathBuf,
    stdlib: PathBuf,
    extensions: Vec<PathBuf>,
    libraries: Vec<PathBuf>,
    #[serde(default)]
    packages: Vec<PathBuf>,
    #[serde(default)]
    headers: Vec<PathBuf>,
}

/// The cached properties of a Python on this machine.
#[derive(Serialize, Deserialize)]
struct Probe {
    version: Version,
    prefix: PathBuf,
    stdlib: PathBuf,
    extensions: Vec<PathBuf>,
    libpython: Option<Library>,
    libraries: Vec<Library>,
    packages: Vec<PathBuf>,
    headers: Vec<PathBuf>,
    identity: Identity,
}

impl Probe {
    fn is_current(&self) -> bool {
        self.libpython.iter().chain(&self.libraries).all(Library::is_unchanged)
            && self.stdlib.is_dir()
    }
}

/// The search for one request, with the interpreters that were found and ignored.
struct Search<'a> {
    provisioner: &'a Provisioner,
    request: &'a PythonRequest,
    progress: &'a mut dyn Progress,
    /// The programs called `python3` on PATH, after they were examined.
    plain: Option<Vec<PythonRuntime>>,
    seen: Vec<PathBuf>,
    passed_over: Vec<String>,
}

impl Provisioner {
    /// Finds a Python that meets the request, or fetches it if a mirror is configured. Blocks. If
    /// everything is cached, it costs a few file reads and starts no process.
    pub fn python(
        &self,
        request: &PythonRequest,
        progress: &mut dyn Progress,
    ) -> Result<PythonRuntime, ProvisionError> {
        if let Some(path) = &self.config.python {
            return self.configured_python(path, request, progress);
        }
        if let Some(python) = self.managed_python(request, progress)? {
            return Ok(python);
        }
        let mut search = Search {
            provisioner: self,
            request,
            progress,
            plain: None,
            seen: Vec::new(),
            passed_over: Vec::new(),
        };
        let minors: Vec<u32> =
            request.minor().map_or_else(|| pins::PYTHON_MINORS.to_vec(), |minor| vec![minor]);
        minors.into_iter().find_map(|minor| search.newest(minor)).ok_or(ProvisionError::NoPython {
            wanted: request.to_string(),
            passed_over: search.passed_over,
        })
    }

    fn configured_python(
        &self,
        path: &Path,
        request: &PythonRequest,
        progress: &mut dyn Progress,
    ) -> Result<PythonRuntime, ProvisionError> {
        let unusable =
            |why| ProvisionError::Unusable { what: "python", path: path.to_owned(), why };
        let path = versions::behind_shim(path, &self.config.python_versions)
            .into_iter()
            .next()
            .unwrap_or_else(|| path.to_owned());
        let python = self.examine_python(&path, Source::Configured, progress).map_err(unusable)?;
        if request.accepts(python.version) {
            return Ok(python);
        }
        // The parser reports an unsupported version. Otherwise the version is a different one than
        // requested.
        python.version.to_string().parse::<PythonRequest>()?;
        Err(ProvisionError::OtherVersion {
            path,
            found: python.version,
            wanted: request.to_string(),
        })
    }

    /// Examines a Python, using the cached properties if possible.
    fn examine_python(
        &self,
        path: &Path,
        source: Source,
        progress: &mut dyn Progress,
    ) -> Result<PythonRuntime, String> {
        // The link of a virtual environment leads to the interpreter itself, which then does not
        // use the environment.
        let mut program = fs::canonicalize(path).map_err(|error| error.to_string())?;
        // A script or a launcher names the actual interpreter, and a virtual environment made of
        // copies names its base.
        for _ in 0..4 {
            let stamp = FileStamp::of(&program).map_err(|error| error.to_string())?;
            if let Some(probe) =
                self.cache.recall::<Probe>("python", &program, stamp).filter(Probe::is_current)
            {
                return Ok(self.python_of(probe, program, source));
            }
            progress.step(Step::Probing { path: &program });
            let answer = interpreter::ask(&program, &["-I", "-S", "-c", PROBE])?;
            let answer: Answer = serde_json::from_slice(&answer)
                .map_err(|_| "it does not answer like Python 3".to_owned())?;
            if answer.implementation != "cpython" {
                return Err(format!("it is {}, not CPython", answer.implementation));
            }
            if answer.level.as_deref().is_some_and(|level| level != "final") {
                return Err(format!("it is a preview of {}", answer.version));
            }
            let real = fs::canonicalize(&answer.executable).map_err(|error| error.to_string())?;
            if real != program {
                program = real;
                continue;
            }
            let probe = Probe::new(&program, answer).map_err(|error| error.to_string())?;
            self.cache.remember("python", &program, stamp, &probe);
            return Ok(self.python_of(probe, program, source));
        }
        Err("it starts another program, which starts another".to_owned())
    }

    fn python_of(&self, probe: Probe, executable: PathBuf, source: Source) -> PythonRuntime {
        let home = self.config.home.as_deref();
        PythonRuntime {
            version: probe.version,
            executable,
            stdlib: probe.stdlib,
            libpython: probe.libpython.map(|library| library.path),
            library_mounts: interpreter::library_mounts(&probe.libraries, home),
            source,
            identity: probe.identity,
            packages: probe.packages,
            headers: probe.headers,
            extensions: probe.extensions,
            prefix: probe.prefix,
        }
    }
}

impl Probe {
    fn new(program: &Path, answer: Answer) -> std::io::Result<Self> {
        let is_libpython = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libpython3."))
        };
        let libpython = match answer.libraries.iter().find(|path| is_libpython(path)) {
            Some(path) => Some(Library { path: path.clone(), stamp: FileStamp::of(path)? }),
            None => None,
        };
        let identity =
            Identity::of_files(program, libpython.iter().map(|library| library.path.as_path()))?;
        Ok(Self {
            version: answer.version,
            // The interpreter's own library is shown separately, and libraries that extensions load
            // from the standard library are shown with it.
            libraries: Library::beyond(
                Some(&answer.stdlib),
                &answer
                    .libraries
                    .iter()
                    .filter(|path| !is_libpython(path))
                    .cloned()
                    .collect::<Vec<_>>(),
            ),
            prefix: answer.prefix,
            stdlib: answer.stdlib,
            extensions: answer.extensions,
            packages: answer.packages,
            headers: answer.headers,
            libpython,
            identity,
        })
    }
}

impl Search<'_> {
    /// Returns the newest patch of a minor version that meets the request. Of equal ones, the one
    /// on PATH is preferred.
    fn newest(&mut self, minor: u32) -> Option<PythonRuntime> {
        let plain = match self.plain.take() {
            Some(plain) => plain,
            None => self.on_path("python3"),
        };
        let mut found: Vec<PythonRuntime> = self.on_path(&format!("python3.{minor}"));
        found.extend(plain.iter().filter(|python| python.version.minor == minor).cloned());
        self.plain = Some(plain);
        let folders = &self.provisioner.config.python_versions.installations;
        let installed = versions::installed(folders, &PythonRequest::of_minor(minor));
        found.extend(
            installed.iter().filter_map(|path| self.consider(path, Source::VersionManager)),
        );
        let accepted = found
            .into_iter()
            .filter(|python| python.version.minor == minor && self.request.accepts(python.version));
        accepted.reduce(|best, other| if other.version > best.version { other } else { best })
    }

    fn on_path(&mut self, name: &str) -> Vec<PythonRuntime> {
        let folders = &self.provisioner.config.search_path;
        let mut found = Vec::new();
        for path in interpreter::on_path(folders, name) {
            let behind = versions::behind_shim(&path, &self.provisioner.config.python_versions);
            let paths = if behind.is_empty() { vec![path] } else { behind };
            found.extend(paths.iter().filter_map(|path| self.consider(path, Source::Path)));
        }
        found
    }

    fn consider(&mut self, path: &Path, source: Source) -> Option<PythonRuntime> {
        let program = fs::canonicalize(path).ok()?;
        if self.seen.contains(&program) {
            return None;
        }
        self.seen.push(program);
        match self.provisioner.examine_python(path, source, self.progress) {
            Ok(python) if PythonRequest::default().accepts(python.version) => {
                if !self.request.accepts(python.version) {
                    self.passed_over.push(format!("{} is {}", path.display(), python.version));
                }
                return Some(python);
            }
            Ok(python) => {
                self.passed_over.push(format!("{} is {}", path.display(), python.version));
            }
            Err(why) => self.passed_over.push(format!("{}: {why}", path.display())),
        }
        None
    }
}
