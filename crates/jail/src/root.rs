//! The root file system of a zygote and its sandboxes: a small tmpfs with read-only bind mounts of
//! the files that the runtime needs, and with the granted paths.
//!
//! Sources are opened without following symbolic links before anything is mounted, so that building
//! the root cannot hide or redirect them. Targets are resolved without following links, too,
//! because a part of the path may be inside a folder that others can write to.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::bind::{Bind, BindOwner, BindSource, attributes, is_folder};
use crate::error::{At, SetupError, Step};
use crate::grant::GrantPoint;
use crate::mount_point::open_target;
use crate::sys::{
    self, TreeScope, attach_tree, c_path, clone_tree, device_and_mode, make_tree_private, mount,
    open_path_without_links, set_tree_attributes,
};
use crate::writable::{is_in_writable_space, mount_proc};

/// The folder in which the new root is built. Any existing folder works, because the mount is
/// private.
const STAGE: &CStr = c"/tmp";
/// The folder for grants whose target is covered by the sandbox's own tmpfs.
const GRANT_STAGE: &str = ".grants";

/// A small file that is created in the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Absolute path in the sandbox.
    pub path: PathBuf,
    /// Content of the file.
    pub content: Vec<u8>,
}

/// The contents of a root.
#[derive(Clone, Debug, Default)]
pub struct RootPlan {
    /// Bind mounts, outer targets before inner ones.
    pub binds: Vec<Bind>,
    /// Mount points of the grants that each sandbox attaches for itself.
    pub points: Vec<GrantPoint>,
    /// Folders and files in bind mounts that are hidden by empty ones.
    pub masks: Vec<PathBuf>,
    /// Empty folders to create.
    pub folders: Vec<PathBuf>,
    /// Files to create.
    pub files: Vec<GeneratedFile>,
    /// Symbolic links to create: path and target.
    pub links: Vec<(PathBuf, PathBuf)>,
}

/// A bind mount whose source has been opened.
pub(crate) struct OpenedBind<'a> {
    bind: &'a Bind,
    tree: OwnedFd,
    is_folder: bool,
    stage: Option<PathBuf>,
}

/// Returns mount copies of the opened sources of a plan, in the order of their binds.
///
/// The copies have to be made in the mount namespace in which the sources were opened, because the
/// kernel copies no mount of another namespace (`open_tree(2)`).
pub(crate) fn clone_opened(plan: &RootPlan) -> Result<Vec<OwnedFd>, SetupError> {
    let opened = plan.binds.iter().filter_map(|bind| match &bind.source {
        BindSource::Opened(opened) => Some(opened.as_fd()),
        BindSource::Path(_) => None,
    });
    let clone = |source: BorrowedFd<'_>| {
        let tree = clone_tree(source)?;
        make_tree_private(tree.as_fd())?;
        Ok(tree)
    };
    opened.map(clone).collect::<io::Result<_>>().at(Step::BindSource)
}

/// Opens and clones every source, except those in `cloned`. It must be called before any other
/// mount call.
pub(crate) fn open_sources<'a>(
    plan: &'a RootPlan,
    cloned: Vec<OwnedFd>,
    id_map: Option<BorrowedFd<'_>>,
) -> Result<Vec<OpenedBind<'a>>, SetupError> {
    let mut cloned = cloned.into_iter();
    let mut open = |(index, bind): (usize, &'a Bind)| {
        let tree = match &bind.source {
            BindSource::Path(path) => {
                c_path(path).and_then(|path| clone_tree(open_path_without_links(&path)?.as_fd()))
            }
            BindSource::Opened(opened) => {
                cloned.next().map_or_else(|| clone_tree(find_again(opened.as_fd())?.as_fd()), Ok)
            }
        };
        open_source(index, bind, tree.at(Step::BindSource)?, id_map)
    };
    plan.binds.iter().enumerate().map(&mut open).collect()
}

/// Finds a file that was opened in the supervisor's mount namespace in the caller's copy of that
/// namespace, because an ordinary user can create mounts only there. It is found by its path, but
/// must be the same file: a file that has replaced it since is refused.
fn find_again(opened: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
    let found = open_path_without_links(&c_path(&path)?)?;
    if sys::file_identity(found.as_fd())? != sys::file_identity(opened)? {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
    }
    Ok(found)
}

fn open_source<'a>(
    index: usize,
    bind: &'a Bind,
    tree: OwnedFd,
    id_map: Option<BorrowedFd<'_>>,
) -> Result<OpenedBind<'a>, SetupError> {
    let is_folder = is_folder(tree.as_fd()).at(Step::BindSource)?;
    set_tree_attributes(
        tree.as_fd(),
        attributes(bind.access, bind.exec),
        None,
        TreeScope::AllMounts,
    )
    .at(Step::BindAttributes)?;
    if bind.owner == BindOwner::Sandbox && id_map.is_some() {
        // If the file system cannot map ids, the sandbox has the access of "others". `belljar
        // doctor` reports it.
        let _ = set_tree_attributes(tree.as_fd(), 0, id_map, TreeScope::TopMount);
    }
    let stage = is_in_writable_space(&bind.target)
        .then(|| Path::new("/").join(GRANT_STAGE).join(index.to_string()));
    Ok(OpenedBind { bind, tree, is_folder, stage })
}

