//! The installers, each in a jail of its own: it sees the runtime that it installs for, the project that is written here, its own downloads and the folder
//! that it fills. The network is the host's while packages are fetched; an egress layer will narrow it to the registries (`network` below is the seam).

mod gate;
mod pnpm;
mod secrets;
mod uv;
mod wheels;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belljar_engine::{Check, Engine, FolderAccess, Runtime, TOOL_HOME, Tool, ToolEnd, ToolFolder, ToolLimits, ToolNetwork};
use belljar_provision::{Provisioner, ProxyUse};
use tokio::sync::mpsc;

use crate::config::EnvironmentsConfig;
use crate::environments::Tell;
use crate::error::EnvironmentError;
use crate::lock::{Lock, LockedPackage};
use crate::printable::printable;
use crate::requirement::{Ecosystem, Requirement};
use crate::store::{Staging, Store, io_error};
use crate::tree::{TooMuch, TreeLimits, measure};

/// Where a jail has the project, that is the manifest and the lock.
const PROJECT: &str = "/belljar/project";
/// Where it has what the installer keeps for itself.
const DOWNLOADS: &str = "/belljar/downloads";
/// Where it has the certificate authorities that the configuration names.
const CERTIFICATES: &str = "/belljar/certificates.pem";
/// What the lines begin with in which an installer says what it does, and how many of them are kept.
const TRACE: &str = "DEBUG ";
const MAX_TRACE: usize = 20_000;
/// The lines of an installer that are kept for an error.
const MOST_LINES: usize = 200;
/// Of one installer, what is told to those who wait.
const MOST_TOLD: usize = 1000;
/// A disk that is as full is left alone. What is open and has no name any more is seen only by this.
const LEAST_FREE_BYTES: u64 = 256 << 20;
/// What all installers together may add to the downloads while one runs, beyond four environments.
const DOWNLOADS_GROWTH: u64 = 1 << 30;

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
    pub(crate) store: &'a Arc<Store>,
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

/// A lock, and what there is to say of it.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) lock: Lock,
    pub(crate) notes: Vec<String>,
}

/// One package that is kept for all environments, or, without a requirement, the virtual environment that they have in common.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) key: String,
    /// `name==version --hash=...`
    pub(crate) requirement: String,
    pub(crate) package: Option<LockedPackage>,
}

/// Packages that an installer has put into its staging folder, each by itself.
pub(crate) struct InstalledPackages {
    pub(crate) staging: Staging,
    /// The folder of each part, in order.
    pub(crate) roots: Vec<PathBuf>,
    /// Links in them to the host that are fine.
    pub(crate) may_point_to: Vec<PathBuf>,
    pub(crate) leaves: fn(&Path) -> bool,
}

