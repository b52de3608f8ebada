//! Finding Node: the configured one, the cached one, one on PATH, or one that is fetched.

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
use crate::request::{NodeRequest, Version};
use crate::tool::{Build, Tool};
use crate::{Provisioner, Source};

/// A Node that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRuntime {
    /// Its exact version.
    pub version: Version,
    /// The program itself: canonical, neither a link nor a shim.
    pub executable: PathBuf,
    /// The folder above the program's `bin`.
    pub prefix: PathBuf,
    /// Where it was found.
    pub source: Source,
    /// The hash of the program (and of its own shared libraries, where a build has some).
    pub identity: Identity,
    /// Folders (or files) outside `/usr` and `/lib*` that hold libraries which the program loads. Empty for all but rare builds.
    pub library_mounts: Vec<PathBuf>,
}

impl NodeRuntime {
    /// The host paths that a jail must show, at the same places, for this Node to start: the program alone, for it needs nothing of its
    /// prefix; and, for the rare build with shared libraries outside `/usr` and `/lib*`, the folders of those. A jail is taken to show
    /// `/usr` and `/lib*` anyway.
    pub fn mounts(&self) -> Vec<PathBuf> {
        std::iter::once(self.executable.clone()).chain(self.library_mounts.iter().cloned()).collect()
    }
}

impl NodeRuntime {
    fn fetched(version: Version, installation: Installation) -> Self {
        let Installation { program, identity, source } = installation;
        Self { version, prefix: prefix_of(&program), executable: program, source, identity, library_mounts: Vec::new() }
    }
}

/// Prints what the Node is. The libraries are those that are really mapped, which is what a jail has to show.
const PROBE: &str = r#"
const maps = require("fs").readFileSync("/proc/self/maps", "utf8").split("\n");
const libraries = maps.map((line) => line.match(/^(?:\S+\s+){5}(\/.*\.so(?:\.[^/]*)?)$/)?.[1]).filter(Boolean);
process.stdout.write(JSON.stringify({ version: process.versions.node, executable: process.execPath, libraries: [...new Set(libraries)] }));
"#;

/// What Node answers.
#[derive(Deserialize)]
struct Answer {
    version: Version,
    executable: PathBuf,
    libraries: Vec<PathBuf>,
}

/// What is remembered about a Node on this machine.
#[derive(Serialize, Deserialize)]
struct Probe {
    version: Version,
    libraries: Vec<Library>,
    identity: Identity,
}

impl Provisioner {
    /// Finds a Node that answers the request, or fetches one: the configured path; else the cached one; else one on PATH; else the mirror, if
    /// one is configured; else the npm package. Blocks; with everything cached it costs a few file reads and starts no process.
    pub fn node(&self, request: &NodeRequest, progress: &mut dyn Progress) -> Result<NodeRuntime, ProvisionError> {
        if let Some(path) = &self.config.node {
            return self.configured_node(path, request, progress);
        }
        // On a machine that nothing is published for, a Node on PATH may still do.
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
            self.install(build, request.to_string(), passed_over, progress, |into, progress| self.fetch_node(build, into, progress))?;
        Ok(NodeRuntime::fetched(version, installation))
    }

    fn configured_node(&self, path: &Path, request: &NodeRequest, progress: &mut dyn Progress) -> Result<NodeRuntime, ProvisionError> {
        let unusable = |why| ProvisionError::Unusable { what: "node", path: path.to_owned(), why };
        let node = self.examine_node(path, Source::Configured, progress).map_err(unusable)?;
        if request.accepts(node.version) {
            return Ok(node);
        }
        // Says "not supported" where that is the reason, and "not what was asked for" else.
        node.version.to_string().parse::<NodeRequest>()?;
        Err(ProvisionError::OtherVersion { path: path.to_owned(), found: node.version, wanted: request.to_string() })
    }

    fn node_on_path(&self, request: &NodeRequest, passed_over: &mut Vec<String>, progress: &mut dyn Progress) -> Option<NodeRuntime> {
        let mut seen = Vec::new();
        for path in interpreter::on_path(&self.config.search_path, "node") {
            let Ok(program) = fs::canonicalize(&path) else { continue };
            if seen.contains(&program) {
                continue;
            }
            // Shims that are scripts cost a shell to start, and what they stand for can change without a trace.
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

    /// Finds out what a Node is, from memory if it was looked at before.
    fn examine_node(&self, path: &Path, source: Source, progress: &mut dyn Progress) -> Result<NodeRuntime, String> {
        let mut program = fs::canonicalize(path).map_err(|error| error.to_string())?;
        // A launcher (such as Volta's, a program of its own) names the real one. Two steps are one more than any needs.
        for _ in 0..3 {
            let stamp = FileStamp::of(&program).map_err(|error| error.to_string())?;
            if let Some(probe) =
                self.cache.recall::<Probe>("node", &program, stamp).filter(|probe| probe.libraries.iter().all(Library::is_unchanged))
            {
                return Ok(self.node_of(probe, program, source));
            }
            progress.step(Step::Asking { path: &program });
            let answer = interpreter::ask(&program, &["-e", PROBE])?;
            let answer: Answer = serde_json::from_slice(&answer).map_err(|_| "it does not answer like Node".to_owned())?;
            let real = fs::canonicalize(&answer.executable).map_err(|error| error.to_string())?;
            if real != program {
                program = real;
                continue;
            }
            let libraries = Library::beyond(None, &answer.libraries);
            let identity =
                Identity::of_files(&program, libraries.iter().map(|library| library.path.as_path())).map_err(|error| error.to_string())?;
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
            library_mounts: interpreter::library_mounts(&probe.libraries, self.config.home.as_deref()),
            executable,
        }
    }
}

fn prefix_of(executable: &Path) -> PathBuf {
    executable.parent().and_then(Path::parent).unwrap_or(Path::new("/")).to_owned()
}
