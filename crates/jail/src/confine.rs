//! The steps by which a process that has capabilities in its zygote's user namespace becomes a sandbox. The same for a forked child and, before
//! `execve`, for a sandbox with a runtime process of its own.

use crate::error::{At, SetupError, Step};
use crate::grant::{self, GrantPlan};
use crate::identity::{become_user, die_with_parent, drop_all_capabilities, give_up_privileges};
use crate::landlock::{self, Paths};
use crate::limits::ResourceLimits;
use crate::loopback;
use crate::own_space;
use crate::root::{self, Exec};
use crate::seccomp::{self, Seal};
use crate::sys::{self, prctl, unshare};
use crate::writable::{WritableSpace, mount_proc};

/// What makes one sandbox differ from another of its zygote.
#[derive(Clone, Debug)]
pub struct Confinement {
    /// Its uid and gid inside.
    pub uid: u32,
    /// Whether the group list can be emptied: not where a single id is mapped.
    pub may_set_groups: bool,
    /// Where it can write.
    pub space: WritableSpace,
    /// Grants that it puts into place for itself.
    pub grants: GrantPlan,
    /// Granted paths that it can write.
    pub write: Vec<String>,
    /// Limits of each process.
    pub limits: ResourceLimits,
    /// Whether it may start programs.
    pub exec: bool,
    /// Whether it has loopback: then a forked one makes a network namespace, for itself alone, in which it is up.
    pub loopback: bool,
}

/// Confines the calling, single-threaded process: namespaces, mounts, limits, identity, capabilities, Landlock. What is left is [`Seals::apply`].
///
/// `forked` processes make namespaces of their own; a launched one has them already. A network namespace a forked process has already, unless it is to
/// have loopback.
pub fn confine(confinement: &Confinement, forked: bool) -> Result<(), SetupError> {
    die_with_parent()?;
    if forked {
        // A signal to one's own process group (`kill(0)`) goes by the group alone, whatever namespaces its members are in.
        // SAFETY: no pointers; a process that was just forked leads no group.
        sys::check(i64::from(unsafe { libc::setsid() })).at(Step::OwnNamespaces)?;
        let mut namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
        if confinement.loopback {
            namespaces |= libc::CLONE_NEWNET;
        }
        unshare(namespaces).at(Step::OwnNamespaces)?;
    }
    // Before anything is written: the zygote's own id may not be the owner of a sandbox's files. Capabilities stay, see `become_user`.
    become_user(confinement.uid, confinement.may_set_groups)?;
    confinement.space.mount()?;
    let exec = if confinement.exec { Exec::Allowed } else { Exec::Refused };
    grant::place(&confinement.grants, exec)?;
    if confinement.loopback {
        loopback::bound_connections()?;
    }
    if forked {
        mount_proc(c"/proc")?;
    }
    if confinement.loopback {
        loopback::bring_up()?;
    }
    root::hide_mounts()?;
    own_space::keep(confinement)?.apply()?;
    drop_all_capabilities()?;
    give_up_privileges()?;
    // A launched process has its runtime still to execute.
    landlock::restrict(&Paths { executes: confinement.exec || !forked, exec: confinement.exec, write: &confinement.write })?;
    std::env::set_current_dir(crate::HOME).at(Step::WritableSpace)
}

/// The filters of the last step, compiled in advance: a zygote does it once for all its children.
#[derive(Debug)]
pub struct Seals([(Seal, Vec<seccomp::Instruction>); 8]);

impl Seals {
    /// Compiles them.
    pub fn compile() -> Self {
        Self(Seal::all().map(|seal| (seal, seccomp::sealed(seal).compile())))
    }

    /// The last step: takes away the system calls that only the set-up needed. Every thread of the process is sealed.
    pub fn apply(&self, seal: Seal) -> Result<(), SetupError> {
        // Again: `execve` of the runtime has undone it where a sandbox has a runtime process of its own (prctl(2)).
        prctl(libc::PR_SET_DUMPABLE, 0, 0).at(Step::Privileges)?;
        let (_, filter) = self.0.iter().find(|(compiled, _)| *compiled == seal).unwrap_or(&self.0[0]);
        seccomp::install(&seccomp::with_own_space(filter, own_space::number().at(Step::Seccomp)?)).at(Step::Seccomp)
    }
}

/// Forks where `exec` is granted: the parent stays behind as the sandbox's PID 1, reaps what is orphaned and ends as the child ends; the child
/// returns. Without it orphans would stay as zombies and count, and the default action of signals would not apply to the program.
pub fn confine_exec_grant_init() -> Result<(), SetupError> {
    // glibc's fork, so that the runtime that goes on in the child finds its thread id and locks in order.
    // SAFETY: the caller is single-threaded.
    let child = sys::check(i64::from(unsafe { libc::fork() })).at(Step::Init)? as libc::pid_t;
    if child == 0 {
        return die_with_parent();
    }
    // Held by init they would keep the program's pipes from ever ending.
    // SAFETY: this process uses no descriptor from here on.
    unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
    let status = loop {
        let mut status = 0;
        // SAFETY: `status` is writable.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if pid == child {
            break status;
        }
    };
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
    sys::exit_now(code)
}
