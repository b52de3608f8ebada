//! The system calls that a sandbox may make, as data. They were found by running Node 22-26 and
//! `CPython` under strace, and by running their own test suites.

use belljar_access::{Exec, Network};

use super::compile::{Action, Condition, Filter, Rule};
use super::{descriptors, memory, sockets};

/// System calls that are allowed with any arguments, with the reason for each group.
#[rustfmt::skip] // A table: with one call per line, it would fill pages.
const ALLOWED: &[&[libc::c_long]] = &[
    // Files: names, content, metadata. The mounts and Landlock decide which files.
    &[
        libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64,
        libc::SYS_pwrite64, libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_lseek, libc::SYS_close,
        libc::SYS_close_range, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx,
        libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64,
        libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_unlinkat, libc::SYS_renameat,
        libc::SYS_renameat2, libc::SYS_linkat, libc::SYS_symlinkat, libc::SYS_fchown,
        libc::SYS_fchownat, libc::SYS_truncate, libc::SYS_ftruncate, libc::SYS_fallocate,
        libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_utimensat,
        libc::SYS_umask, libc::SYS_flock, libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2,
        libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_splice, libc::SYS_statfs,
        libc::SYS_fstatfs, libc::SYS_readahead, libc::SYS_eventfd2, libc::SYS_getxattr,
        libc::SYS_lgetxattr, libc::SYS_fgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr,
        libc::SYS_flistxattr, libc::SYS_inotify_init1, libc::SYS_inotify_add_watch,
        libc::SYS_inotify_rm_watch,
    ],
    // The old forms of these calls, which only x86-64 has.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_rmdir,
        libc::SYS_unlink, libc::SYS_rename, libc::SYS_link, libc::SYS_symlink, libc::SYS_chown,
        libc::SYS_lchown, libc::SYS_dup2, libc::SYS_pipe, libc::SYS_eventfd, libc::SYS_inotify_init,
        libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat, libc::SYS_getdents,
    ],
    // Memory of the process itself. Since Linux 5.2, mincore reports the pages of a file only to a
    // process that may write to it.
    &[
        libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_brk, libc::SYS_msync,
        libc::SYS_mincore, libc::SYS_mlock, libc::SYS_munlock, libc::SYS_mlock2,
        libc::SYS_membarrier, libc::SYS_pkey_alloc, libc::SYS_pkey_free, libc::SYS_pkey_mprotect,
    ],
    // Threads: locks, and scheduling calls that only yield or query.
    &[
        libc::SYS_futex, libc::SYS_futex_waitv, libc::SYS_rseq, libc::SYS_set_robust_list,
        libc::SYS_get_robust_list, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
        libc::SYS_sched_setaffinity, libc::SYS_sched_getparam, libc::SYS_sched_getscheduler,
        libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
        libc::SYS_sched_rr_get_interval, libc::SYS_getcpu, libc::SYS_getpriority,
        libc::SYS_setpriority, libc::SYS_ioprio_get, libc::SYS_set_tid_address, libc::SYS_exit,
        libc::SYS_exit_group, libc::SYS_wait4, libc::SYS_waitid,
    ],
    // Signals, within the sandbox's own PID namespace.
    &[
        libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigpending,
        libc::SYS_rt_sigreturn, libc::SYS_rt_sigsuspend, libc::SYS_rt_sigtimedwait,
        libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo, libc::SYS_sigaltstack,
        libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_restart_syscall,
        libc::SYS_signalfd4, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal,
    ],
    // Old names.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_pause, libc::SYS_alarm, libc::SYS_signalfd,
    ],
    // Time.
    &[
        libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep, libc::SYS_gettimeofday, libc::SYS_times, libc::SYS_getitimer,
        libc::SYS_setitimer, libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
        libc::SYS_timerfd_gettime, libc::SYS_timer_create, libc::SYS_timer_settime,
        libc::SYS_timer_gettime, libc::SYS_timer_getoverrun, libc::SYS_timer_delete,
    ],
    // Old names.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_time,
    ],
    // Waiting.
    &[
        libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2,
        libc::SYS_ppoll, libc::SYS_pselect6,
    ],
    // Old names.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_select,
    ],
    // Existing sockets. Their families are checked when they are created (`sockets`).
    &[
        libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_connect,
        libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_shutdown,
    ],
    // Identity of the process, and information about the system.
    &[
        libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid,
        libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid, libc::SYS_getresgid,
        libc::SYS_getgroups, libc::SYS_getpgid, libc::SYS_getsid, libc::SYS_setsid,
        libc::SYS_setpgid, libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrlimit,
        libc::SYS_getrusage, libc::SYS_getrandom, libc::SYS_capget,
    ],
    // Old names.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_getpgrp,
    ],
];

