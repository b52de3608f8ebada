//! The steps by which a process with capabilities in its zygote's user namespace becomes a sandbox.
//! They are the same for a forked child and, before `execve`, for a sandbox with a runtime process
//! of its own.

use belljar_access::{Exec, Network};

use crate::error::{At, SetupError, Step};
use crate::grant::{self, GrantPlan};
use crate::identity::{become_user, die_with_parent, drop_all_capabilities, give_up_privileges};
use crate::landlock::{self, Paths};
use crate::limits::ResourceLimits;
use crate::loopback;
use crate::own_space;
use crate::root;
use crate::seccomp::{self, HostFiles};
use crate::sys::{self, prctl, unshare};
use crate::writable::{WritableSpace, mount_proc};

/// The properties in which the sandboxes of a zygote differ.
#[derive(Clone, Debug)]
pub struct Confinement {
    /// The sandbox's uid and gid inside its user namespace.
    pub uid: u32,
    /// True if the list of groups can be emptied, which is not possible with a single mapped id.
    pub may_set_groups: bool,
    /// The writable file system.
    pub space: WritableSpace,
    /// Grants that the sandbox mounts for itself.
    pub grants: GrantPlan,
    /// Writable granted paths.
    pub write: Vec<String>,
    /// Resource limits of each process.
    pub limits: ResourceLimits,
    /// Right of the sandbox to start programs.
    pub exec: Exec,
    /// Network of the sandbox. With a loopback interface, a forked sandbox creates a network
    /// namespace of its own, in which the interface is up.
    pub network: Network,
}

/// The way in which the process of a sandbox has come into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The process was cloned into new namespaces, and becomes its runtime by `execve`.
    Launched,
    /// The process is a fork of a zygote, in which the runtime runs already. It shares the zygote's
    /// namespaces except those of processes and of the network.
    Forked,
}

/// Confines the calling, single-threaded process: namespaces, mounts, limits, identity,
/// capabilities, Landlock. The remaining step is [`Seals::apply`].
///
/// A forked process creates namespaces of its own; a launched one has them already. Without
/// loopback, a forked process also has its network namespace already.
///
/// A network of granted hosts is refused, because nothing here restricts it to those hosts.
pub fn confine(confinement: &Confinement, origin: Origin) -> Result<(), SetupError> {
    die_with_parent()?;
    let has_loopback = match confinement.network {
        Network::None => false,
        Network::Loopback => true,
        Network::Granted => return Err(cannot_enforce(Step::OwnNamespaces)),
    };
    if origin == Origin::Forked {
        // A signal to the own process group (`kill(0)`) reaches all members of the group, whatever
        // namespaces they are in. SAFETY: no pointers; a newly forked process leads no group.
        sys::check(i64::from(unsafe { libc::setsid() })).at(Step::OwnNamespaces)?;
        let mut namespaces =
            libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
        if has_loopback {
            namespaces |= libc::CLONE_NEWNET;
        }
        unshare(namespaces).at(Step::OwnNamespaces)?;
    }
    // Before anything is written: the zygote's own id must not own a sandbox's files. Capabilities
    // stay, see `become_user`.
    become_user(confinement.uid, confinement.may_set_groups)?;
    confinement.space.mount()?;
    grant::place(&confinement.grants, confinement.exec)?;
    if has_loopback {
        loopback::bound_connections()?;
    }
    if origin == Origin::Forked {
        mount_proc(c"/proc")?;
    }
    if has_loopback {
        loopback::bring_up()?;
    }
    root::hide_mounts()?;
    // A sandbox that may start programs has no descriptor of its own space, because the programs
    // query the kernel directly.
    let limits = match confinement.exec {
        Exec::Granted => confinement.limits,
        Exec::Denied => own_space::keep(confinement.limits)?,
    };
    limits.apply()?;
    drop_all_capabilities()?;
    give_up_privileges()?;
    let exec_read = match origin {
        // It still has to execute its runtime.
        Origin::Launched => Exec::Granted,
        Origin::Forked => confinement.exec,
    };
    landlock::restrict(&Paths {
        exec_read,
        exec_written: confinement.exec,
        write: &confinement.write,
    })?;
    std::env::set_current_dir(crate::HOME).at(Step::WritableSpace)
}

fn cannot_enforce(step: Step) -> SetupError {
    SetupError { step, errno: libc::EOPNOTSUPP }
}

/// The filters of the last step by the access of a sandbox, compiled in advance, which a zygote
/// does once for all its children. There is none for a network of granted hosts.
#[derive(Debug)]
pub struct Seals(Vec<((Exec, Network), Vec<seccomp::Instruction>)>);

impl Seals {
    /// Compiles the filters of sandboxes that can see such files.
    pub fn compile(files: HostFiles) -> Self {
        let networks = [Network::None, Network::Loopback];
        let keys = Exec::ALL.into_iter().flat_map(|exec| networks.map(|network| (exec, network)));
        let compiled =
            |(exec, network)| ((exec, network), seccomp::sealed(exec, network, files).compile());
        Self(keys.map(compiled).collect())
    }

    /// Applies the last step, which removes the system calls that only the set-up needs. It seals
    /// every thread of the process.
    pub fn apply(&self, exec: Exec, network: Network) -> Result<(), SetupError> {
        // Again, because `execve` of the runtime has reset it in a sandbox with a runtime process
        // of its own (prctl(2)).
        prctl(libc::PR_SET_DUMPABLE, 0, 0).at(Step::Privileges)?;
        let (_, filter) = self
            .0
            .iter()
            .find(|(access, _)| *access == (exec, network))
            .ok_or(cannot_enforce(Step::Seccomp))?;
        seccomp::install(&seccomp::with_own_space(filter, own_space::number().at(Step::Seccomp)?))
            .at(Step::Seccomp)
    }
}

/// Forks an init process for a sandbox with an `exec` grant. The parent stays as the sandbox's PID
/// 1, reaps orphans, and exits with the child's status; the child returns. Without an init, orphans
/// would remain as zombies and count towards the limits, and the default actions of signals would
/// not apply to the program.
pub fn confine_exec_grant_init() -> Result<(), SetupError> {
    // glibc's fork, so that the thread id and the locks of the runtime are correct in the child.
    // SAFETY: the caller is single-threaded.
    let child = sys::check(i64::from(unsafe { libc::fork() })).at(Step::Init)? as libc::pid_t;
    if child == 0 {
        return die_with_parent();
    }
    // If init kept them open, the program's pipes would never end.
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
    let code = if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    };
    sys::exit_now(code)
}
