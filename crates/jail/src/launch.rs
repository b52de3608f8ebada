//! Launches a runtime in a jail of its own: a zygote, or a sandbox with a runtime process of its own.
//!
//! Two processes do it. The *builder* is a fork of the supervisor. It clones the *inmate* into new namespaces, reports its number and maps its
//! ids. As root it then puts the root together, outside of the inmate's user namespace, so that the kernel locks each mount in the copy that the
//! inmate takes; as an ordinary user only the inmate itself can. The inmate enters the root, gives up what it must and becomes the runtime. It is the supervisor's own child (`CLONE_PARENT`), so that its pidfd cannot be
//! another process's.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::cgroup;
use crate::confine::{Confinement, confine};
use crate::descriptors::CHANNEL;
use crate::error::{At, SetupError, Step};
use crate::grant::owner_namespace;
use crate::identity::{IdMap, act_as, become_user, die_with_parent, keep_zygote_capabilities, return_to_root};
use crate::root::{self, RootPlan};
use crate::seccomp::{self, Seal};
use crate::sys::{self, PidFd, check, duplicate_onto, prctl};
use crate::user_counts;

/// What the launched process is to be.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Boots a runtime and forks sandboxes. Keeps the capabilities for that, in its own user namespace only.
    Zygote,
    /// Boots a runtime and runs one program.
    Sandbox(Confinement),
    /// A program of ours that works on what others made: sealed before it starts.
    Tool {
        /// How it is confined. Exec is granted.
        confinement: Confinement,
        /// What it reaches.
        network: ToolNetwork,
    },
}

/// What a tool reaches over the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolNetwork {
    /// Nothing: an empty network namespace.
    None,
    /// What the host reaches, by its own network.
    Host,
}

/// One process to launch.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Its root.
    pub root: &'a RootPlan,
    /// Its ids.
    pub ids: IdMap,
    /// The runtime, as a path inside.
    pub executable: CString,
    /// Its arguments, the first included.
    pub arguments: Vec<CString>,
    /// Its whole environment, `NAME=value`.
    pub environment: Vec<CString>,
    /// Descriptors 0, 1 and 2.
    pub streams: [BorrowedFd<'a>; 3],
    /// Descriptor 3: its channel to the supervisor.
    pub channel: BorrowedFd<'a>,
    /// What it is to be.
    pub purpose: Purpose,
    /// The entrances of the control group that it enters before it does anything.
    pub cgroup: &'a [OwnedFd],
}

/// A launched process.
#[derive(Debug)]
pub struct Launched {
    /// It. A child of the calling *thread*: it dies when that thread ends.
    pub pidfd: PidFd,
    /// Its number in the caller's PID namespace. To be used only while it has not been waited for.
    pub pid: libc::pid_t,
}

