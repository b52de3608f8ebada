//! The identity of a sandbox: user and group ids, capabilities, and `no_new_privs`.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::blocks;
use crate::error::{At, SetupError, Step};
use crate::sys::{check, prctl};

/// The first uid (and gid) of sandboxes, inside their user namespace.
pub const FIRST_UID: u32 = 1000;
/// The number of sandboxes of a zygote that can have a uid of their own at the same time.
pub const LEASABLE_UIDS: u32 = 255;
/// The uid of a zygote, inside its user namespace. It is never 0: uid 0 is not mapped, so nothing
/// inside can be root.
pub const ZYGOTE_UID: u32 = FIRST_UID + LEASABLE_UIDS;

/// The first host uid of zygotes: above the ids that distributions and container tools assign, and
/// below 2^31.
const FIRST_HOST_UID: u32 = 0x4000_0000;
/// The number of host ids in a block, which belongs to one process.
const BLOCK_IDS: u32 = LEASABLE_UIDS + 1;

/// The mapping of ids inside a user namespace to ids of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdMap {
    /// As root: maps 256 ids that are used by no one else. Process ids are unique, so each process
    /// id has a block of ids. A process inside cannot infer the process id from its block
    /// (`blocks`).
    Own,
    /// As an ordinary user: maps a single id, which is the user's own.
    Single {
        /// Uid of the user on the host.
        uid: u32,
        /// Gid of the user on the host.
        gid: u32,
    },
}

impl IdMap {
    /// Returns the map that the calling process can create.
    pub fn available() -> Self {
        // SAFETY: these calls cannot fail and touch no memory.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        if uid == 0 { Self::Own } else { Self::Single { uid, gid } }
    }

    /// Returns the host uid of [`FIRST_UID`] in the namespace whose first process is `pid`.
    pub fn host_uid(self, pid: libc::pid_t) -> u32 {
        match self {
            Self::Own => first_of_block(pid),
            Self::Single { uid, .. } => uid,
        }
    }

    /// Returns the host uid that shall own the next user namespace that the process `supervisor`
    /// creates, unless it is the caller's own. It is an id in the block of the supervisor's own
    /// process id, which no sandbox has: the block of the namespace's first process is known only
    /// once that process and its namespace exist. The ids repeat after 256 namespaces.
    pub(crate) fn owner_uid(self, supervisor: libc::pid_t) -> Option<u32> {
        static LAUNCHED: AtomicU32 = AtomicU32::new(0);
        (self == Self::Own).then(|| {
            first_of_block(supervisor) + LAUNCHED.fetch_add(1, Ordering::Relaxed) % BLOCK_IDS
        })
    }

    /// Returns the uid of the zygote itself, inside its user namespace.
    pub fn zygote_uid(self) -> u32 {
        match self {
            Self::Own => ZYGOTE_UID,
            Self::Single { .. } => FIRST_UID,
        }
    }

    /// Returns the number of uids that can be leased to sandboxes.
    pub fn leasable(self) -> u32 {
        match self {
            Self::Own => LEASABLE_UIDS,
            Self::Single { .. } => 1,
        }
    }

    /// Writes the maps of the user namespace of `pid` from outside.
    pub(crate) fn write(self, pid: libc::pid_t) -> io::Result<()> {
        let host = self.host_uid(pid);
        match self {
            Self::Own => {
                let line = format!("{FIRST_UID} {host} {BLOCK_IDS}");
                fs::write(format!("/proc/{pid}/gid_map"), &line)?;
                fs::write(format!("/proc/{pid}/uid_map"), &line)
            }
            Self::Single { gid, .. } => {
                // The kernel requires this before an ordinary user may map a group
                // (user_namespaces(7)).
                fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
                fs::write(format!("/proc/{pid}/gid_map"), format!("{FIRST_UID} {gid} 1"))?;
                fs::write(format!("/proc/{pid}/uid_map"), format!("{FIRST_UID} {host} 1"))
            }
        }
    }
}

fn first_of_block(pid: libc::pid_t) -> u32 {
    FIRST_HOST_UID + blocks::block_of(pid as u32) * BLOCK_IDS
}

/// Sets the effective uid, and keeps all capabilities. [`return_to_root`] undoes it.
///
/// The owner of a user namespace is the effective user that creates it (`create_user_ns` in
/// `kernel/user_namespace.c`). The kernel's counters for a user also count for the owner, in
/// addition to the namespace's own: inotify instances, pending signals, message queues, namespaces.
/// If root were the owner, one program could use up root's limits.
pub(crate) fn act_as(uid: u32) -> io::Result<()> {
    // Capabilities stay effective, because some kernels let only `CAP_SYS_ADMIN` create a user
    // namespace. A new user namespace resets this bit. If it cannot be set, an ordinary user's
    // right to create one has to suffice.
    let bits = prctl(libc::PR_GET_SECUREBITS, 0, 0)?;
    let _ = prctl(libc::PR_SET_SECUREBITS, (bits | SECBIT_NO_SETUID_FIXUP) as libc::c_ulong, 0);
    set_effective_uid(uid)
}

/// Undoes [`act_as`], which is possible because the real uid has not changed.
pub(crate) fn return_to_root() -> io::Result<()> {
    set_effective_uid(0)
}

