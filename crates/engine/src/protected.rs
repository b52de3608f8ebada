//! Folders that no run may be granted: the server's home, the cache, saved credentials. They are
//! recognized by their identity and not by their name: a symbolic link, a bind mount or another
//! spelling of the name makes no difference.

use std::borrow::Cow;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};

/// A folder or file that no run may be granted. Its content and the folders around it cannot be
/// granted, either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    /// Description for error messages, such as "the server's home".
    pub what: &'static str,
    /// Path of the folder or file. It need not exist.
    pub path: PathBuf,
}

/// File systems through which the kernel reports its state and takes commands. A sandbox already
/// has the parts of them that it needs.
const KERNEL_FILE_SYSTEMS: [&str; 16] = [
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devtmpfs",
    "devpts",
    "debugfs",
    "tracefs",
    "securityfs",
    "selinuxfs",
    "configfs",
    "bpf",
    "pstore",
    "efivarfs",
    "binfmt_misc",
    "fusectl",
];
/// The magic numbers of those that have one (`linux/magic.h`): proc, sysfs, both versions of
/// cgroup, debugfs, tracefs, securityfs, bpf, devpts. They identify a mount of another mount
/// namespace, too.
const KERNEL_MAGICS: [u64; 9] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x1cd1,
];
const KERNEL_REFUSAL: Refusal = Refusal {
    reason: Cow::Borrowed(
        "it is one of the kernel's own file systems, such as /proc, or contains a mount of one",
    ),
    hint: Cow::Borrowed("grant a folder without such a mount"),
};

pub(crate) const LOCAL_PATH_HINT: &str = "grant it by a path in this machine's own file systems";

/// The maximum number of ancestors of a folder. `PATH_MAX` allows 2,048 in a path.
const MAX_DEPTH: usize = 4096;
/// The maximum number of symbolic links on one path, as in the kernel (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// The reason why a path cannot be granted, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Cow<'static, str>,
    pub(crate) hint: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(
        reason: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { reason: reason.into(), hint: hint.into() }
    }
}

/// The existing protected folders.
pub(crate) struct Guard<'a> {
    there: Vec<(&'a Protected, Footprint)>,
    mounts: Mounts,
}

impl<'a> Guard<'a> {
    pub(crate) fn new(protected: &'a [Protected]) -> Self {
        let open = |path: &Path| {
            rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
        };
        let mounts = Mounts::read();
        let footprint = |path: &Path| Footprint::of(open(path)?.as_fd(), &mounts);
        let there = protected
            .iter()
            .filter_map(|protected| Some((protected, footprint(&protected.path)?)))
            .collect();
        Self { there, mounts }
    }

    /// Refuses a folder that is one of the protected ones, is inside one, or contains one.
    pub(crate) fn check(&self, granted: BorrowedFd<'_>) -> Result<(), Refusal> {
        if rustix::fs::fstatfs(granted)
            .is_ok_and(|found| KERNEL_MAGICS.contains(&(found.f_type as u64 & 0xffff_ffff)))
        {
            return Err(KERNEL_REFUSAL);
        }
        let granted = Footprint::of(granted, &self.mounts)
            .ok_or_else(|| Refusal::new("its location cannot be determined", LOCAL_PATH_HINT))?;
        if granted.shows_the_kernel {
            return Err(KERNEL_REFUSAL);
        }
        match self.there.iter().find(|(_, own)| own.overlaps(&granted)) {
            None => Ok(()),
            Some((protected, _)) => Err(Refusal::new(
                format!("it overlaps {}", protected.what),
                "grant a folder that neither contains it nor is inside it",
            )),
        }
    }
}

type Node = (u32, u32, u64);

/// The location of a file or folder: in the tree of folders, and in its file system.
#[derive(Debug)]
pub(crate) struct Footprint {
    /// The file or folder itself and the folders around it, by device and inode.
    ancestry: Vec<Node>,
    /// The file or folder itself and everything mounted inside: device, and path in the file
    /// system, which all bind mounts of the same folder share.
    places: Vec<(String, PathBuf)>,
    /// Set if one of the kernel's own file systems is among those places.
    shows_the_kernel: bool,
    /// The folders in which the names of the path were looked up.
    way: Vec<Step>,
}

/// A folder in which a name of a path is looked up.
#[derive(Debug)]
struct Step {
    ancestry: Vec<Node>,
    place: Option<(String, PathBuf)>,
}

