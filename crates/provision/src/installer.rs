//! Finds the installers of packages, uv and pnpm: the configured one, the cached one, one on PATH,
//! or one that is fetched.

mod fetch;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::FileStamp;
use crate::error::ProvisionError;
use crate::install::{Archive, Installation};
use crate::integrity::Identity;
use crate::interpreter::{self, Library};
use crate::pins;
use crate::platform::Arch;
use crate::progress::{Progress, Step};
use crate::provisioner::{Provisioner, Source};
use crate::release::Release;
use crate::tool::{Build, Tool};
use crate::version::Version;

/// An installer of packages. It is a program of its own, which needs neither Python nor Node to
/// start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installer {
    /// Exact version of the installer.
    pub version: Version,
    /// Canonical path of the program itself, which is not a link, a shim or a script.
    pub program: PathBuf,
    /// Paths of the host that a jail must show at the same places for the installer to start: the
    /// program, and for rare builds the folders of shared libraries outside `/usr` and `/lib*`.
    /// Every jail shows `/usr` and `/lib*`.
    pub mounts: Vec<PathBuf>,
    /// Place where the installer was found.
    pub source: Source,
    /// Hash of the program, and of its own shared libraries if it has any.
    pub identity: Identity,
}

/// The requested installer, and what is known about it before the search.
struct Wanted<'a> {
    tool: Tool,
    configured: Option<&'a Path>,
    release: &'a Release,
    oldest: Version,
}

/// The cached properties of an installer on this machine.
#[derive(Serialize, Deserialize)]
struct Probe {
    version: Version,
    libraries: Vec<Library>,
    identity: Identity,
}

impl Provisioner {
    /// Finds or fetches uv, which installs Python packages. The order is the configured path, the
    /// cached uv, one on PATH, and the wheel from the Python index. Blocks. If everything is
    /// cached, it costs a few file reads and starts no process.
    pub fn uv(&self, progress: &mut dyn Progress) -> Result<Installer, ProvisionError> {
        let config = &self.config;
        let wanted = Wanted {
            tool: Tool::Uv,
            configured: config.uv.as_deref(),
            release: &config.uv_release,
            oldest: pins::OLDEST_UV,
        };
        self.installer(&wanted, progress, |build, into, progress| {
            self.fetch_uv(build, into, progress)
        })
    }

    /// Finds or fetches pnpm, which installs npm packages. The order is the configured path, the
    /// cached pnpm, one on PATH, and the npm package with its program for this processor. Since
    /// version 12, pnpm starts without Node. Older versions are scripts and are ignored. The
    /// `node-gyp` of a complete installation of pnpm is missing. Blocks, like [`uv`](Self::uv).
    pub fn pnpm(&self, progress: &mut dyn Progress) -> Result<Installer, ProvisionError> {
        let config = &self.config;
        let wanted = Wanted {
            tool: Tool::Pnpm,
            configured: config.pnpm.as_deref(),
            release: &config.pnpm_release,
            oldest: pins::OLDEST_PNPM,
        };
        self.installer(&wanted, progress, |build, into, progress| {
            self.fetch_pnpm(build, into, progress)
        })
    }

    fn installer(
        &self,
        wanted: &Wanted<'_>,
        progress: &mut dyn Progress,
        fetch: impl FnOnce(Build, &Path, &mut dyn Progress) -> Result<Archive, ProvisionError>,
    ) -> Result<Installer, ProvisionError> {
        let tool = wanted.tool;
        if let Some(path) = wanted.configured {
            let unusable =
                |why| ProvisionError::Unusable { what: tool.name(), path: path.to_owned(), why };
            return self
                .examine_installer(wanted, path, Source::Configured, progress)
                .map_err(unusable);
        }
        // On a machine for which nothing is published, one on PATH may still work.
        let arch = Arch::host(tool.name());
        let version = wanted.release.version;
        if let Ok(arch) = arch
            && let Some(installation) = self.cached(Build { tool, version, arch })
        {
            return Ok(Installer::fetched(version, installation));
        }
        let mut passed_over = Vec::new();
        if let Some(installer) = self.installer_on_path(wanted, &mut passed_over, progress) {
            return Ok(installer);
        }
        let build = Build { tool, version, arch: arch? };
        let installation =
            self.install(build, wanted.in_words(), passed_over, progress, |into, progress| {
                fetch(build, into, progress)
            })?;
        Ok(Installer::fetched(version, installation))
    }

