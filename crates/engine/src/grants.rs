//! Granted host paths. Each path is resolved once, to a descriptor, and from then on that
//! descriptor is checked, compared and mounted. A later change of what the name leads to has no
//! effect.
//!
//! The way of resolving depends on who grants. For a caller's own path symbolic links are followed,
//! as in any path that a caller opens. A path requested under the ceiling of someone else is opened
//! beneath the descriptor of the ceiling's own path, which was kept since the ceiling was set, and
//! no symbolic link is followed.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use belljar_jail::{BindAccess, BindSource, GrantPoint, HOME};
use belljar_protocol::{Exec, FsPolicy};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::carried::FOLDER;
use crate::environment::NODE_PLACE;
use crate::error::EngineError;
use crate::protected::{self, Footprint, LOCAL_PATH_HINT, Mounts, Protected, Refusal};

/// The list of the libraries that the dynamic linker loads into every program.
pub(crate) const PRELOAD: &str = "/etc/ld.so.preload";

/// The files in `/etc` that a root has of its own.
pub(crate) const OWN_FILES: [&str; 10] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/timezone",
    PRELOAD,
];

/// Paths that cannot be granted: the sandbox has them already, or needs them for itself.
const RESERVED: [&str; 10] =
    ["/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/proc", "/dev", "/sys", NODE_PLACE];

const CHECK_HINT: &str = "check the path, or omit the grant";

/// An opened file or folder of the host.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    descriptor: Arc<OwnedFd>,
    identity: Identity,
    pub(crate) is_folder: bool,
}

/// The identity of a file and of the mount that it was found on. The kernel reuses none of the
/// three numbers while a descriptor is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: (u32, u32),
    inode: u64,
    mount: u64,
}

impl Opened {
    /// Opens a path, following symbolic links.
    fn following_links(path: &Path) -> Result<Self, Refusal> {
        let descriptor =
            rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let refusal = |error| Refusal::new(io::Error::from(error).to_string(), CHECK_HINT);
        Self::of(descriptor.map_err(refusal)?)
    }

    /// Opens a path beneath a folder without following symbolic links.
    fn beneath(folder: BorrowedFd<'_>, path: &Path) -> Result<Self, Refusal> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let descriptor = rustix::fs::openat2(
            folder,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        );
        Self::of(descriptor.map_err(|error| match error {
            Errno::LOOP => Refusal::new(
                "a part of it is a symbolic link, which is not followed under a ceiling",
                "name the path that the link leads to",
            ),
            Errno::XDEV => Refusal::new(
                "it leads out of the folder that the ceiling grants",
                "name a path inside the granted folder",
            ),
            Errno::NOENT | Errno::NOTDIR => Refusal::new("no such file or folder", CHECK_HINT),
            error => Refusal::new(io::Error::from(error).to_string(), CHECK_HINT),
        })?)
    }

    fn of(descriptor: OwnedFd) -> Result<Self, Refusal> {
        let found = rustix::fs::statx(
            &descriptor,
            "",
            AtFlags::EMPTY_PATH,
            StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
        )
        .map_err(|error| Refusal::new(io::Error::from(error).to_string(), CHECK_HINT))?;
        let kind = FileType::from_raw_mode(u32::from(found.stx_mode));
        if !kind.is_dir() && !kind.is_file() {
            return Err(Refusal::new(
                "it is neither a file nor a folder",
                "grant the folder that contains it, or omit the grant",
            ));
        }
        let identity = Identity {
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            mount: found.stx_mnt_id,
        };
        Ok(Self { descriptor: Arc::new(descriptor), identity, is_folder: kind.is_dir() })
    }

    /// Returns whether the file or folder no longer has a name.
    fn is_removed(&self) -> bool {
        rustix::fs::fstat(&self.descriptor).is_ok_and(|found| found.st_nlink == 0)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    pub(crate) fn source(&self) -> BindSource {
        BindSource::Opened(Arc::clone(&self.descriptor))
    }
}

impl PartialEq for Opened {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Opened {}

impl Hash for Opened {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

/// A granted path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Grant {
    /// Path inside the sandbox.
    pub(crate) inside: PathBuf,
    pub(crate) opened: Opened,
    pub(crate) access: GrantAccess,
}

/// The access that a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum GrantAccess {
    Write,
    Read,
}

impl Grant {
    pub(crate) fn bind_access(&self) -> BindAccess {
        match self.access {
            GrantAccess::Read => BindAccess::Read,
            GrantAccess::Write => BindAccess::Write,
        }
    }

    pub(crate) fn point(&self) -> GrantPoint {
        GrantPoint { target: self.inside.clone(), is_folder: self.opened.is_folder }
    }

    /// Returns a mount of the path for one sandbox.
    pub(crate) fn mount(&self, exec: Exec, owner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
        belljar_jail::grant_mount(self.opened.as_fd(), self.bind_access(), exec, owner)
    }
}

/// The opened granted paths of a run, outer paths before inner ones. Two values are equal if they
/// grant the same files at the same paths, whatever their names on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Grants {
    paths: Vec<Grant>,
}

