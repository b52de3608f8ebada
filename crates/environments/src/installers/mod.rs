//! The installers, each in a jail of its own: it sees the runtime that it installs for, the project that is written here, its own downloads and the folder
//! that it fills. The network is the host's while packages are fetched; an egress layer will narrow it to the registries (`network` below is the seam).

mod pnpm;
mod uv;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use belljar_engine::{Check, Engine, FolderAccess, Runtime, TOOL_HOME, Tool, ToolEnd, ToolFolder, ToolLimits, ToolNetwork};
use belljar_provision::Provisioner;
use tokio::sync::mpsc;

use crate::config::EnvironmentsConfig;
use crate::environments::Tell;
use crate::error::EnvironmentError;
use crate::lock::Lock;
use crate::requirement::{Ecosystem, Requirement};
use crate::store::{Staging, Store, io_error};
use crate::tree::size_within;

/// Where a jail has the project, that is the manifest and the lock.
const PROJECT: &str = "/belljar/project";
/// Where it has what the installer keeps for itself.
const DOWNLOADS: &str = "/belljar/downloads";
/// Where it has the certificate authorities that the configuration names.
const CERTIFICATES: &str = "/belljar/certificates.pem";
/// The lines of an installer that are kept for an error.
const MOST_LINES: usize = 200;

/// How packages are to be resolved and installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// Versions that are younger do not count, days.
    pub(crate) minimum_release_age_days: u32,
    /// Whether packages' own code may run to build them.
    pub(crate) allow_build: bool,
    /// Whether nothing is fetched.
    pub(crate) offline: bool,
}

/// One job for an installer: what it is given, and who is told.
pub(crate) struct Job<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) provisioner: &'a Arc<Provisioner>,
    pub(crate) config: &'a EnvironmentsConfig,
    pub(crate) store: &'a Store,
    pub(crate) runtime: &'a Runtime,
    pub(crate) rules: Rules,
    pub(crate) tell: &'a Tell,
}

/// What an installer has put into its staging folder.
pub(crate) struct Installed {
    pub(crate) staging: Staging,
    /// The folder that becomes the environment.
    pub(crate) root: PathBuf,
    /// Links in it to the host that are fine.
    pub(crate) may_point_to: Vec<PathBuf>,
    pub(crate) leaves: fn(&Path) -> bool,
}

