//! What system calls a sandbox has, as data. Found by running Node 22-26 and `CPython` under strace, and by their own test suites.

use super::compile::{Action, Condition, Filter, Rule};
use super::{descriptors, memory, sockets};

/// System calls that are allowed whatever their arguments, with the reason for each group.
#[rustfmt::skip] // A table: one call a line would be pages of it.
const ALLOWED: &[&[libc::c_long]] = &[
    // Files: names, content, metadata. Which ones, the mounts and Landlock decide.
    &[
        libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64, libc::SYS_preadv,
        libc::SYS_pwritev, libc::SYS_lseek, libc::SYS_close, libc::SYS_close_range,
        libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat,
        libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_unlinkat, libc::SYS_renameat,
        libc::SYS_renameat2, libc::SYS_linkat, libc::SYS_symlinkat, libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_truncate,
        libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_utimensat,
        libc::SYS_umask, libc::SYS_flock, libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2, libc::SYS_copy_file_range, libc::SYS_sendfile,
        libc::SYS_splice, libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_readahead,
        libc::SYS_eventfd2, libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr,
        libc::SYS_flistxattr, libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    ],
    // The same under their old names, which only x86-64 has.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename,
        libc::SYS_link, libc::SYS_symlink, libc::SYS_chown, libc::SYS_lchown, libc::SYS_dup2, libc::SYS_pipe, libc::SYS_eventfd,
        libc::SYS_inotify_init, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat, libc::SYS_getdents,
    ],
    // Memory of the process itself. mincore: since Linux 5.2 it tells of a file's pages only to who may write the file.
    &[
        libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_brk, libc::SYS_msync, libc::SYS_mincore, libc::SYS_mlock,
        libc::SYS_munlock, libc::SYS_mlock2, libc::SYS_membarrier, libc::SYS_pkey_alloc, libc::SYS_pkey_free,
        libc::SYS_pkey_mprotect,
    ],
    // Threads: locks, scheduling that only yields or asks.
    &[
        libc::SYS_futex, libc::SYS_futex_waitv, libc::SYS_rseq, libc::SYS_set_robust_list, libc::SYS_get_robust_list,
        libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity, libc::SYS_sched_getparam,
        libc::SYS_sched_getscheduler, libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
        libc::SYS_sched_rr_get_interval, libc::SYS_getcpu, libc::SYS_getpriority, libc::SYS_setpriority, libc::SYS_ioprio_get,
        libc::SYS_set_tid_address, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_wait4, libc::SYS_waitid,
    ],
    // Signals, within the sandbox's own PID namespace.
    &[
        libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigpending, libc::SYS_rt_sigreturn, libc::SYS_rt_sigsuspend,
        libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo, libc::SYS_sigaltstack, libc::SYS_kill,
        libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_restart_syscall, libc::SYS_signalfd4, libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
    ],
    // Old names.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_pause, libc::SYS_alarm, libc::SYS_signalfd,
    ],
    // Time.
    &[
        libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_nanosleep, libc::SYS_gettimeofday,
        libc::SYS_times, libc::SYS_getitimer, libc::SYS_setitimer, libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
        libc::SYS_timerfd_gettime, libc::SYS_timer_create, libc::SYS_timer_settime, libc::SYS_timer_gettime, libc::SYS_timer_getoverrun,
        libc::SYS_timer_delete,
    ],
    // Old names.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_time,
    ],
    // Waiting.
    &[
        libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_ppoll, libc::SYS_pselect6,
    ],
    // Old names.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_select,
    ],
    // Sockets that exist: their families are judged where they are made (`sockets`).
    &[
        libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_connect, libc::SYS_getsockname,
        libc::SYS_getpeername, libc::SYS_shutdown,
    ],
    // Who am I, what is this.
    &[
        libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
        libc::SYS_getresuid, libc::SYS_getresgid, libc::SYS_getgroups, libc::SYS_getpgid, libc::SYS_getsid, libc::SYS_setsid,
        libc::SYS_setpgid, libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrlimit, libc::SYS_getrusage, libc::SYS_getrandom,
        libc::SYS_capget,
    ],
    // Old names.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_getpgrp,
    ],
];

