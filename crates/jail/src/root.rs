//! The root file system of a zygote and its sandboxes: a small tmpfs with read-only binds of what the runtime needs and of what is granted.
//!
//! Sources are opened, without following links, before anything is mounted, so that building the root cannot hide or redirect them. Targets are
//! walked to without following links either: a part of one may lie in a folder that others write.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{At, SetupError, Step};
use crate::grant::{GrantPoint, open_target};
use crate::sys::{
    self, attach_tree, c_path, clone_tree, device_and_mode, make_tree_private, mount, open_path_without_links, set_tree_attributes,
};
use crate::writable::{is_in_writable_space, mount_proc};

/// Where the new root is put together before it becomes the root. Any existing folder serves: the mount is private.
const STAGE: &CStr = c"/tmp";
/// Sources for grants that lie where the sandbox's own tmpfs will be.
const GRANT_STAGE: &str = ".grants";

/// What may be done with a bound tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindAccess {
    /// Read and, where it is mounted executable, executed.
    Read,
    /// Written too.
    Write,
    /// A device node: like `Write`, without `nodev`.
    Device,
}

/// Whether files of a bound tree can be executed, and mapped into memory to be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exec {
    /// They can.
    Allowed,
    /// They cannot (`MOUNT_ATTR_NOEXEC`).
    Refused,
}

/// The source of a bind.
#[derive(Clone, Debug)]
pub enum Source {
    /// A path of the installation or the system: canonical, without links.
    Path(PathBuf),
    /// What was opened when a name was looked up, whatever that name leads to by now.
    Opened(Arc<OwnedFd>),
}

/// One tree of the host that is seen inside.
#[derive(Clone, Debug)]
pub struct Bind {
    /// Where it is outside.
    pub source: Source,
    /// Where it is inside: absolute.
    pub target: PathBuf,
    /// What may be done with it.
    pub access: BindAccess,
    /// Whether anything in it can be executed.
    pub exec: Exec,
    /// Whether its owner outside is to be the sandbox's user inside: for what a caller grants of its own. Needs root and a file system that
    /// supports it; without, the sandbox has the access of "others".
    pub as_owner: bool,
}

/// A small file made for the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Where: absolute.
    pub path: PathBuf,
    /// What is in it.
    pub content: Vec<u8>,
}

/// All that a root is made of.
#[derive(Clone, Debug, Default)]
pub struct RootPlan {
    /// Trees of the host. Where one lies within another, the outer one comes first.
    pub binds: Vec<Bind>,
    /// Places for the grants that each sandbox attaches for itself.
    pub points: Vec<GrantPoint>,
    /// Folders and files that are hidden by an empty one although a bind shows them.
    pub masks: Vec<PathBuf>,
    /// Folders that are there, empty.
    pub folders: Vec<PathBuf>,
    /// Files made for it.
    pub files: Vec<GeneratedFile>,
    /// Symbolic links: where, and what to.
    pub links: Vec<(PathBuf, PathBuf)>,
}

/// A bind whose source has been opened.
pub(crate) struct OpenedBind<'a> {
    bind: &'a Bind,
    tree: OwnedFd,
    is_folder: bool,
    stage: Option<PathBuf>,
}

/// Copies of what the maker of the plan has opened: one for each such bind, in their order.
///
/// They have to be made in the mount namespace that it was opened in: the kernel copies no mount of another (`open_tree(2)`).
pub(crate) fn clone_opened(plan: &RootPlan) -> Result<Vec<OwnedFd>, SetupError> {
    let opened = plan.binds.iter().filter_map(|bind| match &bind.source {
        Source::Opened(opened) => Some(opened.as_fd()),
        Source::Path(_) => None,
    });
    let clone = |source: BorrowedFd<'_>| {
        let tree = clone_tree(source)?;
        make_tree_private(tree.as_fd())?;
        Ok(tree)
    };
    opened.map(clone).collect::<io::Result<_>>().at(Step::BindSource)
}

/// Opens and clones every source, but those in `cloned`. Before any other mount call.
pub(crate) fn open_sources<'a>(
    plan: &'a RootPlan,
    cloned: Vec<OwnedFd>,
    id_map: Option<BorrowedFd<'_>>,
) -> Result<Vec<OpenedBind<'a>>, SetupError> {
    let mut cloned = cloned.into_iter();
    let mut open = |(index, bind): (usize, &'a Bind)| {
        let tree = match &bind.source {
            Source::Path(path) => c_path(path).and_then(|path| clone_tree(open_path_without_links(&path)?.as_fd())),
            Source::Opened(opened) => cloned.next().map_or_else(|| clone_tree(find_again(opened.as_fd())?.as_fd()), Ok),
        };
        open_source(index, bind, tree.at(Step::BindSource)?, id_map)
    };
    plan.binds.iter().enumerate().map(&mut open).collect()
}

