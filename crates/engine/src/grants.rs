//! Granted host paths. Each is looked up once, to a descriptor, and from then on that descriptor is what is checked, compared and mounted: whatever the
//! name leads to a moment later is nobody's matter any more.
//!
//! Who grants decides how a name is looked up. A path of the caller's own goes through links, as any path that a caller opens. A path that is asked
//! for under somebody else's ceiling is opened beneath the descriptor that was kept of the ceiling's own path, and through no link.

use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use belljar_jail::{BindAccess, Exec, GrantPoint, HOME, Source};
use belljar_protocol::FsPolicy;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::carried::FOLDER;
use crate::environment::NODE_PLACE;
use crate::error::EngineError;
use crate::protected::{self, Footprint, Mounts, Protected};
use crate::root::OWN_FILES;

/// Where a grant makes no sense: it is there already, or it would take the sandbox's own place.
const RESERVED: [&str; 10] = ["/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/proc", "/dev", "/sys", NODE_PLACE];

/// A file or folder of the host that was opened.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    descriptor: Arc<OwnedFd>,
    identity: Identity,
    pub(crate) is_folder: bool,
}

/// The file itself, and the mount that it was found on. None of the three numbers is used again for another while a descriptor is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: (u32, u32),
    inode: u64,
    mount: u64,
}

impl Opened {
    /// Opens a path, through whatever links there are.
    fn following_links(path: &Path) -> Result<Self, String> {
        let descriptor = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        Self::of(descriptor.map_err(|error| format!("{}; check the path, or leave the grant out", io::Error::from(error)))?)
    }

    /// Opens a path beneath a folder, through no link.
    fn beneath(folder: BorrowedFd<'_>, path: &Path) -> Result<Self, String> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let descriptor = rustix::fs::openat2(folder, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
        Self::of(descriptor.map_err(|error| match error {
            Errno::LOOP => {
                "a part of it is a symbolic link, and under a ceiling none is followed; name the path that the link leads to".into()
            }
            Errno::XDEV => "it leads out of what the ceiling grants; name a path within".into(),
            Errno::NOENT | Errno::NOTDIR => "there is no such file or folder; check the path, or leave the grant out".into(),
            error => format!("{}; check the path, or leave the grant out", io::Error::from(error)),
        })?)
    }

    fn of(descriptor: OwnedFd) -> Result<Self, String> {
        let found = rustix::fs::statx(&descriptor, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)
            .map_err(|error| io::Error::from(error).to_string())?;
        let kind = FileType::from_raw_mode(u32::from(found.stx_mode));
        if !kind.is_dir() && !kind.is_file() {
            return Err("it is neither a file nor a folder; grant the folder that it is in, or leave it out".into());
        }
        let identity = Identity { device: (found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino, mount: found.stx_mnt_id };
        Ok(Self { descriptor: Arc::new(descriptor), identity, is_folder: kind.is_dir() })
    }

    /// Whether no name leads to it any more.
    fn is_removed(&self) -> bool {
        rustix::fs::fstat(&self.descriptor).is_ok_and(|found| found.st_nlink == 0)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    pub(crate) fn source(&self) -> Source {
        Source::Opened(Arc::clone(&self.descriptor))
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

/// One granted path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Grant {
    /// Where it is inside.
    pub(crate) inside: PathBuf,
    pub(crate) opened: Opened,
    pub(crate) access: GrantAccess,
}

/// What may be done with a granted path.
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

    /// A mount of it for one sandbox.
    pub(crate) fn mount(&self, exec: Exec, owner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
        belljar_jail::grant_mount(self.opened.as_fd(), self.bind_access(), exec, owner)
    }
}

/// The granted paths of a run, opened: the outer before the inner. Two are the same where the same files are granted at the same places, however they
/// are called outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Grants {
    paths: Vec<Grant>,
}

impl Grants {
    /// Opens the paths that a caller grants of its own.
    pub(crate) fn of_caller(policy: &FsPolicy) -> Result<Self, EngineError> {
        Self::resolve(policy, |path, _| Opened::following_links(Path::new(path)))
    }