/// Needed between the start of the runtime and the moment when a sandbox is sealed; afterwards they fail as for any user without privileges.
#[rustfmt::skip] // A table: one call a line would be pages of it.
const SETUP: &[libc::c_long] = &[
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_unshare, libc::SYS_setns, libc::SYS_open_tree,
    libc::SYS_move_mount, libc::SYS_mount_setattr, libc::SYS_sethostname, libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setresuid,
    libc::SYS_setresgid, libc::SYS_setgroups, libc::SYS_capset, libc::SYS_seccomp, libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self, libc::SYS_setrlimit, libc::SYS_chroot,
];

/// No program that an agent writes has a use for these, and each has been a way out of a sandbox: the process dies.
#[rustfmt::skip] // A table: one call a line would be pages of it.
const HOSTILE: &[libc::c_long] = &[
    libc::SYS_kexec_load, libc::SYS_kexec_file_load, libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module,
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_ptrace, libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev, libc::SYS_open_by_handle_at, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key,
    libc::SYS_reboot, libc::SYS_swapon, libc::SYS_swapoff,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// libuv and others look for `io_uring` and go on without it. Its rings would be shared between forks and go around this filter.
const ABSENT: &[libc::c_long] =
    &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_clone3, libc::SYS_openat2];

/// Extended attributes cannot be written: `cp` and `shutil` take this answer for "not here".
const ATTRIBUTE_WRITES: &[libc::c_long] =
    &[libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr];

const EPERM: Action = Action::Errno(libc::EPERM as u16);
const EACCES: Action = Action::Errno(libc::EACCES as u16);
const ENOSYS: Action = Action::Errno(libc::ENOSYS as u16);
const ENOTSUP: Action = Action::Errno(libc::ENOTSUP as u16);
const ENOTTY: Action = Action::Errno(libc::ENOTTY as u16);
const EINVAL: Action = Action::Errno(libc::EINVAL as u16);

/// The libc crate names it on x86-64 only. Since Linux 5.1 a new call has one number on all architectures.
const FCHMODAT2: libc::c_long = 452;

/// Set-user-id and set-group-id. A granted folder lies on the host: a program marked so there would run as the granting user.
const SET_ID_BITS: u32 = 0o6000;
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
/// Beside namespaces: a child of the caller's parent, one that is traced or hides from tracers, and a shared I/O context.
const REFUSED_CLONES: u32 = NEW_NAMESPACES | (libc::CLONE_PARENT | libc::CLONE_PTRACE | libc::CLONE_UNTRACED | libc::CLONE_IO) as u32;
/// Allowed unless the mode in `argument` sets an id bit.
fn without_set_id(number: libc::c_long, argument: u8) -> Rule {
    Rule::without_bits(number, argument, SET_ID_BITS, EPERM)
}

/// The allow-list of a zygote and of a sandbox that is not sealed yet.
pub fn base() -> Filter {
    let mut rules: Vec<Rule> = ALLOWED.iter().flat_map(|group| Rule::plain(group, Action::Allow)).collect();
    rules.extend(Rule::plain(SETUP, Action::Allow));
    rules.extend(Rule::plain(HOSTILE, Action::Kill));
    rules.extend(Rule::plain(ABSENT, ENOSYS));
    rules.extend(Rule::plain(ATTRIBUTE_WRITES, ENOTSUP));
    rules.extend(Rule::plain(&[libc::SYS_execve, libc::SYS_execveat, libc::SYS_clone], Action::Allow));
    #[cfg(target_arch = "x86_64")]
    rules.extend(Rule::plain(&[libc::SYS_fork, libc::SYS_vfork], Action::Allow));

    // Modes that would leave a set-id file behind.
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

    // Terminal ioctls could push input to a terminal (TIOCSTI); none is needed but the question whether there is one. Of network
    // interfaces what reads them: it takes the place of netlink.
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
    rules.push(Rule::by_argument(libc::SYS_prlimit64, vec![(vec![Condition::equal(0, 0)], Action::Allow)], EPERM));
    // Asking for the present personality.
    rules.push(Rule::one_of(libc::SYS_personality, 0, &[u32::MAX], EPERM));
    #[cfg(target_arch = "x86_64")]
    rules.push(Rule::one_of(libc::SYS_arch_prctl, 0, &ARCH_OPTIONS, EINVAL));
    Filter { rules, default: EPERM }
}