/// What was opened in the supervisor's mount namespace, found in the caller's own copy of that: an ordinary user can make mounts only there. By its path,
/// but it must be the same file: one that has come to its name since is refused.
fn find_again(opened: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
    let found = open_path_without_links(&c_path(&path)?)?;
    if sys::file_identity(found.as_fd())? != sys::file_identity(opened)? {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
    }
    Ok(found)
}

fn open_source<'a>(index: usize, bind: &'a Bind, tree: OwnedFd, id_map: Option<BorrowedFd<'_>>) -> Result<OpenedBind<'a>, SetupError> {
    let is_folder = is_folder(tree.as_fd()).at(Step::BindSource)?;
    set_tree_attributes(tree.as_fd(), attributes(bind.access, bind.exec), None, true).at(Step::BindAttributes)?;
    if bind.as_owner && id_map.is_some() {
        // A file system that cannot map ids leaves the access of "others"; doctor tells.
        let _ = set_tree_attributes(tree.as_fd(), 0, id_map, false);
    }
    let stage = is_in_writable_space(&bind.target).then(|| Path::new("/").join(GRANT_STAGE).join(index.to_string()));
    Ok(OpenedBind { bind, tree, is_folder, stage })
}

/// The attributes of every mount of a bound tree.
pub(crate) fn attributes(access: BindAccess, exec: Exec) -> u64 {
    let mut attributes = libc::MOUNT_ATTR_NOSUID;
    if access != BindAccess::Device {
        attributes |= libc::MOUNT_ATTR_NODEV;
    }
    if access == BindAccess::Read {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    if exec == Exec::Refused {
        attributes |= libc::MOUNT_ATTR_NOEXEC;
    }
    attributes
}

fn is_folder(source: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(device_and_mode(source)?.1 & libc::S_IFMT == libc::S_IFDIR)
}

fn beneath(stage: &Path, path: &Path) -> PathBuf {
    stage.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_folders(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Puts the root together at the stage, in the caller's own private mount namespace.
pub(crate) fn build(plan: &RootPlan, sources: &[OpenedBind<'_>]) -> Result<(), SetupError> {
    let stage = Path::new("/tmp");
    mount(Some(c"root"), STAGE, Some(c"tmpfs"), libc::MS_NOSUID | libc::MS_NODEV, Some(c"mode=755,size=64m")).at(Step::RootTree)?;
    // The folders that the sandbox's own mounts need.
    for folder in ["proc", "dev/shm", "tmp", "home/user"].iter().map(Path::new).chain(plan.folders.iter().map(PathBuf::as_path)) {
        make_folders(&beneath(stage, folder)).at(Step::RootTree)?;
    }
    let root = open_path_without_links(STAGE).at(Step::RootTree)?;
    let (own, _) = device_and_mode(root.as_fd()).at(Step::RootTree)?;
    for source in sources {
        let attach = |tree: BorrowedFd<'_>, at: &Path| {
            let target = open_target(root.as_fd(), at, source.is_folder, own)?;
            attach_tree(tree, target.as_fd())
        };
        if let Some(staged) = &source.stage {
            attach(source.tree.as_fd(), staged).at(Step::BindTarget)?;
            // Also where it belongs: a zygote has no tmpfs there, and its runtime may be installed beneath one of those places, in the home of a
            // user who is called `user`, or in /tmp. Copied once it is attached: before Linux 6.15 a detached tree cannot be copied.
            let copy = clone_tree(source.tree.as_fd()).at(Step::BindSource)?;
            attach(copy.as_fd(), &source.bind.target).at(Step::BindTarget)?;
        } else {
            attach(source.tree.as_fd(), &source.bind.target).at(Step::BindTarget)?;
        }
    }
    for point in plan.points.iter().filter(|point| !is_in_writable_space(&point.target)) {
        open_target(root.as_fd(), &point.target, point.is_folder, own).at(Step::BindTarget)?;
    }
    for target in plan.masks.iter().flat_map(|mask| places_of(mask, sources)).map(|place| beneath(stage, &place)) {
        if target.is_dir() {
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;
            mount(Some(c"hidden"), &c_path(&target).at(Step::RootTree)?, Some(c"tmpfs"), flags, Some(c"mode=755,size=4k"))
                .at(Step::RootTree)?;
        } else if target.is_file() {
            hide_file(stage, &target).at(Step::RootTree)?;
        }
    }
    for file in &plan.files {
        let target = beneath(stage, &file.path);
        make_folders(target.parent().unwrap_or(stage)).at(Step::RootTree)?;
        fs::write(&target, &file.content).at(Step::RootTree)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).at(Step::RootTree)?;
    }
    for (link, to) in &plan.links {
        let target = beneath(stage, link);
        make_folders(target.parent().unwrap_or(stage)).at(Step::RootTree)?;
        symlink(to, &target).at(Step::RootTree)?;
    }
    Ok(())
}

/// Everywhere that a path of the sandbox is shown: at itself, and in the stages of what its own space covers.
fn places_of(path: &Path, sources: &[OpenedBind<'_>]) -> Vec<PathBuf> {
    let staged = sources.iter().filter_map(|source| {
        let within = path.strip_prefix(&source.bind.target).ok()?;
        let stage = source.stage.as_ref()?;
        // Joined with nothing, a path would end in a slash.
        Some(if within.as_os_str().is_empty() { stage.clone() } else { stage.join(within) })
    });
    std::iter::once(path.to_owned()).chain(staged).collect()
}

/// Hides a file by an empty one.
fn hide_file(stage: &Path, target: &Path) -> io::Result<()> {
    let empty = stage.join(".hidden");
    fs::File::create(&empty)?;
    let tree = clone_tree(open_path_without_links(&c_path(&empty)?)?.as_fd())?;
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC | libc::MOUNT_ATTR_RDONLY;
    set_tree_attributes(tree.as_fd(), attributes, None, false)?;
    attach_tree(tree.as_fd(), open_path_without_links(&c_path(target)?)?.as_fd())
}

/// Makes the staged tree the root, read-only, with a fresh `/proc` that the caller's PID namespace fills.
pub(crate) fn enter() -> Result<(), SetupError> {
    // Bound on itself, so that the top mount belongs to this namespace and is not one of the locked ones that came from the supervisor's.
    mount(Some(STAGE), STAGE, None, libc::MS_BIND | libc::MS_REC, None).at(Step::PivotRoot)?;
    std::env::set_current_dir("/tmp").at(Step::PivotRoot)?;
    // While the supervisor's /proc is still visible: the kernel wants to see one before it gives a user namespace another.
    mount_proc(c"proc")?;
    sys::pivot_root_here().at(Step::PivotRoot)?;
    sys::unmount_detached(c".").at(Step::PivotRoot)?;
    std::env::set_current_dir("/").at(Step::PivotRoot)?;
    let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;
    mount(None, c"/", None, flags, None).at(Step::PivotRoot)
}

/// Makes a copy of the whole tree the root, a copy that belongs to no mount namespace. `/proc/PID/mountinfo` and its like list those mounts of the
/// process's namespace that lie beneath its root (`show_mountinfo` in `fs/proc_namespace.c`): there are none, so that nothing tells where on the host what
/// is bound comes from. The last step with mounts: in such a tree there can be no more.
///
/// The copy stays together once its descriptor is closed (`UMOUNT_CONNECTED` in `dissolve_on_fput`, Linux 5.2), and goes with the last process in it.
pub(crate) fn hide_mounts() -> Result<(), SetupError> {
    // Not by `openat2`, which the filter of a zygote lacks.
    let root = fs::File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open("/").at(Step::HiddenMounts)?;
    let copy = clone_tree(root.as_fd()).at(Step::HiddenMounts)?;
    sys::change_root(copy.as_fd()).at(Step::HiddenMounts)
}

impl RootPlan {
    /// The grants that [`crate::WritableSpace`] has to attach itself, because its tmpfs covers where they belong: stage, target, whether a
    /// folder.
    pub fn staged(&self) -> Vec<(std::ffi::CString, std::ffi::CString, bool)> {
        self.binds
            .iter()
            .enumerate()
            .filter(|(_, bind)| is_in_writable_space(&bind.target))
            .filter_map(|(index, bind)| {
                let stage = c_path(&Path::new("/").join(GRANT_STAGE).join(index.to_string())).ok()?;
                Some((stage, c_path(&bind.target).ok()?, bind.source.is_folder()))
            })
            .collect()
    }
}

impl Source {
    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        match self {
            Self::Path(path) => path.is_dir(),
            Self::Opened(opened) => is_folder(opened.as_fd()).unwrap_or(false),
        }
    }
}
