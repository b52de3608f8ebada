//! System calls that neither `std` nor `libc` wraps safely, each in a safe function named for its
//! effect.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// A descriptor that refers to a process.
pub type PidFd = OwnedFd;

pub(crate) fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub(crate) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    fs: Option<&CStr>,
    flags: libc::c_ulong,
    data: Option<&CStr>,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: each pointer is null or a NUL-terminated string that outlives the call.
    check(i64::from(unsafe {
        libc::mount(pointer(source), target.as_ptr(), pointer(fs), flags, pointer(data).cast())
    }))
    .map(drop)
}

pub(crate) fn unmount_detached(target: &CStr) -> io::Result<()> {
    // SAFETY: the string is NUL-terminated and outlives the call.
    check(i64::from(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })).map(drop)
}

/// Returns the value of an extended attribute, if it exists and has at most 64 bytes.
pub(crate) fn extended_attribute(path: &Path, name: &CStr) -> Option<Vec<u8>> {
    let (path, mut value) = (c_path(path).ok()?, vec![0; 64]);
    // SAFETY: both strings are NUL-terminated, the buffer has the given length, and all outlive the
    // call.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    value.truncate(usize::try_from(length).ok()?);
    Some(value)
}

pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: the flags used here (namespaces only, never CLONE_FILES or CLONE_VM) invalidate no
    // Rust state.
    check(i64::from(unsafe { libc::unshare(flags) })).map(drop)
}

/// Opens a path by `openat2` with `RESOLVE_NO_SYMLINKS`: the path must not contain symbolic links,
/// so that the checked file is the one that is opened.
pub(crate) fn open_path_without_links(path: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: all-zero is a valid `open_how`.
    let mut how: libc::open_how = unsafe { mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_NO_SYMLINKS;
    // SAFETY: the path and `how` outlive the call, and the size is that of `how`.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    })?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Returns a detached copy of the mount tree at `source`.
pub(crate) fn clone_tree(source: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | (libc::AT_RECURSIVE | libc::AT_EMPTY_PATH) as libc::c_uint;
    // SAFETY: an empty NUL-terminated path; the descriptor is valid for the call.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_open_tree, source.as_raw_fd(), c"".as_ptr(), flags)
    })?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Returns an `O_PATH` descriptor of a folder in the caller's own root.
pub(crate) fn open_folder(path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path is NUL-terminated and outlives the call.
    let fd = check(i64::from(unsafe { libc::open(path.as_ptr(), flags) }))?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Creates a pipe, and returns its reading end and its writing end.
pub(crate) fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    check(i64::from(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }))?;
    // SAFETY: the kernel has just returned these descriptors to us alone.
    Ok(unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) })
}

/// Returns an `O_PATH` descriptor of an entry of a folder. If the entry is a symbolic link, the
/// descriptor refers to the link itself.
pub(crate) fn open_entry(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the name is NUL-terminated and outlives the call.
    let fd = check(i64::from(unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags) }))?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Creates an empty folder, or an empty file, that must not exist yet.
pub(crate) fn make_entry(folder: BorrowedFd<'_>, name: &CStr, is_folder: bool) -> io::Result<()> {
    if is_folder {
        // SAFETY: the name is NUL-terminated and outlives the call.
        return check(i64::from(unsafe {
            libc::mkdirat(folder.as_raw_fd(), name.as_ptr(), 0o755)
        }))
        .map(drop);
    }
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the name is NUL-terminated and outlives the call.
    let fd =
        check(i64::from(unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags, 0o644) }))?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}

fn stat(of: BorrowedFd<'_>) -> io::Result<libc::stat> {
    // SAFETY: all-zero is a valid `stat`, and it is writable.
    let mut found: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: an empty NUL-terminated path; `found` is writable for its size.
    check(i64::from(unsafe {
        libc::fstatat(of.as_raw_fd(), c"".as_ptr(), &raw mut found, libc::AT_EMPTY_PATH)
    }))?;
    Ok(found)
}

/// Returns the device and the mode of the file behind a descriptor.
pub(crate) fn device_and_mode(of: BorrowedFd<'_>) -> io::Result<(libc::dev_t, libc::mode_t)> {
    stat(of).map(|found| (found.st_dev, found.st_mode))
}

