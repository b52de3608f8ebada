//! Finding Python: the configured one, one on PATH (through pyenv's shims, links and virtual environments to the interpreter itself), or one
//! that a version manager has installed. None is fetched.

mod versions;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::FileStamp;
use crate::error::ProvisionError;
use crate::integrity::Identity;
use crate::interpreter::{self, Library};
use crate::progress::{Progress, Step};
use crate::request::{OLDEST_PYTHON_MINOR, PythonRequest, Version};
use crate::{Provisioner, Source};

/// A `CPython` that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonRuntime {
    /// Its exact version.
    pub version: Version,
    /// The program itself: canonical, neither a link, a shim nor a virtual environment's.
    pub executable: PathBuf,
    /// `sys.base_prefix`, canonical. A virtual environment is never used, so `sys.prefix` is the same.
    pub prefix: PathBuf,
    /// The folder of the standard library.
    pub stdlib: PathBuf,
    /// The shared library of the interpreter, where it is not part of the program.
    pub libpython: Option<PathBuf>,
    /// Folders (or files) outside the prefix, `/usr` and `/lib*` that hold libraries which the interpreter or its standard modules load.
    pub library_mounts: Vec<PathBuf>,
    /// Where it was found.
    pub source: Source,
    /// The hash of the program, and of `libpython` where there is one.
    pub identity: Identity,
    /// Folders for packages, whether or not they are there: none of this Python's own, and on a host somebody's.
    pub packages: Vec<PathBuf>,
    /// Folders of its headers, which builds of packages need.
    pub headers: Vec<PathBuf>,
    extensions: Vec<PathBuf>,
}

impl PythonRuntime {
    /// The host paths that a jail must show, at the same places, for this Python to start and to import its standard library: the program, the standard
    /// library, `libpython` and [`library_mounts`](Self::library_mounts). Another place would make it load the wrong `libpython`. Never the whole prefix,
    /// which holds what the host's user has installed and configured. [`packages`](Self::packages) can lie beneath what is shown, and are not to be
    /// seen. A jail is taken to show `/usr` and `/lib*` anyway.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let parts = [&self.executable, &self.stdlib].into_iter().chain(&self.libpython);
        let outside = self.extensions.iter().filter(|folder| !folder.starts_with(&self.stdlib));
        let mut mounts: Vec<PathBuf> = parts.chain(outside).cloned().collect();
        mounts.extend(self.library_mounts.iter().filter(|path| !mounts.contains(path)).cloned().collect::<Vec<_>>());
        mounts
    }
}

const PROBE: &str = include_str!("python/probe.py");

/// What Python answers.
#[derive(Deserialize)]
struct Answer {
    implementation: String,
    version: Version,
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

/// What is remembered about a Python on this machine.
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
        self.libpython.iter().chain(&self.libraries).all(Library::is_unchanged) && self.stdlib.is_dir()
    }
}

/// The search for one request, with what it has found and passed over.
struct Search<'a> {
    provisioner: &'a Provisioner,
    request: &'a PythonRequest,
    progress: &'a mut dyn Progress,
    seen: Vec<PathBuf>,
    passed_over: Vec<String>,
}

impl Provisioner {
    /// Finds a Python that answers the request. Blocks; with everything remembered it costs a few file reads and starts no process.
    pub fn python(&self, request: &PythonRequest, progress: &mut dyn Progress) -> Result<PythonRuntime, ProvisionError> {
        if let Some(path) = &self.config.python {
            return self.configured_python(path, request, progress);
        }
        let mut search = Search { provisioner: self, request, progress, seen: Vec::new(), passed_over: Vec::new() };
        search
            .on_path()
            .or_else(|| search.among_installations())
            .ok_or(ProvisionError::NoPython { wanted: request.to_string(), passed_over: search.passed_over })
    }