/// A process that could not be launched.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The supervisor's own part.
    #[error("{0}")]
    Supervisor(#[source] SetupError),
    /// The builder's or the inmate's part.
    #[error("{0}")]
    Inside(#[source] SetupError),
    /// It died without a word.
    #[error("the process that builds the jail died without a report")]
    Silent,
}

impl LaunchError {
    /// The step that failed, if one is known.
    pub fn setup(&self) -> Option<SetupError> {
        match self {
            Self::Supervisor(error) | Self::Inside(error) => Some(*error),
            Self::Silent => None,
        }
    }
}

/// A report on the pipe: one byte of tag, four of number.
const REPORT_BYTES: usize = 5;
const TAG_PID: u8 = 0;

fn report(mut pipe: &File, tag: u8, number: i32) {
    let [a, b, c, d] = number.to_le_bytes();
    // Nobody else is left to tell.
    let _ = pipe.write_all(&[tag, a, b, c, d]);
}

fn fail(pipe: &File, error: SetupError) -> ! {
    report(pipe, error.step as u8, error.errno);
    sys::exit_now(error.step as i32)
}

impl Launch<'_> {
    /// Launches it and returns once it has become the runtime. Blocks for some milliseconds. The calling thread must outlive what it launches.
    pub fn launch(&self) -> Result<Launched, LaunchError> {
        let (mut read, write) = sys::pipe().at(Step::Report).map_err(LaunchError::Supervisor)?;
        let owner = self.ids.owner_uid(std::process::id() as libc::pid_t);
        seccomp::base_program();
        // SAFETY: glibc's fork keeps its own locks consistent in the child, which only makes system calls, allocates, and ends by `execve` or
        // `_exit`; no lock of this program is taken there.
        let builder = check(i64::from(unsafe { libc::fork() })).at(Step::Fork).map_err(LaunchError::Supervisor)? as libc::pid_t;
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
            // Children of a supervisor go first when the machine runs out of memory.
            let _ = std::fs::write("/proc/self/oom_score_adj", "500");
            let mut namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_PARENT;
            if !matches!(self.purpose, Purpose::Tool { network: ToolNetwork::Host, .. }) {
                namespaces |= libc::CLONE_NEWNET;
            }
            let (mut go_read, go_write) = sys::pipe().at(Step::Report)?;
            let mut opened = Vec::new();
            if self.ids == IdMap::Own {
                opened = root::clone_opened(self.root)?;
                make_mounts_private()?;
            }
            // The mount namespace is shared until the root stands in it; the inmate then takes its own copy, with every mount locked.
            let pid = clone_owned(namespaces, owner).at(Step::Namespaces)?;
            if pid == 0 {
                drop(go_write);
                let mut go = [0];
                // The builder closes its end without a byte when it fails: then there is nothing to go on with.
                if go_read.read_exact(&mut go).is_err() {
                    sys::exit_now(Step::IdMaps as i32);
                }
                let Err(error) = self.become_runtime();
                fail(pipe, error);
            }
            report(pipe, TAG_PID, pid);
            self.ids.write(pid).at(Step::IdMaps)?;
            if self.ids == IdMap::Own {
                let owner_map =
                    self.root.binds.iter().any(|bind| bind.as_owner).then(|| owner_namespace(self.ids.host_uid(pid)).ok()).flatten();
                let sources = root::open_sources(self.root, opened, owner_map.as_ref().map(OwnedFd::as_fd))?;
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
        // The cgroup namespace only now, so that it is rooted in the group that this process has been put in.
        sys::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP).at(Step::PrivateMounts)?;
        if let IdMap::Single { .. } = self.ids {
            make_private()?;
            let sources = root::open_sources(self.root, Vec::new(), None)?;
            root::build(self.root, &sources)?;
        }
        root::enter()?;
        set_host_name().at(Step::Namespaces)?;
        // Signals to "my own group" would be to the supervisor's as well where both are the same user.
        // SAFETY: no arguments. It leads no group, as it was cloned just now.
        check(i64::from(unsafe { libc::setsid() })).at(Step::Namespaces)?;
        self.place_descriptors()?;
        match &self.purpose {
            Purpose::Zygote => {
                become_user(self.ids.zygote_uid(), self.ids == IdMap::Own)?;
                keep_zygote_capabilities()?;
                die_with_parent()?;
                prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).at(Step::Privileges)?;
            }
            Purpose::Sandbox(confinement) | Purpose::Tool { confinement, .. } => confine(confinement, false)?,
        }
        seccomp::install(seccomp::base_program()).at(Step::Seccomp)?;
        if let Purpose::Tool { network, .. } = &self.purpose {
            if *network == ToolNetwork::Host {
                seccomp::install(&seccomp::no_local_sockets().compile()).at(Step::Seccomp)?;
            }
            let seal = Seal { exec: true, loopback: *network == ToolNetwork::Host, shares_files: true };
            seccomp::install(&seccomp::sealed(seal).compile()).at(Step::Seccomp)?;
        }
        let error = execute(&self.executable, &self.arguments, &self.environment);
        Err(error).at(Step::Exec)
    }

    fn place_descriptors(&self) -> Result<(), SetupError> {
        // First out of the way, so that none is overwritten by another.
        let high = |fd: BorrowedFd<'_>| -> io::Result<i32> {
            // SAFETY: duplicates to a number from 64 up.
            check(i64::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) })).map(|n| n as i32)
        };
        let mut moved = [0; 4];
        for (slot, fd) in moved.iter_mut().zip(self.streams.iter().copied().chain([self.channel])) {
            *slot = high(fd).at(Step::Descriptors)?;
        }
        for (number, fd) in moved.into_iter().zip(0..=CHANNEL).map(|(from, number)| (number, from)) {
            duplicate_onto(fd, number, 0).at(Step::Descriptors)?;
        }
        // Whatever else the supervisor had open, whether or not it was marked so: gone at execve.
        // SAFETY: marks descriptors only.
        check(unsafe { libc::syscall(libc::SYS_close_range, CHANNEL + 1, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) })
            .map(drop)
            .at(Step::Descriptors)
    }
}

/// Clones the calling process into new namespaces. The user namespace belongs to `owner`, where one is named, else to the caller.
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
            // Both ends closed: the inmate has become the runtime.
            Err(_) => break,
        }
        let [tag, number @ ..] = record;
        let number = i32::from_le_bytes(number);
        match Step::from_code(tag) {
            None if tag == TAG_PID => {
                let pidfd = sys::pidfd_open(number).at(Step::Report).map_err(LaunchError::Supervisor)?;
                inmate = Some(Launched { pidfd, pid: number });
            }
            None => return Err(abandon(inmate, LaunchError::Silent)),
            Some(step) => return Err(abandon(inmate, LaunchError::Inside(SetupError { step, errno: number }))),
        }
    }
    let Some(launched) = inmate else { return Err(LaunchError::Silent) };
    Ok(launched)
}

/// Ends and reaps what was launched half.
fn abandon(inmate: Option<Launched>, error: LaunchError) -> LaunchError {
    if let Some(inmate) = inmate {
        let _ = sys::kill_pidfd(inmate.pidfd.as_fd());
        // SAFETY: a null status is allowed; the inmate is our child and has not been waited for.
        unsafe { libc::waitpid(inmate.pid, std::ptr::null_mut(), 0) };
    }
    error
}

/// A runtime starts with no signal blocked or ignored; Rust programs ignore SIGPIPE, which children inherit.
fn reset_signals() -> io::Result<()> {
    // SAFETY: an empty set is written, then read; SIG_DFL is a valid disposition.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(i64::from(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut())))?;
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::umask(0o022);
    }
    Ok(())
}

/// As an ordinary user this has to wait until the inmate has a user namespace: then only a namespace of its own can be changed.
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
    let pointers =
        |list: &[CString]| -> Vec<*const libc::c_char> { list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect() };
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: null-terminated arrays of NUL-terminated strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}
