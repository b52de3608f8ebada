//! The installers, each in a jail of its own. The jail shows the runtime, the project, the
//! installer's downloads and the folder to be filled. The network is the host's while packages are
//! fetched. An egress layer will restrict it to the registries (at `network` below).

mod gate;
mod pnpm;
mod secrets;
mod uv;
mod wheels;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belljar_engine::{
    Check, Engine, FolderAccess, Runtime, TOOL_HOME, Tool, ToolEnd, ToolFolder, ToolLimits,
    ToolNetwork,
};
use belljar_provision::{ProvisionError, Provisioner, ProxyUse};
use tokio::sync::mpsc;

use crate::config::EnvironmentsConfig;
use crate::error::EnvironmentError;
use crate::folder_error::io_error;
use crate::lock::{Lock, LockedPackage};
use crate::progress::Tell;
use crate::requirement::{Ecosystem, Requirement};
use crate::sanitize::sanitize;
use crate::store::Store;
use crate::store::staging::Staging;
use crate::tree::{TooMuch, TreeLimits, measure};

/// The place of the project in the jail, which consists of the manifest and the lock.
const PROJECT: &str = "/belljar/project";
/// The place of the installer's downloads in the jail.
const DOWNLOADS: &str = "/belljar/downloads";
/// The place of the configured certificate authorities in the jail.
const CERTIFICATES: &str = "/belljar/certificates.pem";
/// The beginning of the lines in which an installer logs its steps, and the maximum number of them
/// that are kept.
const TRACE: &str = "DEBUG ";
const MAX_TRACE: usize = 20_000;
/// The maximum number of an installer's lines that are kept for an error.
const MAX_LINES: usize = 200;
/// The maximum number of progress messages of one installer.
const MAX_REPORTED: usize = 1000;
/// The free space that an installation leaves on the disk. Only this check sees files that are open
/// but have no name any more.
const MIN_FREE_BYTES: u64 = 256 << 20;
/// The bytes that all installers together may add to the downloads while one runs, in addition to
/// four environments.
const DOWNLOADS_GROWTH: u64 = 1 << 30;

/// The rules for resolving and installing packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// The minimum age of versions in days.
    pub(crate) minimum_release_age_days: u32,
    /// Whether packages' own code may run to build them.
    pub(crate) allow_build: bool,
    /// Whether fetching is disabled.
    pub(crate) offline: bool,
}

/// A job for an installer.
pub(crate) struct Job<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) provisioner: &'a Arc<Provisioner>,
    pub(crate) config: &'a EnvironmentsConfig,
    pub(crate) store: &'a Arc<Store>,
    pub(crate) runtime: &'a Runtime,
    pub(crate) rules: Rules,
    pub(crate) tell: &'a Tell,
}

/// The result of an installation.
pub(crate) struct Installed {
    pub(crate) staging: Staging,
    /// The folder that becomes the environment.
    pub(crate) root: PathBuf,
    /// The allowed targets of links to the host.
    pub(crate) may_point_to: Vec<PathBuf>,
    pub(crate) leaves: fn(&Path) -> bool,
}

/// A lock, and notes about it.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) lock: Lock,
    pub(crate) notes: Vec<String>,
}

/// A package that is stored for all environments. Without a requirement, it is the virtual
/// environment that they share.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) key: String,
    /// The requirement, `name==version --hash=...`.
    pub(crate) requirement: String,
    pub(crate) package: Option<LockedPackage>,
}

/// Packages that were installed separately.
pub(crate) struct InstalledPackages {
    pub(crate) staging: Staging,
    /// The folder of each part, in order.
    pub(crate) roots: Vec<PathBuf>,
    /// The allowed targets of links to the host.
    pub(crate) may_point_to: Vec<PathBuf>,
    pub(crate) leaves: fn(&Path) -> bool,
}