    fn installer_on_path(
        &self,
        wanted: &Wanted<'_>,
        passed_over: &mut Vec<String>,
        progress: &mut dyn Progress,
    ) -> Option<Installer> {
        let mut seen = Vec::new();
        for path in interpreter::on_path(&self.config.search_path, wanted.tool.name()) {
            let Ok(program) = fs::canonicalize(&path) else { continue };
            if seen.contains(&program) {
                continue;
            }
            match self.examine_installer(wanted, &path, Source::Path, progress) {
                Ok(installer) => return Some(installer),
                Err(why) => passed_over.push(format!("{}: {why}", path.display())),
            }
            seen.push(program);
        }
        None
    }

    /// Examines an installer, using the cached properties if possible, and decides whether it can
    /// be used.
    fn examine_installer(
        &self,
        wanted: &Wanted<'_>,
        path: &Path,
        source: Source,
        progress: &mut dyn Progress,
    ) -> Result<Installer, String> {
        let kind = wanted.tool.name();
        let program = fs::canonicalize(path).map_err(|error| error.to_string())?;
        // A shim costs a shell to start, and the program behind it can change unnoticed.
        if !interpreter::is_elf(&program) {
            return Err("it is a script, and not the program itself".to_owned());
        }
        let stamp = FileStamp::of(&program).map_err(|error| error.to_string())?;
        let remembered = self
            .cache
            .recall::<Probe>(kind, &program, stamp)
            .filter(|probe| probe.libraries.iter().all(Library::is_unchanged));
        let probe = match remembered {
            Some(probe) => probe,
            None => {
                progress.step(Step::Probing { path: &program });
                let probe = Probe::of(wanted.tool, &program)?;
                self.cache.remember(kind, &program, stamp, &probe);
                probe
            }
        };
        if !wanted.accepts(probe.version) {
            return Err(format!(
                "it is version {}, and Belljar needs {} or newer, below {}",
                probe.version,
                wanted.oldest,
                wanted.next_major()
            ));
        }
        let libraries = interpreter::library_mounts(&probe.libraries, self.config.home.as_deref());
        let mounts = std::iter::once(program.clone()).chain(libraries).collect();
        Ok(Installer { version: probe.version, program, mounts, source, identity: probe.identity })
    }
}

impl Installer {
    fn fetched(version: Version, installation: Installation) -> Self {
        let Installation { program, identity, source } = installation;
        Self { version, mounts: vec![program.clone()], program, source, identity }
    }
}

impl Wanted<'_> {
    /// Returns whether this version supports everything that Belljar uses. The next major version
    /// may not.
    fn accepts(&self, version: Version) -> bool {
        version >= self.oldest && version.major < self.next_major()
    }

    /// Returns the first major version that this Belljar was not tested with.
    fn next_major(&self) -> u32 {
        self.release.version.major + 1
    }

    fn in_words(&self) -> String {
        format!("{} {} or newer, below {},", self.tool.name(), self.oldest, self.next_major())
    }
}

impl Probe {
    fn of(tool: Tool, program: &Path) -> Result<Self, String> {
        let answer = interpreter::ask(program, &["--version"])?;
        let answer = String::from_utf8_lossy(&answer);
        let version = tool
            .version_in(&answer)
            .ok_or_else(|| format!("it does not answer like {}", tool.name()))?;
        let libraries = Library::beyond(None, &interpreter::libraries_of(program));
        let identity =
            Identity::of_files(program, libraries.iter().map(|library| library.path.as_path()))
                .map_err(|error| error.to_string())?;
        Ok(Self { version, libraries, identity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_old_versions_and_later_majors_are_refused() {
        for (tool, release, oldest, accepted, refused) in [
            (
                Tool::Uv,
                pins::uv(),
                pins::OLDEST_UV,
                ["0.9.17", "0.13.9", "0.99.0"],
                ["0.9.16", "0.8.30", "1.0.0"],
            ),
            (
                Tool::Pnpm,
                pins::pnpm(),
                pins::OLDEST_PNPM,
                ["12.0.0", "12.21.0", "12.99.0"],
                ["11.28.11", "10.16.0", "13.0.0"],
            ),
        ] {
            let wanted = Wanted { tool, configured: None, release: &release, oldest };
            assert!(
                accepted.iter().all(|version| wanted.accepts(version.parse().unwrap())),
                "{tool:?}"
            );
            assert!(
                !refused.iter().any(|version| wanted.accepts(version.parse().unwrap())),
                "{tool:?}"
            );
        }
    }
}