    fn resolve(policy: &FsPolicy, open: impl Fn(&str, GrantAccess) -> Result<Opened, String>) -> Result<Self, EngineError> {
        let mut paths = Vec::new();
        for (path, access) in each(policy) {
            let opened = check_place(path).and_then(|()| open(path, access)).map_err(|why| refused(path, why))?;
            paths.push(Grant { inside: PathBuf::from(path), opened, access });
        }
        // The outer before the inner, so that neither hides the other; of two grants of one path the one that allows more.
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

    /// The paths that can be written, as they are inside.
    pub(crate) fn writable(&self) -> Vec<String> {
        let writable = self.paths.iter().filter(|grant| grant.access == GrantAccess::Write);
        writable.map(|grant| grant.inside.display().to_string()).collect()
    }

    /// What can be written, opened.
    pub(crate) fn writable_opened(&self) -> Vec<BorrowedFd<'_>> {
        self.paths.iter().filter(|grant| grant.access == GrantAccess::Write).map(|grant| grant.opened.as_fd()).collect()
    }

    /// Refuses what would hand out belljar's own folders.
    pub(crate) fn check(&self, protected: &[Protected]) -> Result<(), EngineError> {
        let opened: Vec<(&str, &Opened)> =
            self.paths.iter().map(|grant| (grant.inside.to_str().unwrap_or_default(), &grant.opened)).collect();
        check_protected(&opened, protected)
    }
}

fn check_protected(opened: &[(&str, &Opened)], protected: &[Protected]) -> Result<(), EngineError> {
    if opened.is_empty() {
        return Ok(());
    }
    let guard = protected::Guard::new(protected);
    for (path, opened) in opened {
        guard.check(opened.as_fd()).map_err(|why| refused(path, why))?;
    }
    Ok(())
}

fn refused(path: &str, why: String) -> EngineError {
    EngineError::Grant { path: path.to_owned(), why }
}

fn each(policy: &FsPolicy) -> impl Iterator<Item = (&String, GrantAccess)> {
    let read = policy.read.iter().map(|path| (path, GrantAccess::Read));
    read.chain(policy.write.iter().map(|path| (path, GrantAccess::Write)))
}

/// Checks that a path can be a place inside, by the words alone.
fn check_place(path: &str) -> Result<(), String> {
    let inside = Path::new(path);
    if inside.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir)) || path.chars().any(char::is_control) {
        return Err("it is not a plain absolute path".into());
    }
    if let Some(reserved) = RESERVED.iter().chain(&[FOLDER]).find(|reserved| inside.starts_with(reserved)) {
        return Err(format!("{reserved} belongs to the sandbox itself; what a program needs of it is readable already"));
    }
    if let Some(own) = OWN_FILES.iter().chain(&[FOLDER]).find(|own| Path::new(own).starts_with(inside)) {
        return Err(format!("the sandbox has its own {own}; grant what is needed next to it, or copy files in with --file"));
    }
    if ["/tmp", HOME, "/home", "/dev/shm"].iter().any(|own| inside == Path::new(own)) {
        return Err("the sandbox has its own; grant a folder in it, or copy files in with --file".into());
    }
    Ok(())
}

/// The paths of a ceiling, opened once and kept. Runs under the ceiling are granted what lies beneath these descriptors: no name of the ceiling is looked
/// up a second time.
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
    /// What it led to; or why it leads nowhere, for people.
    opened: Result<Opened, String>,
    /// Where that lay then.
    footprint: Option<Arc<Footprint>>,
}

const OPEN_AGAIN: &str = "the operator can set the project's policy again with `belljar projects set`, or start `belljar mcp` again";