impl Job<'_> {
    /// Resolves requirements.
    pub(crate) async fn resolve(&self, ecosystem: Ecosystem, requirements: &[Requirement]) -> Result<Lock, EnvironmentError> {
        (self.tell)("resolving packages".to_owned());
        match ecosystem {
            Ecosystem::PyPi => uv::resolve(self, requirements).await,
            Ecosystem::Npm => pnpm::resolve(self, requirements).await,
        }
    }

    /// Installs what a lock says.
    pub(crate) async fn install(&self, lock: &Lock) -> Result<Installed, EnvironmentError> {
        match lock.ecosystem {
            Ecosystem::PyPi => uv::install(self, lock).await,
            Ecosystem::Npm => pnpm::install(self, lock).await,
        }
    }

    /// Provisions an installer. Off the async threads: it may fetch.
    async fn provision<T: Send + 'static>(
        &self,
        find: impl FnOnce(&Provisioner) -> Result<T, belljar_provision::ProvisionError> + Send + 'static,
    ) -> Result<T, EnvironmentError> {
        let provisioner = Arc::clone(self.provisioner);
        let found = tokio::task::spawn_blocking(move || find(&provisioner)).await;
        found.map_err(|_| EnvironmentError::Internal("finding the installer panicked".into()))?.map_err(EnvironmentError::Installer)
    }

    /// A project in a new staging folder, with these files.
    fn project(&self, files: &[(&str, &str)]) -> Result<Staging, EnvironmentError> {
        let staging = self.store.stage()?;
        for folder in ["project", "root"] {
            let path = staging.path().join(folder);
            fs::create_dir(&path).map_err(io_error("create", &path))?;
        }
        for (name, content) in files {
            let path = staging.path().join("project").join(name);
            fs::write(&path, content).map_err(io_error("write", &path))?;
        }
        Ok(staging)
    }

    /// A tool that works on a project.
    fn tool(&self, program: &Path, shows: &[PathBuf], staging: &Staging, place: &Path, downloads: &str) -> Result<Tool, EnvironmentError> {
        // What packages' own code has had its hands on is not given to the next installation.
        let downloads = if self.rules.allow_build {
            let path = staging.path().join("downloads");
            fs::create_dir_all(&path).map_err(io_error("create", &path))?;
            path
        } else {
            self.store.folder("downloads")?;
            self.store.folder(&format!("downloads/{downloads}"))?
        };
        let folder = |outside: PathBuf, inside: &str| {
            let outside = fs::canonicalize(&outside).map_err(io_error("find", &outside))?;
            Ok::<_, EnvironmentError>(ToolFolder { outside, inside: inside.into(), access: FolderAccess::Write })
        };
        let mut folders = vec![
            folder(staging.path().join("project"), PROJECT)?,
            folder(downloads, DOWNLOADS)?,
        ];
        if !place.starts_with(PROJECT) {
            folders.push(folder(staging.path().join("root"), &place.display().to_string())?);
        }
        let trust = &self.config.provision.trust;
        let mut certificates = Vec::new();
        let own = [self.config.provision.python_index.ca_file(), self.config.provision.registry.ca_file()];
        for file in trust.file.iter().chain(&trust.extra).map(PathBuf::as_path).chain(own.into_iter().flatten()) {
            certificates.extend(fs::read(file).map_err(io_error("read", file))?);
            certificates.push(b'\n');
        }
        let mut variables: BTreeMap<String, String> =
            [("HOME", TOOL_HOME), ("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("TMPDIR", "/tmp")].map(|(name, value)| (name.into(), value.into())).into();
        let mut files = Vec::new();
        if !certificates.is_empty() {
            files.push((PathBuf::from(CERTIFICATES), certificates));
            for name in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
                variables.insert(name.to_owned(), CERTIFICATES.to_owned());
            }
        }
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"].map(str::to_owned).into_iter().flat_map(|name| [name.to_lowercase(), name]) {
            if let Ok(value) = std::env::var(&name) {
                variables.insert(name, value);
            }
        }
        let limits = self.config.limits;
        Ok(Tool {
            program: program.to_owned(),
            arguments: Vec::new(),
            variables,
            shows: shows.to_vec(),
            folders,
            files,
            network: if self.rules.offline { ToolNetwork::None } else { ToolNetwork::Host },
            limits: ToolLimits {
                time: limits.time,
                memory_bytes: limits.memory_bytes,
                processes: 256,
                scratch_bytes: 1 << 30,
                file_bytes: limits.environment_bytes,
            },
        })
    }

    /// Runs an installer. Gives the last lines that it wrote; each line is shown to `read` as it comes. Where it fails, `explain` says what its lines
    /// mean.
    async fn run(&self, tool: Tool, staging: &Staging, read: fn(&str) -> Option<String>) -> Result<Ran, EnvironmentError> {
        let (sender, mut lines) = mpsc::unbounded_channel();
        let (folder, most) = (staging.path().to_owned(), self.config.limits.environment_bytes);
        let check: Check = Box::new(move || {
            // Files that an installer is still unpacking count too, and a copy of each.
            size_within(&folder, most.saturating_mul(2)).is_none().then(|| format!("it wrote more than {} MB", most >> 20))
        });
        let mut running = std::pin::pin!(self.engine.run_tool(tool, sender, check));
        let mut last = Vec::new();
        let mut take = |line: String| {
            if let Some(message) = read(&line) {
                (self.tell)(message);
            }
            if last.len() == MOST_LINES {
                last.remove(0);
            }
            last.push(line);
        };
        let end = loop {
            tokio::select! {
                biased;
                Some(line) = lines.recv() => take(line),
                end = &mut running => break end?,
            }
        };
        while let Ok(line) = lines.try_recv() {
            take(line);
        }
        match end {
            ToolEnd::Exited(code) => Ok(Ran { is_success: code == 0, lines: last }),
            ToolEnd::Stopped(why) => Err(EnvironmentError::Stopped(why)),
        }
    }
}

/// An installer that has ended by itself.
struct Ran {
    is_success: bool,
    lines: Vec<String>,
}

/// Reads a file that an installer was to write.
fn read_back(staging: &Staging, name: &str) -> Result<String, EnvironmentError> {
    use rustix::fs::{Mode, OFlags};
    let path = staging.path().join("project").join(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| io_error("read", &path)(error.into()))?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(fs::File::from(file), crate::lock::MOST_LOCK_BYTES as u64 + 1), &mut text)
        .map_err(io_error("read", &path))?;
    Ok(text)
}

/// How long one more try may be worth waiting for: installers try again by themselves.
pub(crate) const DEFAULT_TIME: Duration = Duration::from_mins(10);