impl Footprint {
    /// Returns the location, or `None` if it cannot be determined.
    pub(crate) fn of(of: BorrowedFd<'_>, Mounts(mounts): &Mounts) -> Option<Self> {
        let (node, mount, kind) = identity(of)?;
        let path = path_of(of);
        let own = mounts.iter().find(|listed| listed.id == mount);
        let (mut places, mut shows_the_kernel) = (Vec::new(), false);
        if let Some(own) = own {
            places.push((own.device.clone(), join(&own.root, path.strip_prefix(&own.point).ok()?)));
            for within in
                mounts.iter().filter(|listed| listed.id != mount && listed.point.starts_with(&path))
            {
                places.push((within.device.clone(), within.root.clone()));
                shows_the_kernel |= within.is_of_the_kernel;
            }
            shows_the_kernel |= own.is_of_the_kernel;
        }
        let mut ancestry = vec![node];
        let folder =
            if kind.is_dir() { of.try_clone_to_owned().ok()? } else { folder_of(&path, node)? };
        if !kind.is_dir() {
            ancestry.push(identity(folder.as_fd())?.0);
        }
        upwards(folder, &mut ancestry)?;
        Some(Self { ancestry, places, shows_the_kernel, way: Vec::new() })
    }

    /// Returns the location with the folders that the path leads through. Returns `None` also if
    /// the path leads elsewhere by now.
    pub(crate) fn of_path(path: &Path, of: BorrowedFd<'_>, mounts: &Mounts) -> Option<Self> {
        let way = way(path, identity(of)?.0, mounts)?;
        Some(Self { way, ..Self::of(of, mounts)? })
    }

    fn overlaps(&self, other: &Self) -> bool {
        let is_around = |outer: &Self, inner: &Self| inner.ancestry.contains(&outer.ancestry[0]);
        let shares = |(device, path): &(String, PathBuf)| {
            other.places.iter().any(|(of, other)| {
                of == device && (path.starts_with(other) || other.starts_with(path))
            })
        };
        is_around(self, other) || is_around(other, self) || self.places.iter().any(shares)
    }

    /// Returns whether a program that can write to `outer` can make the path lead elsewhere,
    /// because the target, or a name or symbolic link on the path, is inside `outer` (and is not
    /// `outer` itself).
    pub(crate) fn is_led_through(&self, outer: &Self) -> bool {
        let is_in_a_place = |(device, path): &(String, PathBuf)| {
            outer.places.iter().any(|(of, place)| of == device && path.starts_with(place))
        };
        self.is_strictly_within(outer)
            || self.way.iter().any(|step| {
                step.ancestry.contains(&outer.ancestry[0])
                    || step.place.as_ref().is_some_and(is_in_a_place)
            })
    }

    /// Returns whether this is inside `outer`, and is not `outer` itself.
    fn is_strictly_within(&self, outer: &Self) -> bool {
        let by_folders = self.ancestry[1..].contains(&outer.ancestry[0]);
        let by_place =
            self.places.first().zip(outer.places.first()).is_some_and(|(inner, outer)| {
                inner.0 == outer.0 && inner.1 != outer.1 && inner.1.starts_with(&outer.1)
            });
        by_folders || by_place
    }
}

/// Returns device and inode, the id of the mount, and the file type.
fn identity(of: BorrowedFd<'_>) -> Option<(Node, u64, FileType)> {
    let found = rustix::fs::statx(
        of,
        "",
        AtFlags::EMPTY_PATH,
        StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
    )
    .ok()?;
    let node = (found.stx_dev_major, found.stx_dev_minor, found.stx_ino);
    Some((node, found.stx_mnt_id, FileType::from_raw_mode(u32::from(found.stx_mode))))
}

/// Adds the folders around a folder, up to the root.
fn upwards(mut folder: OwnedFd, ancestry: &mut Vec<Node>) -> Option<()> {
    while ancestry.len() < MAX_DEPTH {
        folder = rustix::fs::openat(
            &folder,
            "..",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .ok()?;
        let (node, ..) = identity(folder.as_fd())?;
        if ancestry.last() == Some(&node) {
            return Some(());
        }
        ancestry.push(node);
    }
    None
}

/// Returns the folders in which the names of an absolute path, and of the symbolic links on it, are
/// looked up. Returns `None` if the path does not lead to `end`.
fn way(path: &Path, end: Node, Mounts(mounts): &Mounts) -> Option<Vec<Step>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = || rustix::fs::openat(CWD, "/", flags, Mode::empty()).ok();
    // In reverse order, so that `pop` returns the next name.
    let names = |path: &Path| {
        path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>()
    };
    let (mut at, mut left, mut links, mut steps) = (root()?, names(path), 0, Vec::new());
    while let Some(name) = left.pop() {
        if name == "/" {
            at = root()?;
            continue;
        }
        let (node, mount, _) = identity(at.as_fd())?;
        let mut ancestry = vec![node];
        upwards(at.try_clone().ok()?, &mut ancestry)?;
        let listed = mounts.iter().find(|listed| listed.id == mount);
        let in_mount = |listed: &Mount| {
            Some((
                listed.device.clone(),
                join(&listed.root, path_of(at.as_fd()).strip_prefix(&listed.point).ok()?),
            ))
        };
        steps.push(Step { ancestry, place: listed.and_then(in_mount) });
        let entry = rustix::fs::openat(&at, &name, flags, Mode::empty()).ok()?;
        if identity(entry.as_fd())?.2.is_symlink() {
            links += 1;
            let target = rustix::fs::readlinkat(&entry, "", Vec::new())
                .ok()
                .filter(|_| links <= MAX_LINKS)?;
            left.extend(names(Path::new(std::ffi::OsStr::from_bytes(target.as_bytes()))));
        } else {
            at = entry;
        }
    }
    (identity(at.as_fd())?.0 == end).then_some(steps)
}

