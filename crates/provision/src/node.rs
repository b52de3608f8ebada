//! Finds Node: the configured one, the cached one, one on PATH, or one that is fetched.

mod fetch;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::FileStamp;
use crate::error::ProvisionError;
use crate::install::Installation;
use crate::integrity::Identity;
use crate::interpreter::{self, Library};
use crate::platform::Arch;
use crate::progress::{Progress, Step};
use crate::provisioner::{Provisioner, Source};
use crate::request::NodeRequest;
use crate::tool::{Build, Tool};
use crate::version::Version;

/// A Node that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRuntime {
    /// Exact version of the Node.
    pub version: Version,
    /// Canonical path of the program itself, which is neither a link nor a shim.
    pub executable: PathBuf,
    /// Folder above the program's `bin`.
    pub prefix: PathBuf,
    /// Place where the Node was found.
    pub source: Source,
    /// Hash of the program, and of its own shared libraries if it has any.
    pub identity: Identity,
    /// Folders (or files) outside of `/usr` and `/lib*` with libraries that the program loads.
    /// Empty except for rare builds.
    pub library_mounts: Vec<PathBuf>,
}

impl NodeRuntime {
    /// Returns the paths of the host that a jail must show at the same places for this Node to
    /// start: the program, which needs nothing else of its prefix, and for rare builds the folders
    /// of shared libraries outside of `/usr` and `/lib*`. Every jail shows `/usr` and `/lib*`.
    pub fn mounts(&self) -> Vec<PathBuf> {
        std::iter::once(self.executable.clone())
            .chain(self.library_mounts.iter().cloned())
            .collect()
    }
}

impl NodeRuntime {
    fn fetched(version: Version, installation: Installation) -> Self {
        let Installation { program, identity, source } = installation;
        Self {
            version,
            prefix: prefix_of(&program),
            executable: program,
            source,
            identity,
            library_mounts: Vec::new(),
        }
    }
}

/// A script that prints the properties of the Node. The libraries are those that are actually
/// mapped, which are the ones that a jail has to show.
const PROBE: &str = r#"
const maps = require("fs").readFileSync("/proc/self/maps", "utf8").split("\n");
const libraries = maps.map((line) => line.match(/^(?:\S+\s+){5}(\/.*\.so(?:\.[^/]*)?)$/)?.[1]).filter(Boolean);
process.stdout.write(JSON.stringify({ version: process.versions.node, executable: process.execPath, libraries: [...new Set(libraries)] }));
"#;

/// The answer of Node.
#[derive(Deserialize)]
struct Answer {
    version: Version,
    executable: PathBuf,
    libraries: Vec<PathBuf>,
}

/// The cached properties of a Node on this machine.
#[derive(Serialize, Deserialize)]
struct Probe {
    version: Version,
    libraries: Vec<Library>,
    identity: Identity,
}

impl Provisioner {
    /// Finds or fetches a Node that meets the request. The order is the configured path, the cached
    /// Node, one on PATH, the mirror if one is configured, and the npm package. Blocks. If
    /// everything is cached, it costs a few file reads and starts no process.
    pub fn node(
        &self,
        request: &NodeRequest,
        progress: &mut dyn Progress,
    ) -> Result<NodeRuntime, ProvisionError> {
        if let Some(path) = &self.config.node {
            return self.configured_node(path, request, progress);
        }
        // On a machine for which nothing is published, a Node on PATH may still work.
        let arch = Arch::host("node");
        let version = request.pinned();
        if let Ok(arch) = arch
            && let Some(installation) = self.cached(Build { tool: Tool::Node, version, arch })
        {
            return Ok(NodeRuntime::fetched(version, installation));
        }
        let mut passed_over = Vec::new();
        if let Some(node) = self.node_on_path(request, &mut passed_over, progress) {
            return Ok(node);
        }
        let build = Build { tool: Tool::Node, version, arch: arch? };
        let installation =
            self.install(build, request.to_string(), passed_over, progress, |into, progress| {
                self.fetch_node(build, into, progress)
            })?;
        Ok(NodeRuntime::fetched(version, installation))
    }