/// System calls that are needed between the start of the runtime and the seal. After the seal they
/// fail as for any user without privileges.
#[rustfmt::skip] // A table: with one call per line, it would fill pages.
const SETUP: &[libc::c_long] = &[
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_unshare, libc::SYS_setns,
    libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_mount_setattr, libc::SYS_sethostname,
    libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setresuid, libc::SYS_setresgid,
    libc::SYS_setgroups, libc::SYS_capset, libc::SYS_seccomp, libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self, libc::SYS_setrlimit,
    libc::SYS_chroot,
];

/// System calls that no program of an agent needs, and that have been used to escape from
/// sandboxes. They kill the process.
#[rustfmt::skip] // A table: with one call per line, it would fill pages.
const HOSTILE: &[libc::c_long] = &[
    libc::SYS_kexec_load, libc::SYS_kexec_file_load, libc::SYS_init_module, libc::SYS_finit_module,
    libc::SYS_delete_module, libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd,
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev,
    libc::SYS_open_by_handle_at, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key,
    libc::SYS_reboot, libc::SYS_swapon, libc::SYS_swapoff,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// System calls that do not exist for a sandbox. libuv and other libraries work without `io_uring`,
/// whose rings would be shared between forks and bypass this filter.
const ABSENT: &[libc::c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_clone3,
    libc::SYS_openat2,
];

/// Writes of extended attributes, which fail with an error that `cp` and `shutil` interpret as "not
/// supported".
const ATTRIBUTE_WRITES: &[libc::c_long] = &[
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
];

const EPERM: Action = Action::Errno(libc::EPERM as u16);
const EACCES: Action = Action::Errno(libc::EACCES as u16);
const ENOSYS: Action = Action::Errno(libc::ENOSYS as u16);
const ENOTSUP: Action = Action::Errno(libc::ENOTSUP as u16);
const ENOTTY: Action = Action::Errno(libc::ENOTTY as u16);
const EINVAL: Action = Action::Errno(libc::EINVAL as u16);

/// The number of `fchmodat2`, which the libc crate defines only on x86-64. Since Linux 5.1, a new
/// call has the same number on all architectures.
const FCHMODAT2: libc::c_long = 452;

/// The set-user-id and set-group-id bits. A granted folder is on the host, where a program with
/// these bits would run as the granting user.
const SET_ID_BITS: u32 = 0o6000;
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
/// The flags of `clone` that are refused: new namespaces, a child of the caller's parent, one that
/// is traced or hides from tracers, and a shared I/O context.
const REFUSED_CLONES: u32 = NEW_NAMESPACES
    | (libc::CLONE_PARENT | libc::CLONE_PTRACE | libc::CLONE_UNTRACED | libc::CLONE_IO) as u32;

/// Returns a rule that allows a call unless the mode in `argument` has a set-id bit.
fn without_set_id(number: libc::c_long, argument: u8) -> Rule {
    Rule::without_bits(number, argument, SET_ID_BITS, EPERM)
}

/// Returns the allow-list of a zygote, and of a sandbox that is not sealed yet.
pub fn base() -> Filter {
    let mut rules: Vec<Rule> =
        ALLOWED.iter().flat_map(|group| Rule::plain(group, Action::Allow)).collect();
    rules.extend(Rule::plain(SETUP, Action::Allow));
    rules.extend(Rule::plain(HOSTILE, Action::Kill));
    rules.extend(Rule::plain(ABSENT, ENOSYS));
    rules.extend(Rule::plain(ATTRIBUTE_WRITES, ENOTSUP));
    rules.extend(Rule::plain(
        &[libc::SYS_execve, libc::SYS_execveat, libc::SYS_clone],
        Action::Allow,
    ));
    #[cfg(target_arch = "x86_64")]
    rules.extend(Rule::plain(&[libc::SYS_fork, libc::SYS_vfork], Action::Allow));

    // Modes that would create a set-id file.
    rules.push(without_set_id(libc::SYS_fchmod, 1));
    rules.push(without_set_id(libc::SYS_fchmodat, 2));
    rules.extend(Rule::plain(&[FCHMODAT2], ENOSYS));
    rules.push(without_set_id(libc::SYS_openat, 3));
    rules.push(without_set_id(libc::SYS_mkdirat, 2));
    #[cfg(target_arch = "x86_64")]
    {
        rules.push(without_set_id(libc::SYS_chmod, 1));
        rules.push(without_set_id(libc::SYS_open, 2));
        rules.push(without_set_id(libc::SYS_creat, 1));
        rules.push(without_set_id(libc::SYS_mkdir, 1));
        rules.push(fifo_or_file(libc::SYS_mknod, 1));
    }
    rules.push(fifo_or_file(libc::SYS_mknodat, 2));

    // Terminal ioctls could push input to a terminal (TIOCSTI). The only one that is needed checks
    // whether a descriptor is a terminal. Ioctls that read network interfaces replace netlink.
    let ioctls = [
        libc::TCGETS,
        libc::FIONBIO,
        libc::FIOCLEX,
        libc::FIONCLEX,
        libc::FIONREAD,
        libc::SIOCSIFFLAGS,
        libc::SIOCGIFINDEX,
        libc::SIOCGIFNAME,
        libc::SIOCGIFCONF,
        libc::SIOCGIFFLAGS,
        libc::SIOCGIFADDR,
        libc::SIOCGIFNETMASK,
        libc::SIOCGIFBRDADDR,
        libc::SIOCGIFHWADDR,
        libc::SIOCGIFMTU,
    ];
    rules.push(Rule::one_of(libc::SYS_ioctl, 1, &ioctls.map(|request| request as u32), ENOTTY));

    rules.extend(sockets::rules());
    rules.extend(descriptors::rules());
    rules.extend(memory::rules());

    let own_process = [
        libc::PR_SET_NAME,
        libc::PR_GET_NAME,
        libc::PR_SET_PDEATHSIG,
        libc::PR_GET_PDEATHSIG,
        libc::PR_GET_DUMPABLE,
        libc::PR_SET_DUMPABLE,
        libc::PR_SET_NO_NEW_PRIVS,
        libc::PR_GET_NO_NEW_PRIVS,
        libc::PR_SET_TIMERSLACK,
        libc::PR_GET_TIMERSLACK,
        libc::PR_CAPBSET_READ,
        libc::PR_CAPBSET_DROP,
        libc::PR_CAP_AMBIENT,
        libc::PR_GET_SECCOMP,
        libc::PR_GET_KEEPCAPS,
        libc::PR_GET_SECUREBITS,
        libc::PR_SET_CHILD_SUBREAPER,
        libc::PR_GET_CHILD_SUBREAPER,
        libc::PR_SET_THP_DISABLE,
        libc::PR_GET_THP_DISABLE,
    ];
    rules.push(Rule::one_of(libc::SYS_prctl, 0, &own_process.map(|option| option as u32), EINVAL));
    rules.push(Rule::by_argument(
        libc::SYS_prlimit64,
        vec![(vec![Condition::equal(0, 0)], Action::Allow)],
        EPERM,
    ));
    // Querying the current personality.
    rules.push(Rule::one_of(libc::SYS_personality, 0, &[u32::MAX], EPERM));
    #[cfg(target_arch = "x86_64")]
    rules.push(Rule::one_of(libc::SYS_arch_prctl, 0, &ARCH_OPTIONS, EINVAL));
    Filter { rules, default: EPERM }
}

/// The placeholder for the number of the descriptor of a sandbox's own space, which depends on its
/// limits. No other rule compares this value.
pub(super) const OWN_SPACE: u32 = 0x7fff_fffe;

/// The allowed options of `arch_prctl`: the base of thread-local storage (`ARCH_SET_GS` to
/// `ARCH_GET_GS`), and the tile registers of matrix instructions (`ARCH_GET_XCOMP_SUPP` to
/// `ARCH_REQ_XCOMP_PERM`), which numeric libraries use.
#[cfg(target_arch = "x86_64")]
const ARCH_OPTIONS: [u32; 7] = [0x1001, 0x1002, 0x1003, 0x1004, 0x1021, 0x1022, 0x1023];

/// The allowed types of `mknod`: a FIFO, a socket or a regular file, but never a device.
fn fifo_or_file(number: libc::c_long, mode: u8) -> Rule {
    let cases = [libc::S_IFIFO, libc::S_IFREG, libc::S_IFSOCK, 0]
        .map(|kind| (vec![Condition::bits(mode, libc::S_IFMT | SET_ID_BITS, kind)], Action::Allow));
    Rule::by_argument(number, cases.to_vec(), EPERM)
}

/// The files of the host that a sandbox can see, as far as its last filter depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFiles {
    /// Only files that nobody writes: those of the system, the runtime and the packages.
    System,
    /// Also granted files, which processes outside of the sandbox may have open.
    Granted,
}