/// Returns the device and the inode of the file behind a descriptor. They identify the file as long
/// as the descriptor is open.
pub(crate) fn file_identity(of: BorrowedFd<'_>) -> io::Result<(libc::dev_t, libc::ino_t)> {
    stat(of).map(|found| (found.st_dev, found.st_ino))
}

/// Separates a detached tree from the mounts that it was copied from, so that later mounts there do
/// not appear in it.
pub(crate) fn make_tree_private(tree: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all-zero is a valid `mount_attr`.
    let mut attributes: libc::mount_attr = unsafe { mem::zeroed() };
    attributes.propagation = libc::MS_PRIVATE;
    apply_attributes(tree, &attributes, TreeScope::AllMounts)
}

/// The mounts of a tree to which a change applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TreeScope {
    /// The mount at the top of the tree and all mounts beneath it.
    AllMounts,
    /// Only the mount at the top of the tree.
    TopMount,
}

/// Sets attributes on mounts of a tree.
pub(crate) fn set_tree_attributes(
    tree: BorrowedFd<'_>,
    set: u64,
    id_map: Option<BorrowedFd<'_>>,
    scope: TreeScope,
) -> io::Result<()> {
    // SAFETY: all-zero is a valid `mount_attr`.
    let mut attributes: libc::mount_attr = unsafe { mem::zeroed() };
    attributes.attr_set = set;
    if let Some(namespace) = id_map {
        attributes.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attributes.userns_fd = namespace.as_raw_fd() as u64;
    }
    apply_attributes(tree, &attributes, scope)
}

fn apply_attributes(
    tree: BorrowedFd<'_>,
    attributes: &libc::mount_attr,
    scope: TreeScope,
) -> io::Result<()> {
    let flags = match scope {
        TreeScope::AllMounts => libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
        TreeScope::TopMount => libc::AT_EMPTY_PATH,
    };
    // SAFETY: the empty path and the attributes outlive the call, and the size is that of the
    // attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}

/// Attaches a detached tree over the file or folder behind `target`.
pub(crate) fn attach_tree(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x04;
    const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are empty and NUL-terminated; the descriptors are valid for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    };
    check(result).map(drop)
}

/// Changes the root and the working folder to the folder behind `root`.
pub(crate) fn change_root(root: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a valid descriptor, then a constant NUL-terminated string.
    check(i64::from(unsafe { libc::fchdir(root.as_raw_fd()) }))?;
    // SAFETY: as above.
    check(i64::from(unsafe { libc::chroot(c".".as_ptr()) })).map(drop)
}

/// Moves the calling thread into the network namespace behind `network`.
pub fn enter_network(network: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: only changes the namespace of new sockets.
    check(i64::from(unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) })).map(drop)
}

pub(crate) fn pivot_root_here() -> io::Result<()> {
    // SAFETY: constant NUL-terminated strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}

pub(crate) fn prctl(option: libc::c_int, a: libc::c_ulong, b: libc::c_ulong) -> io::Result<i32> {
    // SAFETY: callers pass only options whose arguments are integers.
    check(i64::from(unsafe { libc::prctl(option, a, b, 0, 0) })).map(|n| n as i32)
}

/// Forks by system call, with additional `flags`. Only this thread exists in the child, and glibc
/// does not know about the fork, so the caller must be single-threaded.
pub(crate) fn clone_process(flags: libc::c_int) -> io::Result<libc::pid_t> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: no stack, thread or memory is shared, so the child continues here with a copy of
    // everything.
    check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })
        .map(|pid| pid as libc::pid_t)
}

/// Returns a descriptor of the process `pid`. This is race-free only for a child of the caller that
/// has not been waited for.
pub fn pidfd_open(pid: libc::pid_t) -> io::Result<PidFd> {
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends SIGKILL. It is not an error if the process is already gone.
pub fn kill_pidfd(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    signal_pidfd(pidfd, libc::SIGKILL)
}

/// Sends SIGSTOP, which stops all threads of the process. It is not an error if the process is
/// already gone.
pub fn stop_pidfd(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    signal_pidfd(pidfd, libc::SIGSTOP)
}

/// Sends SIGCONT. It is not an error if the process is already gone.
pub fn continue_pidfd(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    signal_pidfd(pidfd, libc::SIGCONT)
}

fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no information is passed (null), and the descriptor is valid for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    match check(result) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// Returns whether the other side of a Unix stream socket has not received all sent data.
pub fn has_unreceived(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut bytes: libc::c_int = 0;
    // SIOCOUTQ (unix_ioctl in the kernel) returns the memory of messages that the other side has
    // not completely received. SAFETY: the result is writable; the descriptor is valid for the
    // call.
    check(i64::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) }))?;
    Ok(bytes > 0)
}