/// Stands for the number of the descriptor of a sandbox's own space, which differs by its limits. No system call is judged by this value otherwise.
pub(super) const OWN_SPACE: u32 = 0x7fff_fffe;

/// The base of thread-local storage (`ARCH_SET_GS` to `ARCH_GET_GS`), and asking for the tile registers of matrix instructions
/// (`ARCH_GET_XCOMP_SUPP` to `ARCH_REQ_XCOMP_PERM`), which numeric libraries use.
#[cfg(target_arch = "x86_64")]
const ARCH_OPTIONS: [u32; 7] = [0x1001, 0x1002, 0x1003, 0x1004, 0x1021, 0x1022, 0x1023];

/// A FIFO, a socket or a plain file, never a device.
fn fifo_or_file(number: libc::c_long, mode: u8) -> Rule {
    let cases = [libc::S_IFIFO, libc::S_IFREG, libc::S_IFSOCK, 0]
        .map(|kind| (vec![Condition::bits(mode, libc::S_IFMT | SET_ID_BITS, kind)], Action::Allow));
    Rule::by_argument(number, cases.to_vec(), EPERM)
}

/// What a sandbox was granted that its last filter depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seal {
    /// It may start programs.
    pub exec: bool,
    /// It has INET sockets.
    pub loopback: bool,
    /// It sees files that processes outside of it may have open.
    pub shares_files: bool,
}

impl Seal {
    /// Each that there can be, the strictest first.
    pub(crate) fn all() -> [Self; 8] {
        std::array::from_fn(|bits| Self { exec: bits & 1 != 0, loopback: bits & 2 != 0, shares_files: bits & 4 != 0 })
    }
}

/// What is taken away when a sandbox is sealed. Everything else is left to the filter beneath.
pub fn sealed(seal: Seal) -> Filter {
    let Seal { exec, loopback, shares_files } = seal;
    let mut rules: Vec<Rule> = Rule::plain(SETUP, EPERM).filter(|rule| rule.number != libc::SYS_setrlimit as u32).collect();

    // Threads, always; processes where exec is granted; namespaces and unusual relations never.
    let thread = libc::CLONE_THREAD as u32;
    let cases = vec![
        (vec![Condition::bits(0, REFUSED_CLONES | thread, thread)], Action::Allow),
        (vec![Condition::bits(0, REFUSED_CLONES, 0)], if exec { Action::Allow } else { EACCES }),
    ];
    rules.push(Rule::by_argument(libc::SYS_clone, cases, EPERM));
    if !exec {
        rules.extend(Rule::plain(&[libc::SYS_execve, libc::SYS_execveat], EACCES));
        #[cfg(target_arch = "x86_64")]
        rules.extend(Rule::plain(&[libc::SYS_fork, libc::SYS_vfork], EACCES));
    }
    if !exec && !shares_files {
        rules.push(descriptors::locks_of_one_process());
    }

    if !exec {
        rules.extend(Rule::plain(&[libc::SYS_statfs, libc::SYS_sysinfo], Action::Trap));
        rules.push(Rule::one_of(libc::SYS_fstatfs, 0, &[OWN_SPACE], Action::Trap));
    }

    if loopback {
        // A connection that waits in a listener's queue has the listener's receive buffer, and is charged to no
        // control group. The kernel cuts what is asked for without an error, and so does this, to nothing: the size
        // stays as `loopback::SETTINGS` has it.
        let receive_buffer = vec![Condition::equal(1, libc::SOL_SOCKET as u32), Condition::equal(2, libc::SO_RCVBUF as u32)];
        rules.push(Rule::by_argument(libc::SYS_setsockopt, vec![(receive_buffer, Action::Ignore)], Action::Allow));
    } else {
        let refused = [libc::AF_INET, libc::AF_INET6].map(|family| (vec![Condition::equal(0, family as u32)], EACCES));
        rules.push(Rule::by_argument(libc::SYS_socket, refused.to_vec(), Action::Allow));
    }

    let mut set_up_only = vec![libc::PR_SET_DUMPABLE, libc::PR_CAPBSET_DROP, libc::PR_CAP_AMBIENT];
    if !exec {
        // The program is PID 1 itself: without its death signal it would outlive a supervisor that is killed. Where exec is granted, an init that no
        // program can change stands above it.
        set_up_only.push(libc::PR_SET_PDEATHSIG);
    }
    let set_up_only = set_up_only.into_iter().map(|option| (vec![Condition::equal(0, option as u32)], EPERM)).collect();
    rules.push(Rule::by_argument(libc::SYS_prctl, set_up_only, Action::Allow));
    rules.push(Rule::by_argument(libc::SYS_ioctl, vec![(vec![Condition::equal(1, libc::SIOCSIFFLAGS as u32)], EPERM)], Action::Allow));
    Filter { rules, default: Action::Allow }
}

