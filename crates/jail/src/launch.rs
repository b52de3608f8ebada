//! Launches a runtime in a jail of its own: a zygote, or a sandbox with a runtime process of its
//! own.
//!
//! This takes two processes. The *builder* is a fork of the supervisor. It clones the *inmate* into
//! new namespaces, reports its process id and maps its ids. If belljar runs as root, the builder
//! then builds the root outside of the inmate's user namespace, so that the kernel locks each mount
//! in the inmate's copy; as an ordinary user, only the inmate itself can build it. The inmate
//! enters the root, drops its rights and becomes the runtime. It is the supervisor's own child
//! (`CLONE_PARENT`), so that its pidfd cannot refer to another process.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use belljar_access::{Exec, Network};

use crate::bind::BindOwner;
use crate::cgroup;
use crate::confine::{Confinement, Origin, confine};
use crate::descriptors::CHANNEL;
use crate::error::{At, SetupError, Step};
use crate::grant::owner_namespace;
use crate::identity::{
    IdMap, act_as, become_user, die_with_parent, keep_zygote_capabilities, return_to_root,
};
use crate::root::{self, RootPlan};
use crate::seccomp::{self, HostFiles};
use crate::sys::{self, PidFd, check, duplicate_onto, prctl};
use crate::user_counts;

/// The purpose of a launched process.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// The process boots a runtime and forks sandboxes. It keeps the necessary capabilities, in its
    /// own user namespace only.
    Zygote,
    /// The process boots a runtime and runs one program.
    Sandbox(Confinement),
    /// The process is a trusted program that processes untrusted data. It is sealed before it
    /// starts.
    Tool {
        /// Confinement of the tool, with exec granted and without a network of its own.
        confinement: Confinement,
        /// Network access of the tool.
        network: ToolNetwork,
    },
}

/// The network access of a tool. Only a tool can have the network of the host: the
/// [`Network`] of a sandbox, which policies name, has no such value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolNetwork {
    /// No access: the tool has an empty network namespace.
    None,
    /// The network of the host.
    Host,
}

/// A process to launch.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Root file system of the process.
    pub root: &'a RootPlan,
    /// Mapping of its user and group ids.
    pub ids: IdMap,
    /// Path of the runtime in the jail.
    pub executable: CString,
    /// Arguments of the runtime, including the first one.
    pub arguments: Vec<CString>,
    /// All environment variables of the runtime, as `NAME=value`.
    pub environment: Vec<CString>,
    /// Standard input, output and error: descriptors 0, 1 and 2.
    pub streams: [BorrowedFd<'a>; 3],
    /// Channel to the supervisor: descriptor 3.
    pub channel: BorrowedFd<'a>,
    /// Purpose of the process.
    pub purpose: Purpose,
    /// Files of the control group that the process joins before it does anything.
    pub cgroup: &'a [OwnedFd],
}

/// A launched process.
#[derive(Debug)]
pub struct Launched {
    /// Pidfd of the process. The process is a child of the calling *thread* and dies with it.
    pub pidfd: PidFd,
    /// Process id in the caller's PID namespace. It is valid only until the process is waited for.
    pub pid: libc::pid_t,
}