    fn configured_python(
        &self,
        path: &Path,
        request: &PythonRequest,
        progress: &mut dyn Progress,
    ) -> Result<PythonRuntime, ProvisionError> {
        let unusable = |why| ProvisionError::Unusable { what: "python", path: path.to_owned(), why };
        let path = versions::behind_shim(path, &self.config.python_versions).into_iter().next().unwrap_or_else(|| path.to_owned());
        let python = self.examine_python(&path, Source::Configured, progress).map_err(unusable)?;
        if request.accepts(python.version) {
            return Ok(python);
        }
        // Says "not supported" where that is the reason, and "not what was asked for" else.
        python.version.to_string().parse::<PythonRequest>()?;
        Err(ProvisionError::OtherVersion { path, found: python.version, wanted: request.to_string() })
    }

    /// Finds out what a Python is, from memory if it was looked at before.
    fn examine_python(&self, path: &Path, source: Source, progress: &mut dyn Progress) -> Result<PythonRuntime, String> {
        // The link of a virtual environment leads to the interpreter itself, which then knows nothing of the environment.
        let mut program = fs::canonicalize(path).map_err(|error| error.to_string())?;
        // A script or a launcher names the real one, and a virtual environment made of copies its base.
        for _ in 0..4 {
            let stamp = FileStamp::of(&program).map_err(|error| error.to_string())?;
            if let Some(probe) = self.cache.recall::<Probe>("python", &program, stamp).filter(Probe::is_current) {
                return Ok(self.python_of(probe, program, source));
            }
            progress.step(Step::Asking { path: &program });
            let answer = interpreter::ask(&program, &["-I", "-S", "-c", PROBE])?;
            let answer: Answer = serde_json::from_slice(&answer).map_err(|_| "it does not answer like Python 3".to_owned())?;
            if answer.implementation != "cpython" {
                return Err(format!("it is {}, not CPython", answer.implementation));
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
        let is_libpython = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libpython3."));
        let libpython = match answer.libraries.iter().find(|path| is_libpython(path)) {
            Some(path) => Some(Library { path: path.clone(), stamp: FileStamp::of(path)? }),
            None => None,
        };
        let identity = Identity::of_files(program, libpython.iter().map(|library| library.path.as_path()))?;
        Ok(Self {
            version: answer.version,
            // The interpreter's own library is shown by itself, and what extensions load from its standard library with that.
            libraries: Library::beyond(
                Some(&answer.stdlib),
                &answer.libraries.iter().filter(|path| !is_libpython(path)).cloned().collect::<Vec<_>>(),
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
    fn on_path(&mut self) -> Option<PythonRuntime> {
        let named: Vec<String> = match self.request.minor() {
            Some(minor) => vec![format!("python3.{minor}"), "python3".to_owned()],
            // What `python3` is comes first; where that is too old, the newest with a name of its own.
            None => std::iter::once("python3".to_owned())
                .chain((OLDEST_PYTHON_MINOR..30).rev().map(|minor| format!("python3.{minor}")))
                .collect(),
        };
        let folders = &self.provisioner.config.search_path;
        named.iter().find_map(|name| {
            interpreter::on_path(folders, name).find_map(|path| {
                let behind = versions::behind_shim(&path, &self.provisioner.config.python_versions);
                if behind.is_empty() {
                    self.consider(&path, Source::Path)
                } else {
                    behind.iter().find_map(|path| self.consider(path, Source::Path))
                }
            })
        })
    }

    fn among_installations(&mut self) -> Option<PythonRuntime> {
        let folders = &self.provisioner.config.python_versions.installations;
        versions::installed(folders, self.request).iter().find_map(|path| self.consider(path, Source::VersionManager))
    }

    fn consider(&mut self, path: &Path, source: Source) -> Option<PythonRuntime> {
        let program = fs::canonicalize(path).ok()?;
        if self.seen.contains(&program) {
            return None;
        }
        self.seen.push(program);
        match self.provisioner.examine_python(path, source, self.progress) {
            Ok(python) if self.request.accepts(python.version) => return Some(python),
            Ok(python) => self.passed_over.push(format!("{} is {}", path.display(), python.version)),
            Err(why) => self.passed_over.push(format!("{}: {why}", path.display())),
        }
        None
    }
}