fn set_effective_uid(uid: u32) -> io::Result<()> {
    const UNCHANGED: u32 = u32::MAX;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, UNCHANGED, uid, UNCHANGED) }).map(drop)
}

/// The securebit that keeps capabilities across changes of the uid (`linux/securebits.h`,
/// `capabilities(7)`).
const SECBIT_NO_SETUID_FIXUP: i32 = 1 << 2;

/// The capabilities that a zygote needs to create namespaces and mounts for its children and to set
/// their identity. They apply only inside its own user namespace.
// SETGID, SETUID, SETPCAP, NET_ADMIN, SYS_CHROOT, SYS_ADMIN
const ZYGOTE_CAPABILITIES: [u32; 6] = [6, 7, 8, 12, 18, 21];

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilitySets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64 capabilities in two words.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

fn set_capabilities(mask: u64, inheritable: u64) -> io::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let word = |n: u32| CapabilitySets {
        effective: (mask >> (32 * n)) as u32,
        permitted: (mask >> (32 * n)) as u32,
        inheritable: (inheritable >> (32 * n)) as u32,
    };
    let sets = [word(0), word(1)];
    // SAFETY: header and sets have the layout of version 3 and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) }).map(drop)
}

fn drop_bounding_set(keep: u64) -> io::Result<()> {
    for capability in 0..64 {
        if keep & (1 << capability) != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_READ, capability, 0) {
            Ok(0) => {}
            Ok(_) => drop(prctl(libc::PR_CAPBSET_DROP, capability, 0)?),
            // This kernel has no further capabilities.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Becomes `uid` inside the user namespace, without further groups. Capabilities stay, because uid
/// 0 is not mapped and this is no change "from root".
pub(crate) fn become_user(uid: u32, may_set_groups: bool) -> Result<(), SetupError> {
    // By system call, because glibc would try to synchronise with other threads, and there are
    // none.
    let set = |number: libc::c_long| {
        // SAFETY: integers only.
        check(unsafe { libc::syscall(number, uid, uid, uid) })
    };
    if may_set_groups {
        // SAFETY: no groups, so the pointer is not read.
        check(unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) })
            .at(Step::Identity)?;
    }
    set(libc::SYS_setresgid).at(Step::Identity)?;
    set(libc::SYS_setresuid).at(Step::Identity)?;
    Ok(())
}

/// Keeps only the capabilities that a zygote needs, across `execve`.
pub(crate) fn keep_zygote_capabilities() -> Result<(), SetupError> {
    let mask = ZYGOTE_CAPABILITIES.iter().fold(0_u64, |mask, capability| mask | 1 << capability);
    drop_bounding_set(mask).at(Step::Capabilities)?;
    set_capabilities(mask, mask).at(Step::Capabilities)?;
    for capability in ZYGOTE_CAPABILITIES {
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong, capability.into())
            .at(Step::Capabilities)?;
    }
    Ok(())
}

/// Drops all capabilities in all sets.
pub(crate) fn drop_all_capabilities() -> Result<(), SetupError> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0)
        .at(Step::Capabilities)?;
    drop_bounding_set(0).at(Step::Capabilities)?;
    set_capabilities(0, 0).at(Step::Capabilities)
}

/// Sets `no_new_privs`, prevents ptrace by the same user and core files, and sets the parent-death
/// signal (a change of uid has reset the last two).
pub(crate) fn give_up_privileges() -> Result<(), SetupError> {
    prctl(libc::PR_SET_DUMPABLE, 0, 0).at(Step::Privileges)?;
    die_with_parent()?;
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).at(Step::Privileges).map(drop)
}

/// Sets SIGKILL as the parent-death signal.
pub(crate) fn die_with_parent() -> Result<(), SetupError> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0).at(Step::ParentDeath).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_uids_of_different_processes_never_overlap_and_stay_positive() {
        for (one, other) in [(1, 2), (300, 301), (0x003f_fffe, 0x003f_ffff)] {
            assert!(IdMap::Own.host_uid(one).abs_diff(IdMap::Own.host_uid(other)) >= BLOCK_IDS);
        }
        let last = FIRST_HOST_UID + (blocks::COUNT - 1) * BLOCK_IDS + LEASABLE_UIDS;
        assert!(i32::try_from(last).is_ok());
    }

    #[test]
    fn a_user_namespace_is_owned_by_an_id_that_no_sandbox_has_unless_there_is_only_one() {
        let supervisor = 4711;
        let owners: Vec<u32> = (0..3).filter_map(|_| IdMap::Own.owner_uid(supervisor)).collect();
        let own_block =
            IdMap::Own.host_uid(supervisor)..IdMap::Own.host_uid(supervisor) + BLOCK_IDS;
        assert!(
            owners.len() == 3 && owners.iter().all(|owner| own_block.contains(owner)),
            "{owners:?}"
        );
        assert!(
            owners[0] != owners[1] && owners[1] != owners[2] && owners[0] != owners[2],
            "{owners:?}"
        );
        assert_eq!(IdMap::Single { uid: 1000, gid: 1000 }.owner_uid(supervisor), None);
    }
}