impl Job<'_> {
    /// Installs Python packages separately.
    pub(crate) async fn install_packages(
        &self,
        parts: &[Part],
    ) -> Result<InstalledPackages, EnvironmentError> {
        uv::install_packages(self, parts).await
    }

    /// Resolves requirements. Optional packages may have old versions.
    pub(crate) async fn resolve(
        &self,
        ecosystem: Ecosystem,
        requirements: &[Requirement],
        optional: &BTreeSet<String>,
    ) -> Result<Resolved, EnvironmentError> {
        (self.tell)("resolving packages".to_owned());
        match ecosystem {
            Ecosystem::PyPi => wheels::resolve(self, requirements, optional).await,
            Ecosystem::Npm => {
                Ok(Resolved { lock: pnpm::resolve(self, requirements).await?, notes: Vec::new() })
            }
        }
    }

    /// Installs the packages of a lock.
    pub(crate) async fn install(&self, lock: &Lock) -> Result<Installed, EnvironmentError> {
        match lock.ecosystem {
            Ecosystem::PyPi => uv::install(self, lock).await,
            Ecosystem::Npm => pnpm::install(self, lock).await,
        }
    }

    /// Provisions an installer on a blocking thread, because it may be fetched.
    async fn provision<T: Send + 'static>(
        &self,
        find: impl FnOnce(&Provisioner) -> Result<T, ProvisionError> + Send + 'static,
    ) -> Result<T, EnvironmentError> {
        let provisioner = if self.rules.offline {
            Arc::new(self.provisioner.offline())
        } else {
            Arc::clone(self.provisioner)
        };
        let found = tokio::task::spawn_blocking(move || find(&provisioner)).await;
        found
            .map_err(|_| {
                EnvironmentError::Internal("the search for the installer panicked".into())
            })?
            .map_err(EnvironmentError::Installer)
    }

    /// Creates a project with files in a new staging folder.
    async fn project(&self, files: &[(&str, &str)]) -> Result<Staging, EnvironmentError> {
        let files: Vec<(String, String)> =
            files.iter().map(|&(name, content)| (name.to_owned(), content.to_owned())).collect();
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

    /// Returns a tool that works on a project.
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
            Ok::<_, EnvironmentError>(ToolFolder {
                outside,
                inside: inside.into(),
                access: FolderAccess::Write,
            })
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
        let own = [
            self.config.provision.python_index.ca_file(),
            self.config.provision.registry.ca_file(),
        ];
        for file in trust
            .file
            .iter()
            .chain(&trust.extra)
            .map(PathBuf::as_path)
            .chain(own.into_iter().flatten())
        {
            certificates.extend(fs::read(file).map_err(io_error("read", file))?);
            certificates.push(b'\n');
        }
        let mut variables: BTreeMap<String, String> = [
            ("HOME", TOOL_HOME),
            ("PATH", "/usr/bin:/bin"),
            ("LANG", "C.UTF-8"),
            ("TMPDIR", "/tmp"),
        ]
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

    /// Runs an installer, and returns the last lines that it wrote. Each line is passed to `read`
    /// when it arrives.
    async fn run(
        &self,
        tool: Tool,
        staging: &Staging,
        read: fn(&str) -> Option<String>,
    ) -> Result<Ran, EnvironmentError> {
        let (sender, mut lines) = mpsc::channel(64);
        let downloads = self.store.root().join("downloads");
        let has_downloads = tool.folders.iter().any(|folder| {
            folder.outside.starts_with(fs::canonicalize(&downloads).unwrap_or_default())
        });
        let in_use = if has_downloads { Some(self.use_downloads().await?) } else { None };
        let check = watch(staging.clone(), self.limits(), in_use.map(|in_use| (downloads, in_use)));
        let secrets = secrets::of(&self.config.provision);
        let mut running = std::pin::pin!(self.engine.run_tool(tool, sender, check));
        let (mut last, mut reported, mut last_reported) = (VecDeque::new(), 0, String::new());
        let mut trace = Vec::new();
        let mut take = |line: String| {
            let line = secrets::without(&secrets, line);
            if let Some(step) = line.strip_prefix(TRACE) {
                if trace.len() < MAX_TRACE {
                    trace.push(step.to_owned());
                }
                return;
            }
            // The text may come from packages, whose names and code are untrusted.
            if let Some(message) = read(&line)
                .map(|message| sanitize(&message))
                .filter(|message| reported < MAX_REPORTED && *message != last_reported)
            {
                reported += 1;
                last_reported.clone_from(&message);
                (self.tell)(message);
            }
            if last.len() == MAX_LINES {
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

    /// Locks the downloads on a blocking thread, because they may be removed first.
    async fn use_downloads(&self) -> Result<fs::File, EnvironmentError> {
        let most = self.config.max_total_bytes / 2;
        self.store.off_the_async_threads(move |store| store.use_downloads(most)).await
    }

    fn limits(&self) -> TreeLimits {
        TreeLimits { files: self.config.limits.files, bytes: self.config.limits.environment_bytes }
    }
}

/// The downloads of an installer.
#[derive(Clone, Copy)]
enum Downloads {
    /// A folder that all installations of this installer share. Only installers themselves access
    /// it.
    Shared(&'static str),
    /// A folder of its own: files that packages' own code could change are not passed to the next
    /// installation.
    ThrownAway,
    /// The installer gets no downloads.
    None,
}

/// Returns a check whether an installer may continue. The check holds the staging folder, and the
/// downloads with their lock, as long as the installer runs, even if its caller stops waiting.
fn watch(staging: Staging, limits: TreeLimits, downloads: Option<(PathBuf, fs::File)>) -> Check {
    // Files that are being unpacked count too, and so do their copies.
    let twice =
        TreeLimits { files: limits.files.saturating_mul(2), bytes: limits.bytes.saturating_mul(2) };
    let unlimited = TreeLimits { files: u64::MAX, bytes: u64::MAX };
    let (mut most_downloaded, mut asked) = (None, 0_u32);
    Box::new(move || {
        let free = rustix::fs::statvfs(staging.path())
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if free < MIN_FREE_BYTES {
            return Some(format!("the disk has less than {} MB left", MIN_FREE_BYTES >> 20));
        }
        asked += 1;
        // This check is rarer, because it examines all downloads.
        if let Some((downloads, _in_use)) = downloads.as_ref().filter(|_| asked % 8 == 1) {
            let most = *most_downloaded.get_or_insert_with(|| {
                let already = measure(downloads, unlimited).unwrap_or(0);
                already
                    .saturating_add(limits.bytes.saturating_mul(4))
                    .saturating_add(DOWNLOADS_GROWTH)
            });
            if measure(downloads, TreeLimits { bytes: most, ..unlimited }) == Err(TooMuch::Bytes) {
                return Some(
                    "its downloads unpack to far more than an environment may contain".to_owned(),
                );
            }
        }
        match measure(staging.path(), twice) {
            Ok(_) => None,
            Err(TooMuch::Bytes) => Some(format!("it wrote more than {} MB", limits.bytes >> 20)),
            Err(TooMuch::Files) => Some(format!("it wrote more than {} files", limits.files)),
            Err(TooMuch::Depth) => Some("it wrote folders that are nested too deeply".to_owned()),
            Err(TooMuch::Unreadable) => Some("its files cannot be read".to_owned()),
        }
    })
}

/// An installer that has exited.
struct Ran {
    is_success: bool,
    lines: Vec<String>,
    /// The log of its steps, if it was enabled.
    trace: Vec<String>,
}

/// Reads a file that an installer had to write. Anything but a regular file counts as missing.
fn read_back(staging: &Staging, name: &str) -> Result<String, EnvironmentError> {
    use rustix::fs::{FileType, Mode, OFlags, RawMode, fstat};
    let path = staging.path().join("project").join(name);
    let missing = || EnvironmentError::Resolution(format!("the installer did not write {name}"));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|_| missing())?;
    let is_file = fstat(&file).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode as RawMode) == FileType::RegularFile
    });
    if !is_file {
        return Err(missing());
    }
    let mut text = String::new();
    std::io::Read::read_to_string(
        &mut std::io::Read::take(fs::File::from(file), crate::lock::MAX_LOCK_BYTES as u64 + 1),
        &mut text,
    )
    .map_err(|_| missing())?;
    Ok(text)
}

/// Replaces a file of the project between two tools.
fn rewrite(staging: &Staging, name: &str, content: &str) -> Result<(), EnvironmentError> {
    let path = staging.path().join("project").join(name);
    fs::remove_file(&path).map_err(io_error("remove", &path))?;
    // The file is a new one, whatever has replaced the old one.
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(io_error("create", &path))?;
    Ok(std::io::Write::write_all(&mut file, content.as_bytes())
        .map_err(io_error("write", &path))?)
}

/// Returns whether a text contains a name followed by these words, but not as the end of a longer
/// name.
fn has_name(text: &str, name: &str, then: &str) -> bool {
    let is_of_name =
        |character: char| character.is_ascii_alphanumeric() || "-_.@/".contains(character);
    let words = format!("{name}{then}");
    text.match_indices(&words).any(|(at, _)| !text[..at].ends_with(is_of_name))
}