/// An error of launching a process.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A step in the supervisor failed.
    #[error("{0}")]
    Supervisor(#[source] SetupError),
    /// A step in the builder or the inmate failed.
    #[error("{0}")]
    Inside(#[source] SetupError),
    /// The builder ended without a report.
    #[error("the process that builds the jail ended without a report")]
    Silent,
}

impl LaunchError {
    /// Returns the failed step, if it is known.
    pub fn setup(&self) -> Option<SetupError> {
        match self {
            Self::Supervisor(error) | Self::Inside(error) => Some(*error),
            Self::Silent => None,
        }
    }
}

/// The length of a report on the pipe: one byte of tag, four bytes of number.
const REPORT_BYTES: usize = 5;
const TAG_PID: u8 = 0;

fn report(mut pipe: &File, tag: u8, number: i32) {
    let [a, b, c, d] = number.to_le_bytes();
    // If this fails, there is no other way to report.
    let _ = pipe.write_all(&[tag, a, b, c, d]);
}

fn fail(pipe: &File, error: SetupError) -> ! {
    report(pipe, error.step as u8, error.errno);
    sys::exit_now(error.step as i32)
}

impl Launch<'_> {
    /// Launches the process and returns once it has become the runtime. Blocks for some
    /// milliseconds. The calling thread must outlive the process.
    pub fn launch(&self) -> Result<Launched, LaunchError> {
        let (mut read, write) = sys::pipe().at(Step::Report).map_err(LaunchError::Supervisor)?;
        let owner = self.ids.owner_uid(std::process::id() as libc::pid_t);
        seccomp::base_program();
        // SAFETY: glibc's fork keeps its own locks consistent in the child, which only makes system
        // calls, allocates, and ends by `execve` or `_exit`; no lock of this program is taken
        // there.
        let builder = check(i64::from(unsafe { libc::fork() }))
            .at(Step::Fork)
            .map_err(LaunchError::Supervisor)? as libc::pid_t;
        if builder == 0 {
            drop(read);
            self.build_and_clone(&write, owner);
        }
        drop(write);
        let outcome = collect(&mut read);
        let mut status = 0;
        // SAFETY: `status` is writable; the builder is our child.
        unsafe { libc::waitpid(builder, &raw mut status, 0) };
        outcome
    }

    fn build_and_clone(&self, pipe: &File, owner: Option<u32>) -> ! {
        let result = (|| {
            reset_signals().at(Step::Fork)?;
            // The kernel kills a supervisor's children first when the machine runs out of memory.
            let _ = std::fs::write("/proc/self/oom_score_adj", "500");
            let mut namespaces = libc::CLONE_NEWUSER
                | libc::CLONE_NEWPID
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWUTS
                | libc::CLONE_PARENT;
            if !matches!(self.purpose, Purpose::Tool { network: ToolNetwork::Host, .. }) {
                namespaces |= libc::CLONE_NEWNET;
            }
            let (mut go_read, go_write) = sys::pipe().at(Step::Report)?;
            let mut opened = Vec::new();
            if self.ids == IdMap::Own {
                opened = root::clone_opened(self.root)?;
                make_mounts_private()?;
            }
            // The mount namespace is shared until the root is built; the inmate then takes its own
            // copy, in which every mount is locked.
            let pid = clone_owned(namespaces, owner).at(Step::Namespaces)?;
            if pid == 0 {
                drop(go_write);
                let mut go = [0];
                // If the builder fails, it closes its end without sending a byte.
                if go_read.read_exact(&mut go).is_err() {
                    sys::exit_now(Step::IdMaps as i32);
                }
                let Err(error) = self.become_runtime();
                fail(pipe, error);
            }
            report(pipe, TAG_PID, pid);
            self.ids.write(pid).at(Step::IdMaps)?;
            if self.ids == IdMap::Own {
                let owner_map = self
                    .root
                    .binds
                    .iter()
                    .any(|bind| bind.owner == BindOwner::Sandbox)
                    .then(|| owner_namespace(self.ids.host_uid(pid)).ok())
                    .flatten();
                let sources =
                    root::open_sources(self.root, opened, owner_map.as_ref().map(OwnedFd::as_fd))?;
                root::build(self.root, &sources)?;
            }
            (&go_write).write_all(&[1]).at(Step::Report)
        })();
        match result {
            Ok(()) => sys::exit_now(0),
            Err(error) => fail(pipe, error),
        }
    }

    fn become_runtime(&self) -> Result<std::convert::Infallible, SetupError> {
        // Its parent is the thread that launched it.
        die_with_parent()?;
        cgroup::enter(self.cgroup)?;
        user_counts::limit(self.ids)?;
        // The cgroup namespace is created only now, so that its root is the group that this process
        // has joined.
        sys::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP).at(Step::PrivateMounts)?;
        if let IdMap::Single { .. } = self.ids {
            make_private()?;
            let sources = root::open_sources(self.root, Vec::new(), None)?;
            root::build(self.root, &sources)?;
        }
        root::enter()?;
        set_host_name().at(Step::Namespaces)?;
        // Signals to the own process group would reach the supervisor's if both have the same user.
        // SAFETY: no arguments; a newly cloned process leads no group.
        check(i64::from(unsafe { libc::setsid() })).at(Step::Namespaces)?;
        self.place_descriptors()?;
        match &self.purpose {
            Purpose::Zygote => {
                become_user(self.ids.zygote_uid(), self.ids == IdMap::Own)?;
                keep_zygote_capabilities()?;
                die_with_parent()?;
                prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).at(Step::Privileges)?;
            }
            Purpose::Sandbox(confinement) | Purpose::Tool { confinement, .. } => {
                confine(confinement, Origin::Launched)?;
            }
        }
        seccomp::install(seccomp::base_program()).at(Step::Seccomp)?;
        if let Purpose::Tool { network, .. } = &self.purpose {
            let sockets_as_with = match network {
                ToolNetwork::None => Network::None,
                ToolNetwork::Host => {
                    seccomp::install(&seccomp::no_local_sockets().compile()).at(Step::Seccomp)?;
                    Network::Loopback
                }
            };
            let filter = seccomp::sealed(Exec::Granted, sockets_as_with, HostFiles::Granted);
            seccomp::install(&filter.compile()).at(Step::Seccomp)?;
        }
        let error = execute(&self.executable, &self.arguments, &self.environment);
        Err(error).at(Step::Exec)
    }

    fn place_descriptors(&self) -> Result<(), SetupError> {
        // First move all of them, so that none overwrites another.
        let high = |fd: BorrowedFd<'_>| -> io::Result<i32> {
            // SAFETY: duplicates to a number from 64 up.
            check(i64::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) }))
                .map(|n| n as i32)
        };
        let mut moved = [0; 4];
        for (slot, fd) in moved.iter_mut().zip(self.streams.iter().copied().chain([self.channel])) {
            *slot = high(fd).at(Step::Descriptors)?;
        }
        for (number, fd) in moved.into_iter().zip(0..=CHANNEL).map(|(from, number)| (number, from))
        {
            duplicate_onto(fd, number, 0).at(Step::Descriptors)?;
        }
        // All other descriptors of the supervisor are closed by execve, whether or not they were
        // marked so. SAFETY: only marks descriptors.
        check(unsafe {
            libc::syscall(
                libc::SYS_close_range,
                CHANNEL + 1,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        })
        .map(drop)
        .at(Step::Descriptors)
    }
}