/// Returns the filter that seals a sandbox. It leaves all other calls to the base filter.
pub fn sealed(exec: Exec, network: Network, files: HostFiles) -> Filter {
    let mut rules: Vec<Rule> = Rule::plain(SETUP, EPERM)
        .filter(|rule| rule.number != libc::SYS_setrlimit as u32)
        .collect();

    // Threads are always allowed, and processes with an exec grant. Namespaces and unusual
    // relations are never allowed.
    let thread = libc::CLONE_THREAD as u32;
    let cases = vec![
        (vec![Condition::bits(0, REFUSED_CLONES | thread, thread)], Action::Allow),
        (
            vec![Condition::bits(0, REFUSED_CLONES, 0)],
            if exec == Exec::Granted { Action::Allow } else { EACCES },
        ),
    ];
    rules.push(Rule::by_argument(libc::SYS_clone, cases, EPERM));
    if exec == Exec::Denied {
        rules.extend(Rule::plain(&[libc::SYS_execve, libc::SYS_execveat], EACCES));
        #[cfg(target_arch = "x86_64")]
        rules.extend(Rule::plain(&[libc::SYS_fork, libc::SYS_vfork], EACCES));
    }
    if exec == Exec::Denied && files == HostFiles::System {
        rules.push(descriptors::locks_of_one_process());
    }

    if exec == Exec::Denied {
        rules.extend(Rule::plain(&[libc::SYS_statfs, libc::SYS_sysinfo], Action::Trap));
        rules.push(Rule::one_of(libc::SYS_fstatfs, 0, &[OWN_SPACE], Action::Trap));
    }

    rules.push(match network {
        // A connection in a listener's queue has the receive buffer size of the listener, and is
        // charged to no control group. The kernel reduces a requested size without an error, and so
        // does this rule by ignoring it: the size stays as in `loopback::SETTINGS`.
        Network::Loopback => {
            let receive_buffer = vec![
                Condition::equal(1, libc::SOL_SOCKET as u32),
                Condition::equal(2, libc::SO_RCVBUF as u32),
            ];
            let cases = vec![(receive_buffer, Action::Ignore)];
            Rule::by_argument(libc::SYS_setsockopt, cases, Action::Allow)
        }
        // No filter can tell the hosts of a granted network from others.
        Network::None | Network::Granted => {
            let refused = [libc::AF_INET, libc::AF_INET6]
                .map(|family| (vec![Condition::equal(0, family as u32)], EACCES));
            Rule::by_argument(libc::SYS_socket, refused.to_vec(), Action::Allow)
        }
    });

    let mut set_up_only = vec![libc::PR_SET_DUMPABLE, libc::PR_CAPBSET_DROP, libc::PR_CAP_AMBIENT];
    if exec == Exec::Denied {
        // The program is PID 1 itself: without its death signal it would outlive a killed
        // supervisor. With an exec grant, PID 1 is an init that no program can change.
        set_up_only.push(libc::PR_SET_PDEATHSIG);
    }
    let set_up_only = set_up_only
        .into_iter()
        .map(|option| (vec![Condition::equal(0, option as u32)], EPERM))
        .collect();
    rules.push(Rule::by_argument(libc::SYS_prctl, set_up_only, Action::Allow));
    rules.push(Rule::by_argument(
        libc::SYS_ioctl,
        vec![(vec![Condition::equal(1, libc::SIOCSIFFLAGS as u32)], EPERM)],
        Action::Allow,
    ));
    Filter { rules, default: Action::Allow }
}

/// Returns the additional filter for a tool with the host's network, and therefore with its
/// abstract sockets, whose names are not files. The only allowed local sockets are connected pairs
/// that stay connected. Landlock separates these names only since Linux 6.12.
pub fn no_local_sockets() -> Filter {
    let socket = vec![(vec![Condition::equal(0, libc::AF_UNIX as u32)], EACCES)];
    let connected = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET]
        .map(|kind| (vec![Condition::bits(1, sockets::SOCKET_TYPE, kind as u32)], Action::Allow));
    let rules = vec![
        Rule::by_argument(libc::SYS_socket, socket, Action::Allow),
        // One socket of a datagram pair can send to any name.
        Rule::by_argument(libc::SYS_socketpair, connected.to_vec(), EACCES),
    ];
    Filter { rules, default: Action::Allow }
}

#[cfg(test)]
mod tests;