    fn configured_node(
        &self,
        path: &Path,
        request: &NodeRequest,
        progress: &mut dyn Progress,
    ) -> Result<NodeRuntime, ProvisionError> {
        let unusable = |why| ProvisionError::Unusable { what: "node", path: path.to_owned(), why };
        let node = self.examine_node(path, Source::Configured, progress).map_err(unusable)?;
        if request.accepts(node.version) {
            return Ok(node);
        }
        // The parser reports an unsupported version. Otherwise the version is a different one than
        // requested.
        node.version.to_string().parse::<NodeRequest>()?;
        Err(ProvisionError::OtherVersion {
            path: path.to_owned(),
            found: node.version,
            wanted: request.to_string(),
        })
    }

    fn node_on_path(
        &self,
        request: &NodeRequest,
        passed_over: &mut Vec<String>,
        progress: &mut dyn Progress,
    ) -> Option<NodeRuntime> {
        let mut seen = Vec::new();
        for path in interpreter::on_path(&self.config.search_path, "node") {
            let Ok(program) = fs::canonicalize(&path) else { continue };
            if seen.contains(&program) {
                continue;
            }
            // Shims that are scripts cost a shell to start, and the program behind them can change
            // unnoticed.
            let examined = if interpreter::is_elf(&program) {
                self.examine_node(&path, Source::Path, progress)
            } else {
                Err("it is a script".to_owned())
            };
            match examined {
                Ok(node) if request.accepts(node.version) => return Some(node),
                Ok(node) => passed_over.push(format!("{} is {}", path.display(), node.version)),
                Err(why) => passed_over.push(format!("{}: {why}", path.display())),
            }
            seen.push(program);
        }
        None
    }

    /// Examines a Node, using the cached properties if possible.
    fn examine_node(
        &self,
        path: &Path,
        source: Source,
        progress: &mut dyn Progress,
    ) -> Result<NodeRuntime, String> {
        let mut program = fs::canonicalize(path).map_err(|error| error.to_string())?;
        // A launcher, such as Volta's, which is a program of its own, names the actual Node. Two
        // steps are one more than any launcher needs.
        for _ in 0..3 {
            let stamp = FileStamp::of(&program).map_err(|error| error.to_string())?;
            if let Some(probe) = self
                .cache
                .recall::<Probe>("node", &program, stamp)
                .filter(|probe| probe.libraries.iter().all(Library::is_unchanged))
            {
                return Ok(self.node_of(probe, program, source));
            }
            progress.step(Step::Probing { path: &program });
            let answer = interpreter::ask(&program, &["-e", PROBE])?;
            let answer: Answer = serde_json::from_slice(&answer)
                .map_err(|_| "it does not answer like Node".to_owned())?;
            let real = fs::canonicalize(&answer.executable).map_err(|error| error.to_string())?;
            if real != program {
                program = real;
                continue;
            }
            let libraries = Library::beyond(None, &answer.libraries);
            let identity = Identity::of_files(
                &program,
                libraries.iter().map(|library| library.path.as_path()),
            )
            .map_err(|error| error.to_string())?;
            let probe = Probe { version: answer.version, libraries, identity };
            self.cache.remember("node", &program, stamp, &probe);
            return Ok(self.node_of(probe, program, source));
        }
        Err("it starts another program, which starts another".to_owned())
    }

    fn node_of(&self, probe: Probe, executable: PathBuf, source: Source) -> NodeRuntime {
        NodeRuntime {
            version: probe.version,
            prefix: prefix_of(&executable),
            source,
            identity: probe.identity,
            library_mounts: interpreter::library_mounts(
                &probe.libraries,
                self.config.home.as_deref(),
            ),
            executable,
        }
    }
}

fn prefix_of(executable: &Path) -> PathBuf {
    executable.parent().and_then(Path::parent).unwrap_or(Path::new("/")).to_owned()
}