/// Clones the calling process into new namespaces. The user namespace belongs to `owner` if there
/// is one, else to the caller.
fn clone_owned(namespaces: libc::c_int, owner: Option<u32>) -> io::Result<libc::pid_t> {
    let Some(owner) = owner else { return sys::clone_process(namespaces) };
    act_as(owner)?;
    let cloned = sys::clone_process(namespaces);
    if matches!(cloned, Ok(pid) if pid > 0) {
        return_to_root()?;
    }
    cloned
}

fn collect(pipe: &mut File) -> Result<Launched, LaunchError> {
    let mut inmate = None;
    loop {
        let mut record = [0_u8; REPORT_BYTES];
        match pipe.read_exact(&mut record) {
            Ok(()) => {}
            // All writing ends are closed: the inmate has become the runtime.
            Err(_) => break,
        }
        let [tag, number @ ..] = record;
        let number = i32::from_le_bytes(number);
        match Step::from_code(tag) {
            None if tag == TAG_PID => {
                let pidfd =
                    sys::pidfd_open(number).at(Step::Report).map_err(LaunchError::Supervisor)?;
                inmate = Some(Launched { pidfd, pid: number });
            }
            None => return Err(abandon(inmate, LaunchError::Silent)),
            Some(step) => {
                return Err(abandon(
                    inmate,
                    LaunchError::Inside(SetupError { step, errno: number }),
                ));
            }
        }
    }
    let Some(launched) = inmate else { return Err(LaunchError::Silent) };
    Ok(launched)
}

/// Ends and reaps a partially launched process.
fn abandon(inmate: Option<Launched>, error: LaunchError) -> LaunchError {
    if let Some(inmate) = inmate {
        let _ = sys::kill_pidfd(inmate.pidfd.as_fd());
        // SAFETY: a null status is allowed; the inmate is our child and has not been waited for.
        unsafe { libc::waitpid(inmate.pid, std::ptr::null_mut(), 0) };
    }
    error
}

/// Resets all signals, because a runtime must start with no signal blocked or ignored, and children
/// inherit that Rust programs ignore SIGPIPE.
fn reset_signals() -> io::Result<()> {
    // SAFETY: an empty set is written, then read; SIG_DFL is a valid disposition.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(i64::from(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut(),
        )))?;
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::umask(0o022);
    }
    Ok(())
}

/// Creates a private mount namespace. As an ordinary user this has to wait until the inmate has a
/// user namespace, because only namespaces that belong to it can be changed.
fn make_mounts_private() -> Result<(), SetupError> {
    sys::unshare(libc::CLONE_NEWNS).at(Step::PrivateMounts)?;
    make_private()
}

fn make_private() -> Result<(), SetupError> {
    sys::mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None).at(Step::PrivateMounts)
}

fn set_host_name() -> io::Result<()> {
    let name = b"sandbox";
    // SAFETY: the name is readable for its length.
    check(i64::from(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })).map(drop)
}

fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: null-terminated arrays of NUL-terminated strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}