fn beneath(stage: &Path, path: &Path) -> PathBuf {
    stage.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_folders(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Builds the root at the stage, in the caller's own private mount namespace.
pub(crate) fn build(plan: &RootPlan, sources: &[OpenedBind<'_>]) -> Result<(), SetupError> {
    let stage = Path::new("/tmp");
    mount(
        Some(c"root"),
        STAGE,
        Some(c"tmpfs"),
        libc::MS_NOSUID | libc::MS_NODEV,
        Some(c"mode=755,size=64m"),
    )
    .at(Step::RootTree)?;
    // The folders that the sandbox's own mounts need.
    for folder in ["proc", "dev/shm", "tmp", "home/user"]
        .iter()
        .map(Path::new)
        .chain(plan.folders.iter().map(PathBuf::as_path))
    {
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
            // Also at its target: a zygote has no tmpfs there, and its runtime may be installed
            // beneath one of these paths, in the home of a user named `user` or in /tmp. It is
            // copied after it is attached, because a detached tree cannot be copied before Linux
            // 6.15.
            let copy = clone_tree(source.tree.as_fd()).at(Step::BindSource)?;
            attach(copy.as_fd(), &source.bind.target).at(Step::BindTarget)?;
        } else {
            attach(source.tree.as_fd(), &source.bind.target).at(Step::BindTarget)?;
        }
    }
    for point in plan.points.iter().filter(|point| !is_in_writable_space(&point.target)) {
        open_target(root.as_fd(), &point.target, point.is_folder, own).at(Step::BindTarget)?;
    }
    for target in plan
        .masks
        .iter()
        .flat_map(|mask| places_of(mask, sources))
        .map(|place| beneath(stage, &place))
    {
        if target.is_dir() {
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;
            mount(
                Some(c"hidden"),
                &c_path(&target).at(Step::RootTree)?,
                Some(c"tmpfs"),
                flags,
                Some(c"mode=755,size=4k"),
            )
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

/// Returns all paths at which a path of the sandbox is visible: the path itself, and in the stages
/// of grants that its own space covers.
fn places_of(path: &Path, sources: &[OpenedBind<'_>]) -> Vec<PathBuf> {
    let staged = sources.iter().filter_map(|source| {
        let within = path.strip_prefix(&source.bind.target).ok()?;
        let stage = source.stage.as_ref()?;
        // Joining an empty path would add a slash.
        Some(if within.as_os_str().is_empty() { stage.clone() } else { stage.join(within) })
    });
    std::iter::once(path.to_owned()).chain(staged).collect()
}

/// Hides a file by mounting an empty one over it.
fn hide_file(stage: &Path, target: &Path) -> io::Result<()> {
    let empty = stage.join(".hidden");
    fs::File::create(&empty)?;
    let tree = clone_tree(open_path_without_links(&c_path(&empty)?)?.as_fd())?;
    let attributes = libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC
        | libc::MOUNT_ATTR_RDONLY;
    set_tree_attributes(tree.as_fd(), attributes, None, TreeScope::TopMount)?;
    attach_tree(tree.as_fd(), open_path_without_links(&c_path(target)?)?.as_fd())
}

/// Makes the staged tree the root, read-only, with a new `/proc` of the caller's PID namespace.
pub(crate) fn enter() -> Result<(), SetupError> {
    // Bind-mounted on itself, so that the top mount belongs to this namespace and is not one of the
    // locked mounts from the supervisor's namespace.
    mount(Some(STAGE), STAGE, None, libc::MS_BIND | libc::MS_REC, None).at(Step::PivotRoot)?;
    std::env::set_current_dir("/tmp").at(Step::PivotRoot)?;
    // While the supervisor's /proc is still visible, because the kernel requires a visible one
    // before it lets a user namespace mount another.
    mount_proc(c"proc")?;
    sys::pivot_root_here().at(Step::PivotRoot)?;
    sys::unmount_detached(c".").at(Step::PivotRoot)?;
    std::env::set_current_dir("/").at(Step::PivotRoot)?;
    let flags =
        libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;
    mount(None, c"/", None, flags, None).at(Step::PivotRoot)
}

/// Changes the root to a copy of the whole tree that belongs to no mount namespace.
/// `/proc/PID/mountinfo` and similar files list the mounts of the process's namespace beneath its
/// root (`show_mountinfo` in `fs/proc_namespace.c`). There are none, so nothing reveals where on
/// the host the sources of bind mounts are. This is the last step with mounts, because no further
/// mount can be created in such a tree.
///
/// The copy stays intact when its descriptor is closed (`UMOUNT_CONNECTED` in `dissolve_on_fput`,
/// Linux 5.2), and disappears with the last process in it.
pub(crate) fn hide_mounts() -> Result<(), SetupError> {
    // Without `openat2`, which the filter of a zygote does not allow.
    let root = fs::File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open("/")
        .at(Step::HiddenMounts)?;
    let copy = clone_tree(root.as_fd()).at(Step::HiddenMounts)?;
    sys::change_root(copy.as_fd()).at(Step::HiddenMounts)
}

impl RootPlan {
    /// Returns the grants that [`crate::WritableSpace`] has to attach itself, because its tmpfs
    /// covers their targets: stage, target, and whether it is a folder.
    pub fn staged(&self) -> Vec<(std::ffi::CString, std::ffi::CString, bool)> {
        self.binds
            .iter()
            .enumerate()
            .filter(|(_, bind)| is_in_writable_space(&bind.target))
            .filter_map(|(index, bind)| {
                let stage =
                    c_path(&Path::new("/").join(GRANT_STAGE).join(index.to_string())).ok()?;
                Some((stage, c_path(&bind.target).ok()?, bind.source.is_folder()))
            })
            .collect()
    }
}