impl CeilingGrants {
    pub(crate) fn open(policy: &FsPolicy, protected: Arc<[Protected]>) -> Self {
        let mounts = Mounts::read();
        let open = |(path, access): (&String, GrantAccess)| {
            let opened = check_place(path).and_then(|()| Opened::following_links(Path::new(path)));
            let footprint = opened.and_then(|opened| {
                let footprint = Footprint::of_path(Path::new(path), opened.as_fd(), &mounts).map(Arc::new);
                Ok((footprint.ok_or("it cannot be told which folders lead to it; grant it by a path of this machine's own")?, opened))
            });
            let (footprint, opened) = match footprint {
                Ok((footprint, opened)) => (Some(footprint), Ok(opened)),
                Err(why) => (None, Err(why)),
            };
            Root { path: path.clone(), access, opened, footprint }
        };
        Self { roots: each(policy).map(open).collect(), protected }
    }

    /// Checks that every path was there, is not belljar's own, and lies in no folder that runs under this ceiling may write.
    pub fn check(&self) -> Result<(), EngineError> {
        for root in &self.roots {
            root.opened.as_ref().map_err(|why| refused(&root.path, why.clone()))?;
        }
        check_protected(&self.opened(), &self.protected)?;
        self.check_beside(self)
    }

    /// Checks that no path of this ceiling lies in a folder that runs under another may write, nor the other way round: such a run could put a link in
    /// the place of that path, which would be followed when the path is opened the next time.
    pub fn check_beside(&self, other: &Self) -> Result<(), EngineError> {
        self.check_within(other)?;
        other.check_within(self)
    }

    fn check_within(&self, writable: &Self) -> Result<(), EngineError> {
        for inner in &self.roots {
            for outer in writable.roots.iter().filter(|root| root.access == GrantAccess::Write) {
                let by_words = inner.path != outer.path && Path::new(&inner.path).starts_with(&outer.path);
                let footprints = inner.footprint.as_ref().zip(outer.footprint.as_ref());
                let by_itself = footprints.is_some_and(|(inner, outer)| inner.is_led_through(outer));
                if by_words || by_itself {
                    let why = format!(
                        "it lies in {}, or is reached through it, which programs may write; grant that folder instead, or another",
                        outer.path
                    );
                    return Err(refused(&inner.path, why));
                }
            }
        }
        Ok(())
    }

    /// The same, but it grants nothing that lies in a folder that runs under one of `ceilings` may write.
    #[must_use]
    pub fn without_what_runs_write<'a>(mut self, ceilings: impl Iterator<Item = &'a Self> + Clone) -> Self {
        for index in 0..self.roots.len() {
            let alone = Self { roots: vec![self.roots[index].clone()], protected: Arc::default() };
            if let Some(Err(EngineError::Grant { why, .. })) =
                ceilings.clone().map(|writable| alone.check_within(writable)).find(Result::is_err)
            {
                self.roots[index].opened = Err(why);
            }
        }
        self
    }

    fn opened(&self) -> Vec<(&str, &Opened)> {
        self.roots.iter().filter_map(|root| Some((root.path.as_str(), root.opened.as_ref().ok()?))).collect()
    }

    /// Opens what a run asks for, beneath what was kept.
    pub(crate) fn resolve(&self, policy: &FsPolicy) -> Result<Grants, EngineError> {
        Grants::resolve(policy, |path, access| self.open_beneath(path, access))
    }

    fn open_beneath(&self, path: &str, access: GrantAccess) -> Result<Opened, String> {
        // What may be written may be read, too. Of two roots the one that says more.
        let covers = |root: &&Root| (access == GrantAccess::Read || root.access == access) && Path::new(path).starts_with(&root.path);
        let root = self
            .roots
            .iter()
            .filter(covers)
            .max_by_key(|root| root.path.len())
            .ok_or("it is no longer within the ceiling; ask for less, or have the operator raise the ceiling")?;
        let opened = root.opened.as_ref().map_err(|why| {
            format!("{} could not be opened when the ceiling was set ({why}); when that is done, {OPEN_AGAIN}", root.path)
        })?;
        if opened.is_removed() {
            return Err(format!("{}, as it was when the ceiling was set, has been removed; {OPEN_AGAIN}", root.path));
        }
        let within = Path::new(path).strip_prefix(&root.path).unwrap_or(Path::new(path));
        if within.as_os_str().is_empty() { Ok(opened.clone()) } else { Opened::beneath(opened.as_fd(), within) }
    }
}

#[cfg(test)]
mod tests;