/// For who has the host's network, and with it the names of its abstract sockets, which are nobody's files: no local sockets but pairs that are
/// connected from the start and stay so. Landlock keeps these names apart only from Linux 6.12 on.
pub fn no_local_sockets() -> Filter {
    let socket = vec![(vec![Condition::equal(0, libc::AF_UNIX as u32)], EACCES)];
    let connected =
        [libc::SOCK_STREAM, libc::SOCK_SEQPACKET].map(|kind| (vec![Condition::bits(1, sockets::SOCKET_TYPE, kind as u32)], Action::Allow));
    let rules = vec![
        Rule::by_argument(libc::SYS_socket, socket, Action::Allow),
        // One of a pair of datagram sockets can send to any name.
        Rule::by_argument(libc::SYS_socketpair, connected.to_vec(), EACCES),
    ];
    Filter { rules, default: Action::Allow }
}

#[cfg(test)]
mod tests {
    use super::super::compile::{SyscallData, evaluate};
    use super::*;

    fn answer(filter: &Filter, number: libc::c_long, arguments: &[u64]) -> u32 {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        evaluate(&filter.compile(), &SyscallData { number: number as u32, arguments: all }).expect("a well-formed program")
    }

    const EXEC: Seal = Seal { exec: true, loopback: false, shares_files: false };
    const LOOPBACK: Seal = Seal { exec: false, loopback: true, shares_files: false };
    const BOTH: Seal = Seal { exec: true, loopback: true, shares_files: true };

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    fn errno(errno: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | errno as u32
    }

    #[test]
    fn no_system_call_has_two_rules() {
        for filter in Seal::all().map(sealed).into_iter().chain([base()]) {
            let mut numbers: Vec<u32> = filter.rules.iter().map(|rule| rule.number).collect();
            numbers.sort_unstable();
            let before = numbers.len();
            numbers.dedup();
            assert_eq!(numbers.len(), before);
        }
    }