impl Job<'_> {
    /// Installs packages, each by itself. Of Python only.
    pub(crate) async fn install_packages(&self, parts: &[Part]) -> Result<InstalledPackages, EnvironmentError> {
        uv::install_packages(self, parts).await
    }

    /// Resolves requirements. Of those that are optional, an old version will do.
    pub(crate) async fn resolve(
        &self,
        ecosystem: Ecosystem,
        requirements: &[Requirement],
        optional: &BTreeSet<String>,
    ) -> Result<Resolved, EnvironmentError> {
        (self.tell)("resolving packages".to_owned());
        match ecosystem {
            Ecosystem::PyPi => wheels::resolve(self, requirements, optional).await,
            Ecosystem::Npm => Ok(Resolved { lock: pnpm::resolve(self, requirements).await?, notes: Vec::new() }),
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
        let provisioner = if self.rules.offline { Arc::new(self.provisioner.offline()) } else { Arc::clone(self.provisioner) };
        let found = tokio::task::spawn_blocking(move || find(&provisioner)).await;
        found.map_err(|_| EnvironmentError::Internal("finding the installer panicked".into()))?.map_err(EnvironmentError::Installer)
    }

    /// A project in a new staging folder, with these files.
    async fn project(&self, files: &[(&str, &str)]) -> Result<Staging, EnvironmentError> {
        let files: Vec<(String, String)> = files.iter().map(|&(name, content)| (name.to_owned(), content.to_owned())).collect();
        self.store
            .off_the_async_threads(move |store| {
                let staging = store.stage()?;
                for folder in ["project", "root"] {
                    let path = staging.path().join(folder);
                    fs::create_dir(&path).map_err(io_error("create", &path))?;
                }
                for (name, content) in files {
                    let path = staging.path().join("project").join(name);
                    fs::write(&path, content).map_err(io_error("write", &path))?;
                }
                Ok(staging)
            })
            .await
    }

    /// A tool that works on a project.
    fn tool(
        &self,
        program: &Path,
        shows: &[PathBuf],
        staging: &Staging,
        place: &Path,
        downloads: Downloads,
    ) -> Result<Tool, EnvironmentError> {
        let downloads = match downloads {
            Downloads::Shared(name) => {
                self.store.folder("downloads")?;
                Some(self.store.folder(&format!("downloads/{name}"))?)
            }
            Downloads::ThrownAway => {
                let path = staging.path().join("downloads");
                fs::create_dir_all(&path).map_err(io_error("create", &path))?;
                Some(path)
            }
            Downloads::None => None,
        };
        let folder = |outside: PathBuf, inside: &str| {
            let outside = fs::canonicalize(&outside).map_err(io_error("find", &outside))?;
            Ok::<_, EnvironmentError>(ToolFolder { outside, inside: inside.into(), access: FolderAccess::Write })
        };
        let mut folders = vec![folder(staging.path().join("project"), PROJECT)?];
        if let Some(downloads) = downloads {
            folders.push(folder(downloads, DOWNLOADS)?);
        }
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
            [("HOME", TOOL_HOME), ("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("TMPDIR", "/tmp")]
                .map(|(name, value)| (name.into(), value.into()))
                .into();
        let mut files = Vec::new();
        if !certificates.is_empty() {
            files.push((PathBuf::from(CERTIFICATES), certificates));
            for name in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
                variables.insert(name.to_owned(), CERTIFICATES.to_owned());
            }
        }
        if self.config.provision.proxy == ProxyUse::FromEnvironment {
            variables.extend(secrets::proxies());
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

    /// Runs an installer. Gives the last lines that it wrote; each line is shown to `read` as it comes.
    async fn run(&self, tool: Tool, staging: &Staging, read: fn(&str) -> Option<String>) -> Result<Ran, EnvironmentError> {
        let (sender, mut lines) = mpsc::channel(64);
        let downloads = self.store.root().join("downloads");
        let has_downloads = tool.folders.iter().any(|folder| folder.outside.starts_with(fs::canonicalize(&downloads).unwrap_or_default()));
        let in_use = if has_downloads { Some(self.use_downloads().await?) } else { None };
        let check = watch(staging.clone(), self.limits(), in_use.map(|in_use| (downloads, in_use)));
        let secrets = secrets::of(&self.config.provision);
        let mut running = std::pin::pin!(self.engine.run_tool(tool, sender, check));
        let (mut last, mut told, mut told_last) = (VecDeque::new(), 0, String::new());
        let mut trace = Vec::new();
        let mut take = |line: String| {
            let line = secrets::without(&secrets, line);
            if let Some(step) = line.strip_prefix(TRACE) {
                if trace.len() < MAX_TRACE {
                    trace.push(step.to_owned());
                }
                return;
            }
            // Packages name themselves, and their own code may write here too.
            if let Some(message) =
                read(&line).map(|message| printable(&message)).filter(|message| told < MOST_TOLD && *message != told_last)
            {
                told += 1;
                told_last.clone_from(&message);
                (self.tell)(message);
            }
            if last.len() == MOST_LINES {
                last.pop_front();
            }
            last.push_back(line);
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
            ToolEnd::Exited(code) => Ok(Ran { is_success: code == 0, lines: last.into(), trace }),
            ToolEnd::Stopped(why) => Err(EnvironmentError::Stopped(why)),
        }
    }

    /// Off the async threads: it may clear them first.
    async fn use_downloads(&self) -> Result<fs::File, EnvironmentError> {
        let most = self.config.most_bytes / 2;
        self.store.off_the_async_threads(move |store| store.use_downloads(most)).await
    }

    fn limits(&self) -> TreeLimits {
        TreeLimits { files: self.config.limits.files, bytes: self.config.limits.environment_bytes }
    }
}

/// The downloads that an installer is given.
#[derive(Clone, Copy)]
enum Downloads {
    /// Those of its kind, which all installations share. Only installers themselves touch them.
    Shared(&'static str),
    /// Its own: what packages' own code has had its hands on is not given to the next installation.
    ThrownAway,
    /// None.
    None,
}

/// Looks whether an installer may go on. Holds the staging folder, and the downloads with the lock that keeps them, for as long as the installer runs,
/// whoever has stopped waiting for it.
fn watch(staging: Staging, limits: TreeLimits, downloads: Option<(PathBuf, fs::File)>) -> Check {
    // What is still being unpacked counts too, and a copy of it.
    let twice = TreeLimits { files: limits.files.saturating_mul(2), bytes: limits.bytes.saturating_mul(2) };
    let unlimited = TreeLimits { files: u64::MAX, bytes: u64::MAX };
    let (mut most_downloaded, mut asked) = (None, 0_u32);
    Box::new(move || {
        let free = rustix::fs::statvfs(staging.path()).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if free < LEAST_FREE_BYTES {
            return Some(format!("less than {} MB are left on the disk", LEAST_FREE_BYTES >> 20));
        }
        asked += 1;
        // All of them are looked through: less often.
        if let Some((downloads, _in_use)) = downloads.as_ref().filter(|_| asked % 8 == 1) {
            let most = *most_downloaded.get_or_insert_with(|| {
                let already = measure(downloads, unlimited).unwrap_or(0);
                already.saturating_add(limits.bytes.saturating_mul(4)).saturating_add(DOWNLOADS_GROWTH)
            });
            if measure(downloads, TreeLimits { bytes: most, ..unlimited }) == Err(TooMuch::Bytes) {
                return Some("what it downloads unpacks to far more than an environment may hold".to_owned());
            }
        }
        match measure(staging.path(), twice) {
            Ok(_) => None,
            Err(TooMuch::Bytes) => Some(format!("it wrote more than {} MB", limits.bytes >> 20)),
            Err(TooMuch::Files) => Some(format!("it wrote more than {} files", limits.files)),
            Err(TooMuch::Depth) => Some("it wrote folders that are nested too deep".to_owned()),
            Err(TooMuch::Unreadable) => Some("what it wrote cannot be looked at".to_owned()),
        }
    })
}

/// An installer that has ended by itself.
struct Ran {
    is_success: bool,
    lines: Vec<String>,
    /// What it says of its own steps, where it was told to.
    trace: Vec<String>,
}

/// Reads a file that an installer was to write. What is none, or leads elsewhere, is as good as no lock.
fn read_back(staging: &Staging, name: &str) -> Result<String, EnvironmentError> {
    use rustix::fs::{FileType, Mode, OFlags, RawMode, fstat};
    let path = staging.path().join("project").join(name);
    let missing = || EnvironmentError::Resolution(format!("the installer left no {name}"));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|_| missing())?;
    let is_file = fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode as RawMode) == FileType::RegularFile);
    if !is_file {
        return Err(missing());
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(fs::File::from(file), crate::lock::MOST_LOCK_BYTES as u64 + 1), &mut text)
        .map_err(|_| missing())?;
    Ok(text)
}

/// Exchanges a file of the project between two tools.
fn rewrite(staging: &Staging, name: &str, content: &str) -> Result<(), EnvironmentError> {
    let path = staging.path().join("project").join(name);
    fs::remove_file(&path).map_err(io_error("remove", &path))?;
    // A new one, whatever has been put in the place of the old one.
    let mut file = fs::File::options().write(true).create_new(true).open(&path).map_err(io_error("create", &path))?;
    Ok(std::io::Write::write_all(&mut file, content.as_bytes()).map_err(io_error("write", &path))?)
}

/// Whether a text has a name followed by these words, and not as the end of a longer name.
fn has_name(text: &str, name: &str, then: &str) -> bool {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || "-_.@/".contains(character);
    let words = format!("{name}{then}");
    text.match_indices(&words).any(|(at, _)| !text[..at].ends_with(is_of_name))
}
