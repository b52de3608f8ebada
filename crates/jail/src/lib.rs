//! Linux confinement of a process: namespaces, mounts, identity, capabilities, Landlock, seccomp,
//! cgroups, resource limits.
//!
//! This is plain synchronous code that knows nothing about languages. It has two users: the
//! supervisor, which launches a zygote or a sandbox ([`Launch`]), and the native library in a
//! zygote, whose forked children confine themselves ([`confine`]). `docs/concepts/jail.md` explains
//! the order of the steps.

mod bind;
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
mod mount_point;
mod own_space;
mod probe;
mod root;
pub mod seccomp;
mod sys;
mod user_counts;
mod writable;

pub use bind::{Bind, BindAccess, BindOwner, BindSource};
pub use cgroup::{
    CgroupError, CgroupVersion, Cgroups, Freezer, GroupBounds, MemoryEvents, SandboxCgroup,
    enter as enter_cgroup, sweep_stale,
};
pub use confine::{Confinement, Origin, Seals, confine, confine_exec_grant_init};
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
pub use root::{GeneratedFile, RootPlan};
pub use sys::{
    PidFd, Reaped, continue_pidfd, enter_network, has_unreceived, kill_pidfd, pid_of_pidfd,
    pidfd_open, reap, shared_descriptions, stop_pidfd,
};
pub use writable::{HOME, OWN_FILES, WritableSpace};