/// Returns the process id in the caller's PID namespace, or `None` if the process is gone or not
/// visible there. Use it only for interfaces that accept nothing else (control groups, `prlimit`),
/// and only while the parent has not reaped the process.
pub fn pid_of_pidfd(pidfd: BorrowedFd<'_>) -> Option<libc::pid_t> {
    let info = crate::kernel_file::read_kernel_file(
        format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()).as_ref(),
    )
    .ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

pub(crate) fn duplicate_onto(
    from: libc::c_int,
    onto: libc::c_int,
    flags: libc::c_int,
) -> io::Result<()> {
    // SAFETY: descriptors are numbers to the kernel; callers replace only descriptors that they
    // own.
    check(i64::from(unsafe { libc::dup3(from, onto, flags) })).map(drop)
}

pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process without running any handler, as a partially confined child must do.
    unsafe { libc::_exit(code) }
}

/// The end of a child, and its resource usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Status as `wait4` returns it.
    pub wait_status: i32,
    /// CPU time in user space, microseconds.
    pub user_us: u64,
    /// CPU time in the kernel, microseconds.
    pub system_us: u64,
    /// Peak resident set, bytes.
    pub peak_resident_bytes: u64,
}

/// Waits for a child of this process. Returns `None` if it is not a child, or has been waited for.
pub fn reap(pid: libc::pid_t) -> Option<Reaped> {
    let mut wait_status = 0;
    // SAFETY: all-zero is a valid `rusage`; both results are writable.
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        let waited = loop {
            let waited = libc::wait4(pid, &raw mut wait_status, 0, &raw mut usage);
            if waited >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break waited;
            }
        };
        (waited, usage)
    };
    let us = |time: libc::timeval| {
        (time.tv_sec as u64).saturating_mul(1_000_000).saturating_add(time.tv_usec as u64)
    };
    (waited == pid).then(|| Reaped {
        wait_status,
        user_us: us(usage.ru_utime),
        system_us: us(usage.ru_stime),
        peak_resident_bytes: (usage.ru_maxrss as u64).saturating_mul(1024),
    })
}

/// Returns the pairs of descriptors of two processes that refer to the same open file description.
/// This needs the right to trace both processes.
pub fn shared_descriptions(one: libc::pid_t, other: libc::pid_t) -> io::Result<Vec<(i32, i32)>> {
    let (ours, theirs) = (open_descriptors(one)?, open_descriptors(other)?);
    let mut shared = Vec::new();
    for &a in &ours {
        for &b in &theirs {
            if is_same_description((one, a), (other, b))? == Some(true) {
                shared.push((a, b));
            }
        }
    }
    Ok(shared)
}

/// Returns the descriptors of a process, which are probed one by one: `/proc` lists those of a
/// non-dumpable process only for root, but the kernel lets the owner of its user namespace compare
/// them.
fn open_descriptors(pid: libc::pid_t) -> io::Result<Vec<i32>> {
    /// The highest probed number. A process in a self-test always opens the lowest free number, and
    /// has a few dozen descriptors at most.
    const MOST: i32 = 1024;
    let mut open = Vec::new();
    for fd in 0..MOST {
        if is_same_description((pid, fd), (pid, fd))?.is_some() {
            open.push(fd);
        }
    }
    Ok(open)
}

/// Returns whether two descriptors refer to the same open file description, or `None` if one is not
/// open.
fn is_same_description(
    one: (libc::pid_t, i32),
    other: (libc::pid_t, i32),
) -> io::Result<Option<bool>> {
    const KCMP_FILE: libc::c_int = 0;
    // SAFETY: integers only.
    match check(unsafe { libc::syscall(libc::SYS_kcmp, one.0, other.0, KCMP_FILE, one.1, other.1) })
    {
        Ok(order) => Ok(Some(order == 0)),
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(None),
        Err(error) => Err(error),
    }
}
