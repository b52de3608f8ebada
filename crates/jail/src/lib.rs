//! Linux confinement of a process: namespaces, mounts, identity, capabilities, Landlock, seccomp, cgroups, resource limits.
//!
//! Plain synchronous code that knows nothing of languages. Two parties use it: the supervisor, which launches a zygote or a sandbox
//! ([`Launch`]), and the native library inside a zygote, whose forked children confine themselves ([`confine`]). The order of the steps is
//! argued in `docs/concepts/jail.md`.

mod blocks;
mod cgroup;
mod confine;
mod descriptors;
mod error;
mod grant;
mod identity;
mod kernel_file;
mod landlock;
mod launch;
mod limits;
mod loopback;
mod own_space;
mod probe;
mod root;
pub mod seccomp;
mod sys;
mod user_counts;
mod writable;

pub use cgroup::{
    CgroupError, CgroupVersion, Cgroups, Freezer, GroupBounds, MemoryEvents, SandboxCgroup, enter as enter_cgroup, sweep_stale,
};
pub use confine::{Confinement, Seals, confine, confine_exec_grant_init};
pub use descriptors::{CHANNEL, InheritedDescriptors, Stdio};
pub use error::{SetupError, Step};
pub use grant::{GrantPlan, GrantPoint, grant_mount, owner_namespace};
pub use identity::{FIRST_UID, IdMap, LEASABLE_UIDS, ZYGOTE_UID};
pub use kernel_file::read_kernel_file;
pub use landlock::{Abi, abi};
pub use launch::{Launch, LaunchError, Launched, Purpose, ToolNetwork};
pub use limits::ResourceLimits;
pub use own_space::number as own_space_number;
pub use probe::{NamespaceProbe, probe_namespaces};
pub use root::{Bind, BindAccess, Exec, GeneratedFile, RootPlan, Source};
pub use seccomp::Seal;
pub use sys::{
    PidFd, Reaped, continue_pidfd, enter_network, has_unreceived, kill_pidfd, pid_of_pidfd, pidfd_open, reap, shared_descriptions,
    stop_pidfd,
};
pub use writable::{HOME, OWN_FILES, WritableSpace};