impl Grants {
    /// Opens the paths that a caller grants without a ceiling.
    pub(crate) fn of_caller(policy: &FsPolicy) -> Result<Self, EngineError> {
        Self::resolve(policy, |path, _| Opened::following_links(Path::new(path)))
    }

    fn resolve(
        policy: &FsPolicy,
        open: impl Fn(&str, GrantAccess) -> Result<Opened, Refusal>,
    ) -> Result<Self, EngineError> {
        let mut paths = Vec::new();
        for (path, access) in each(policy) {
            let opened = check_place(path)
                .and_then(|()| open(path, access))
                .map_err(|refusal| refused(path, refusal))?;
            paths.push(Grant { inside: PathBuf::from(path), opened, access });
        }
        // Outer paths before inner ones, so that no mount hides another. Of two grants of one path,
        // keep the one that allows more.
        paths.sort_by(|a, b| (&a.inside, a.access).cmp(&(&b.inside, b.access)));
        paths.dedup_by(|later, first| later.inside == first.inside);
        Ok(Self { paths })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.paths.iter()
    }

    /// Returns the writable paths inside the sandbox.
    pub(crate) fn writable(&self) -> Vec<String> {
        let writable = self.paths.iter().filter(|grant| grant.access == GrantAccess::Write);
        writable.map(|grant| grant.inside.display().to_string()).collect()
    }

    /// Returns the descriptors of the writable paths.
    pub(crate) fn writable_opened(&self) -> Vec<BorrowedFd<'_>> {
        self.paths
            .iter()
            .filter(|grant| grant.access == GrantAccess::Write)
            .map(|grant| grant.opened.as_fd())
            .collect()
    }

    /// Refuses grants that overlap belljar's own folders.
    pub(crate) fn check(&self, protected: &[Protected]) -> Result<(), EngineError> {
        let opened: Vec<(&str, &Opened)> = self
            .paths
            .iter()
            .map(|grant| (grant.inside.to_str().unwrap_or_default(), &grant.opened))
            .collect();
        check_protected(&opened, protected)
    }
}

fn check_protected(opened: &[(&str, &Opened)], protected: &[Protected]) -> Result<(), EngineError> {
    if opened.is_empty() {
        return Ok(());
    }
    let guard = protected::Guard::new(protected);
    for (path, opened) in opened {
        guard.check(opened.as_fd()).map_err(|refusal| refused(path, refusal))?;
    }
    Ok(())
}

fn refused(path: &str, Refusal { reason, hint }: Refusal) -> EngineError {
    EngineError::Grant { path: path.to_owned(), reason, hint: Some(hint) }
}

fn each(policy: &FsPolicy) -> impl Iterator<Item = (&String, GrantAccess)> {
    let read = policy.read.iter().map(|path| (path, GrantAccess::Read));
    read.chain(policy.write.iter().map(|path| (path, GrantAccess::Write)))
}

/// Checks that a grant can be mounted at a path, by looking at its text alone.
fn check_place(path: &str) -> Result<(), Refusal> {
    let inside = Path::new(path);
    if inside.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir))
        || path.chars().any(char::is_control)
    {
        return Err(Refusal::new(
            "it is not a plain absolute path",
            "write the full path, without `.`, `..` and control characters",
        ));
    }
    if let Some(reserved) =
        RESERVED.iter().chain(&[FOLDER]).find(|reserved| inside.starts_with(reserved))
    {
        return Err(Refusal::new(
            format!("{reserved} belongs to the sandbox itself"),
            "omit the grant: the program can already read what it needs there",
        ));
    }
    if let Some(own) =
        OWN_FILES.iter().chain(&[FOLDER]).find(|own| Path::new(own).starts_with(inside))
    {
        return Err(Refusal::new(
            format!("the sandbox has its own {own}"),
            "grant the files next to it, or copy files in with --file",
        ));
    }
    if ["/tmp", HOME, "/home", "/dev/shm"].iter().any(|own| inside == Path::new(own)) {
        return Err(Refusal::new(
            format!("the sandbox has its own {path}"),
            "grant a folder inside it, or copy files in with --file",
        ));
    }
    Ok(())
}

/// The paths of a ceiling, which are opened once and kept open. Runs under the ceiling are granted
/// files beneath these descriptors, so that no name of the ceiling is resolved a second time.
#[derive(Clone, Debug, Default)]
pub struct CeilingGrants {
    roots: Vec<Root>,
    protected: Arc<[Protected]>,
}

/// A path of a ceiling.
#[derive(Clone, Debug)]
struct Root {
    path: String,
    access: GrantAccess,
    /// The file or folder that the path led to, or the reason why it cannot be granted.
    opened: Result<Opened, Refusal>,
    /// Location of the file or folder at that time.
    footprint: Option<Arc<Footprint>>,
}

const OPEN_AGAIN: &str = "ask the operator to set the project's policy again with \
                          `belljar projects set`, or to restart `belljar mcp`";