    #[test]
    fn the_base_filter_kills_what_is_hostile_and_refuses_what_it_does_not_know() {
        assert_eq!(answer(&base(), libc::SYS_ptrace, &[]), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(answer(&base(), libc::SYS_io_uring_setup, &[]), errno(libc::ENOSYS));
        assert_eq!(answer(&base(), 9999, &[]), errno(libc::EPERM));
        assert_eq!(answer(&base(), 0x4000_0001, &[]), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn sealed_threads_work_and_processes_and_namespaces_do_not() {
        let thread = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u64;
        assert_eq!(answer(&sealed(Seal::default()), libc::SYS_clone, &[thread]), ALLOW);
        assert_eq!(answer(&sealed(Seal::default()), libc::SYS_clone, &[libc::SIGCHLD as u64]), errno(libc::EACCES));
        assert_eq!(answer(&sealed(EXEC), libc::SYS_clone, &[libc::SIGCHLD as u64]), ALLOW);
        for namespace in [libc::CLONE_NEWUSER, libc::CLONE_NEWNET, libc::CLONE_NEWPID] {
            let flags = (namespace | libc::SIGCHLD) as u64;
            assert_eq!(answer(&sealed(BOTH), libc::SYS_clone, &[flags]), errno(libc::EPERM));
            assert_eq!(answer(&sealed(BOTH), libc::SYS_clone, &[flags | thread]), errno(libc::EPERM));
        }
        for relation in [libc::CLONE_PARENT, libc::CLONE_PTRACE, libc::CLONE_UNTRACED, libc::CLONE_IO] {
            let flags = u64::from((relation | libc::SIGCHLD).cast_unsigned());
            assert_eq!(answer(&sealed(BOTH), libc::SYS_clone, &[flags]), errno(libc::EPERM));
            assert_eq!(answer(&sealed(BOTH), libc::SYS_clone, &[flags | thread]), errno(libc::EPERM));
        }
    }

    #[test]
    fn sealed_sockets_are_local_unless_loopback_is_granted() {
        let inet = [libc::AF_INET as u64, libc::SOCK_STREAM as u64];
        assert_eq!(answer(&sealed(Seal::default()), libc::SYS_socket, &inet), errno(libc::EACCES));
        assert_eq!(answer(&sealed(LOOPBACK), libc::SYS_socket, &inet), ALLOW);
        assert_eq!(answer(&base(), libc::SYS_socket, &[libc::AF_INET as u64, libc::SOCK_RAW as u64]), errno(libc::EAFNOSUPPORT));
        assert_eq!(answer(&base(), libc::SYS_socket, &[libc::AF_VSOCK as u64, libc::SOCK_STREAM as u64]), errno(libc::EAFNOSUPPORT));
    }

    #[test]
    fn receive_buffers_stay_as_they_are_where_there_are_connections() {
        let size = [3, libc::SOL_SOCKET as u64, libc::SO_RCVBUF as u64];
        assert_eq!(answer(&sealed(LOOPBACK), libc::SYS_setsockopt, &size), errno(0));
        assert_eq!(answer(&sealed(Seal::default()), libc::SYS_setsockopt, &size), ALLOW);
        let reuse = [3, libc::SOL_SOCKET as u64, libc::SO_REUSEADDR as u64];
        assert_eq!(answer(&sealed(LOOPBACK), libc::SYS_setsockopt, &reuse), ALLOW);
        // The same number of another level is another option.
        let other_level = [3, libc::IPPROTO_TCP as u64, libc::SO_RCVBUF as u64];
        assert_eq!(answer(&sealed(LOOPBACK), libc::SYS_setsockopt, &other_level), ALLOW);
    }

    #[test]
    fn who_has_the_hosts_network_reaches_no_name_of_its_local_sockets() {
        let (unix, inet) = (libc::AF_UNIX as u64, libc::AF_INET as u64);
        let cloexec = libc::SOCK_CLOEXEC as u64;
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET, libc::SOCK_RAW].map(|kind| kind as u64) {
            assert_eq!(answer(&no_local_sockets(), libc::SYS_socket, &[unix, kind | cloexec]), errno(libc::EACCES));
            assert_eq!(answer(&no_local_sockets(), libc::SYS_socket, &[inet, kind]), ALLOW);
        }
        for (kind, expected) in [
            (libc::SOCK_STREAM, ALLOW),
            (libc::SOCK_SEQPACKET, ALLOW),
            (libc::SOCK_DGRAM, errno(libc::EACCES)),
            (libc::SOCK_RAW, errno(libc::EACCES)),
        ] {
            assert_eq!(answer(&no_local_sockets(), libc::SYS_socketpair, &[unix, kind as u64 | cloexec]), expected);
        }
    }

    #[test]
    fn set_id_modes_are_refused_however_they_are_given() {
        for mode in [0o4755, 0o2755, 0o6777] {
            assert_eq!(answer(&base(), libc::SYS_fchmod, &[3, mode]), errno(libc::EPERM));
            assert_eq!(answer(&base(), libc::SYS_fchmodat, &[3, 0, mode]), errno(libc::EPERM));
            assert_eq!(answer(&base(), libc::SYS_openat, &[3, 0, 0, mode]), errno(libc::EPERM));
            assert_eq!(answer(&base(), libc::SYS_mknodat, &[3, 0, mode | u64::from(libc::S_IFREG)]), errno(libc::EPERM));
        }
        assert_eq!(answer(&base(), libc::SYS_fchmod, &[3, 0o1777]), ALLOW);
        assert_eq!(answer(&base(), libc::SYS_mknodat, &[3, 0, u64::from(libc::S_IFIFO) | 0o644]), ALLOW);
        assert_eq!(answer(&base(), libc::SYS_mknodat, &[3, 0, u64::from(libc::S_IFBLK) | 0o644]), errno(libc::EPERM));
    }

    #[test]
    fn sealed_programs_that_are_pid_1_cannot_outlive_their_supervisor() {
        let none = [libc::PR_SET_PDEATHSIG as u64, 0];
        assert_eq!(answer(&sealed(Seal::default()), libc::SYS_prctl, &none), errno(libc::EPERM));
        assert_eq!(answer(&sealed(EXEC), libc::SYS_prctl, &none), ALLOW);
        assert_eq!(answer(&base(), libc::SYS_prctl, &none), ALLOW);
    }

    #[test]
    fn what_the_machine_has_is_answered_by_the_sandbox_itself_unless_programs_can_be_started() {
        for number in [libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_sysinfo] {
            assert_eq!(answer(&base(), number, &[7]), ALLOW);
            assert_eq!(answer(&sealed(LOOPBACK), number, &[7]), libc::SECCOMP_RET_TRAP);
            assert_eq!(answer(&sealed(BOTH), number, &[7]), ALLOW);
        }
        let filter = super::super::with_own_space(&sealed(Seal::default()).compile(), 1024);
        let fstatfs = |fd| evaluate(&filter, &SyscallData { number: libc::SYS_fstatfs as u32, arguments: [fd, 0, 0, 0, 0, 0] });
        assert_eq!([1024, 1023, u64::from(OWN_SPACE)].map(fstatfs), [ALLOW, libc::SECCOMP_RET_TRAP, libc::SECCOMP_RET_TRAP].map(Some));
    }

    #[test]
    fn locks_take_no_memory_where_no_other_process_can_meet_them() {
        for seal in Seal::all() {
            let alone = !seal.exec && !seal.shares_files;
            for command in [libc::F_SETLK, libc::F_SETLKW] {
                let expected = if alone { libc::SECCOMP_RET_ERRNO } else { ALLOW };
                assert_eq!(answer(&sealed(seal), libc::SYS_fcntl, &[3, command as u64]), expected, "{seal:?}");
            }
            let expected = if alone { errno(libc::EINVAL) } else { ALLOW };
            assert_eq!(answer(&sealed(seal), libc::SYS_fcntl, &[3, libc::F_OFD_SETLK as u64]), expected, "{seal:?}");
            assert_eq!(answer(&sealed(seal), libc::SYS_fcntl, &[3, libc::F_GETLK as u64]), ALLOW);
        }
    }

    #[test]
    fn set_up_calls_end_with_the_seal() {
        for &number in SETUP.iter().filter(|&&number| number != libc::SYS_setrlimit) {
            assert_eq!(answer(&base(), number, &[]), ALLOW);
            assert_eq!(answer(&sealed(BOTH), number, &[]), errno(libc::EPERM));
        }
    }
}
