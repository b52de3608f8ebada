//! The root file system of a zygote and its sandboxes: a small tmpfs with read-only binds of what the runtime needs and of what is granted.
//!
//! Sources are opened, without following links, before anything is mounted, so that building the root cannot hide or redirect them.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::error::{At, SetupError, Step};
use crate::sys::{self, attach_tree, c_path, clone_tree, mount, open_path_without_links, set_tree_attributes};
use crate::writable::mount_proc;

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

/// One tree of the host that is seen inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it is outside: canonical, without links.
    pub source: PathBuf,
    /// Where it is inside: absolute.
    pub target: PathBuf,
    /// What may be done with it.
    pub access: BindAccess,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootPlan {
    /// Trees of the host.
    pub binds: Vec<Bind>,
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

/// Opens and clones every source. Before any other mount call.
pub(crate) fn open_sources<'a>(plan: &'a RootPlan, id_map: Option<BorrowedFd<'_>>) -> Result<Vec<OpenedBind<'a>>, SetupError> {
    plan.binds.iter().enumerate().map(|(index, bind)| open_source(index, bind, id_map)).collect()
}

fn open_source<'a>(index: usize, bind: &'a Bind, id_map: Option<BorrowedFd<'_>>) -> Result<OpenedBind<'a>, SetupError> {
    let path = c_path(&bind.source).at(Step::BindSource)?;
    let source = open_path_without_links(&path).at(Step::BindSource)?;
    let is_folder = fs::File::from(source.try_clone().at(Step::BindSource)?).metadata().at(Step::BindSource)?.is_dir();
    let tree = clone_tree(source.as_fd()).at(Step::BindSource)?;
    let mut attributes = libc::MOUNT_ATTR_NOSUID;
    if bind.access != BindAccess::Device {
        attributes |= libc::MOUNT_ATTR_NODEV;
    }
    if bind.access == BindAccess::Read {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    set_tree_attributes(tree.as_fd(), attributes, None, true).at(Step::BindAttributes)?;
    if bind.as_owner && id_map.is_some() {
        // A file system that cannot map ids leaves the access of "others"; doctor tells.
        let _ = set_tree_attributes(tree.as_fd(), 0, id_map, false);
    }
    let covered = ["/tmp", "/home/user", "/dev/shm"].iter().any(|place| bind.target.starts_with(place));
    let stage = covered.then(|| Path::new("/").join(GRANT_STAGE).join(index.to_string()));
    Ok(OpenedBind { bind, tree, is_folder, stage })
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
    for source in sources {
        let target = beneath(stage, source.stage.as_deref().unwrap_or(&source.bind.target));
        if source.is_folder {
            make_folders(&target).at(Step::BindTarget)?;
        } else if !target.exists() {
            make_folders(target.parent().unwrap_or(stage)).at(Step::BindTarget)?;
            fs::File::create(&target).at(Step::BindTarget)?;
        }
        attach_tree(source.tree.as_fd(), &c_path(&target).at(Step::BindTarget)?).at(Step::BindTarget)?;
        if source.stage.is_some() {
            show_at_its_place(&target, &beneath(stage, &source.bind.target), source.is_folder).at(Step::BindTarget)?;
        }
    }
    for mask in &plan.masks {
        let target = beneath(stage, mask);
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

/// Hides a file by an empty one.
fn hide_file(stage: &Path, target: &Path) -> io::Result<()> {
    let empty = stage.join(".hidden");
    fs::File::create(&empty)?;
    let tree = clone_tree(open_path_without_links(&c_path(&empty)?)?.as_fd())?;
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC | libc::MOUNT_ATTR_RDONLY;
    set_tree_attributes(tree.as_fd(), attributes, None, false)?;
    attach_tree(tree.as_fd(), &c_path(target)?)
}

/// Binds what is staged for the sandbox's own tmpfs also where it belongs. A zygote has no such tmpfs, and its runtime may be installed beneath one of
/// those places: in the home of a user who is called `user`, or in /tmp.
fn show_at_its_place(staged: &Path, place: &Path, is_folder: bool) -> io::Result<()> {
    if is_folder {
        make_folders(place)?;
    } else if !place.exists() {
        make_folders(place.parent().unwrap_or(Path::new("/")))?;
        fs::File::create(place)?;
    }
    mount(Some(&c_path(staged)?), &c_path(place)?, None, libc::MS_BIND | libc::MS_REC, None)
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
            .filter(|(_, bind)| ["/tmp", "/home/user", "/dev/shm"].iter().any(|place| bind.target.starts_with(place)))
            .filter_map(|(index, bind)| {
                let stage = c_path(&Path::new("/").join(GRANT_STAGE).join(index.to_string())).ok()?;
                Some((stage, c_path(&bind.target).ok()?, bind.source.is_dir()))
            })
            .collect()
    }
}