impl CeilingGrants {
    pub(crate) fn open(policy: &FsPolicy, protected: Arc<[Protected]>) -> Self {
        let mounts = Mounts::read();
        let open = |(path, access): (&String, GrantAccess)| {
            let opened = check_place(path).and_then(|()| Opened::following_links(Path::new(path)));
            let footprint = opened.and_then(|opened| {
                let footprint = Footprint::of_path(Path::new(path), opened.as_fd(), &mounts);
                let footprint = footprint.map(Arc::new).ok_or_else(|| {
                    let reason = "the folders on its path cannot be determined";
                    Refusal::new(reason, LOCAL_PATH_HINT)
                })?;
                Ok((footprint, opened))
            });
            let (footprint, opened) = match footprint {
                Ok((footprint, opened)) => (Some(footprint), Ok(opened)),
                Err(refusal) => (None, Err(refusal)),
            };
            Root { path: path.clone(), access, opened, footprint }
        };
        Self { roots: each(policy).map(open).collect(), protected }
    }

    /// Checks that every path existed, does not overlap belljar's own folders, and is not inside a
    /// folder that runs under this ceiling may write.
    pub fn check(&self) -> Result<(), EngineError> {
        for root in &self.roots {
            root.opened.as_ref().map_err(|refusal| refused(&root.path, refusal.clone()))?;
        }
        check_protected(&self.opened(), &self.protected)?;
        self.check_against(self)
    }

    /// Checks that no path of this ceiling is inside a folder that runs under the other ceiling may
    /// write, nor the other way round. Such a run could replace the path with a symbolic link,
    /// which would be followed when the path is opened the next time.
    pub fn check_against(&self, other: &Self) -> Result<(), EngineError> {
        self.check_within(other)?;
        other.check_within(self)
    }

    fn check_within(&self, writable: &Self) -> Result<(), EngineError> {
        for inner in &self.roots {
            for outer in writable.roots.iter().filter(|root| root.access == GrantAccess::Write) {
                let by_words =
                    inner.path != outer.path && Path::new(&inner.path).starts_with(&outer.path);
                let footprints = inner.footprint.as_ref().zip(outer.footprint.as_ref());
                let by_itself =
                    footprints.is_some_and(|(inner, outer)| inner.is_led_through(outer));
                if by_words || by_itself {
                    let refusal = Refusal::new(
                        format!("its path leads through {}, which programs may write", outer.path),
                        "grant that folder instead, or another one",
                    );
                    return Err(refused(&inner.path, refusal));
                }
            }
        }
        Ok(())
    }

    /// Returns this ceiling without the paths inside a folder that runs under one of `ceilings` may
    /// write.
    #[must_use]
    pub fn without_what_runs_write<'a>(
        mut self,
        ceilings: impl Iterator<Item = &'a Self> + Clone,
    ) -> Self {
        for index in 0..self.roots.len() {
            let alone = Self { roots: vec![self.roots[index].clone()], protected: Arc::default() };
            if let Some(Err(EngineError::Grant { reason, hint, .. })) =
                ceilings.clone().map(|writable| alone.check_within(writable)).find(Result::is_err)
            {
                let hint = hint.unwrap_or(Cow::Borrowed(CHECK_HINT));
                self.roots[index].opened = Err(Refusal { reason, hint });
            }
        }
        self
    }

    fn opened(&self) -> Vec<(&str, &Opened)> {
        self.roots
            .iter()
            .filter_map(|root| Some((root.path.as_str(), root.opened.as_ref().ok()?)))
            .collect()
    }

    /// Opens the paths that a run requests beneath the descriptors of this ceiling.
    pub(crate) fn resolve(&self, policy: &FsPolicy) -> Result<Grants, EngineError> {
        Grants::resolve(policy, |path, access| self.open_beneath(path, access))
    }

    fn open_beneath(&self, path: &str, access: GrantAccess) -> Result<Opened, Refusal> {
        // A writable path is readable, too. Of two roots that contain the path, take the inner one.
        let covers = |root: &&Root| {
            (access == GrantAccess::Read || root.access == access)
                && Path::new(path).starts_with(&root.path)
        };
        let root = self.roots.iter().filter(covers).max_by_key(|root| root.path.len()).ok_or_else(
            || {
                Refusal::new(
                    "it is no longer within the ceiling",
                    "request less, or ask the operator to raise the ceiling",
                )
            },
        )?;
        let opened = root.opened.as_ref().map_err(|Refusal { reason, .. }| {
            let path = &root.path;
            let reason = format!("{path} could not be opened when the ceiling was set ({reason})");
            Refusal::new(reason, OPEN_AGAIN)
        })?;
        if opened.is_removed() {
            let reason = format!("{} has been removed since the ceiling was set", root.path);
            return Err(Refusal::new(reason, OPEN_AGAIN));
        }
        let within = Path::new(path).strip_prefix(&root.path).unwrap_or(Path::new(path));
        if within.as_os_str().is_empty() {
            Ok(opened.clone())
        } else {
            Opened::beneath(opened.as_fd(), within)
        }
    }
}

#[cfg(test)]
mod tests;