fn path_of(of: BorrowedFd<'_>) -> PathBuf {
    fs::read_link(format!("/proc/self/fd/{}", of.as_raw_fd())).unwrap_or_default()
}

/// Returns the folder that contains a file, by the kernel's path of the file. Returns `None` if the
/// file is no longer there.
fn folder_of(path: &Path, file: Node) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, path.parent()?, flags, Mode::empty()).ok()?;
    let entry = rustix::fs::openat(
        &folder,
        path.file_name()?,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    (identity(entry.as_fd())?.0 == file).then_some(folder)
}

fn join(root: &Path, within: &Path) -> PathBuf {
    if within.as_os_str().is_empty() { root.to_owned() } else { root.join(within) }
}

/// A line of `/proc/self/mountinfo` (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: String,
    /// The mounted folder of the file system.
    root: PathBuf,
    /// The mount point.
    point: PathBuf,
    /// Set if the file system is one of [`KERNEL_FILE_SYSTEMS`].
    is_of_the_kernel: bool,
}

/// All mounts of this process's namespace.
pub(crate) struct Mounts(Vec<Mount>);

impl Mounts {
    pub(crate) fn read() -> Self {
        let listed = fs::read("/proc/self/mountinfo").unwrap_or_default();
        Self(listed.split(|byte| *byte == b'\n').filter_map(parse).collect())
    }
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let text = |field: Option<&[u8]>| Some(std::str::from_utf8(field?).ok()?.to_owned());
    let id = text(fields.next())?.parse().ok()?;
    let device = text(fields.nth(1))?;
    let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
    // The file system's type follows the mount options and any number of further fields.
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    let is_of_the_kernel = KERNEL_FILE_SYSTEMS.iter().any(|name| name.as_bytes() == kind);
    Some(Mount { id, device, root, point, is_of_the_kernel })
}

/// Decodes spaces, tabs, line ends and backslashes, which are written as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = (first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_escapes() {
        let line = b"36 35 98:0 /mnt\\0401 /srv/a\\134b rw,noatime master:1 - ext3 /dev/root rw";
        let expected = Mount {
            id: 36,
            device: "98:0".into(),
            root: "/mnt 1".into(),
            point: "/srv/a\\b".into(),
            is_of_the_kernel: false,
        };
        assert_eq!(parse(line), Some(expected));
        assert!(
            parse(b"21 18 0:20 / /proc rw,nosuid shared:5 - proc proc rw")
                .unwrap()
                .is_of_the_kernel
        );
        assert_eq!(parse(b""), None);
    }

    fn guard_refuses(protected: &Path, granted: &Path) -> bool {
        let protected = [Protected { what: "the home", path: protected.to_owned() }];
        let granted =
            rustix::fs::openat(CWD, granted, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .unwrap();
        Guard::new(&protected).check(granted.as_fd()).is_err()
    }

    #[test]
    fn the_kernels_own_file_systems_are_refused_by_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = folder.path().join("none");
        for (name, to) in [
            ("proc", "/proc"),
            ("self", "/proc/self"),
            ("file", "/proc/cpuinfo"),
            ("sys", "/sys/kernel"),
            ("root", "/proc/self/root"),
        ] {
            let link = folder.path().join(name);
            std::os::unix::fs::symlink(to, &link).unwrap();
            assert!(guard_refuses(&nothing, &link), "{to}");
        }
        assert!(!guard_refuses(&nothing, folder.path()));
    }

    #[test]
    fn what_is_protected_is_refused_by_every_name_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        fs::create_dir_all(home.join("keys")).unwrap();
        fs::write(home.join("keys/key"), "x").unwrap();
        fs::create_dir(folder.path().join("homes")).unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&home, &link).unwrap();
        for granted in [
            &home,
            &home.join("keys"),
            &home.join("keys/key"),
            &folder.path().to_owned(),
            &link,
            &link.join("keys/key"),
        ] {
            assert!(guard_refuses(&home, granted), "{granted:?}");
            assert!(guard_refuses(&link, granted), "{granted:?} by the link");
        }
        for granted in ["homes", "file"] {
            assert!(!guard_refuses(&home, &folder.path().join(granted)), "{granted}");
            assert!(
                !guard_refuses(&folder.path().join("none"), &folder.path().join(granted)),
                "{granted}"
            );
        }
    }
}
