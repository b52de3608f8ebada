use super::super::compile::{SyscallData, evaluate};
use super::*;

/// A sandbox without any grant.
fn strictest() -> Filter {
    sealed(Exec::Denied, Network::None, HostFiles::System)
}

fn with_exec() -> Filter {
    sealed(Exec::Granted, Network::None, HostFiles::System)
}

fn with_loopback() -> Filter {
    sealed(Exec::Denied, Network::Loopback, HostFiles::System)
}

/// A sandbox with every grant that can be enforced.
fn loosest() -> Filter {
    sealed(Exec::Granted, Network::Loopback, HostFiles::Granted)
}

fn every_access() -> impl Iterator<Item = (Exec, Network, HostFiles)> {
    Exec::ALL.into_iter().flat_map(|exec| {
        Network::ALL.into_iter().flat_map(move |network| {
            [HostFiles::System, HostFiles::Granted].map(|files| (exec, network, files))
        })
    })
}

fn answer(filter: &Filter, number: libc::c_long, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    evaluate(&filter.compile(), &SyscallData { number: number as u32, arguments: all })
        .expect("a well-formed program")
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

#[test]
fn no_system_call_has_two_rules() {
    let sealed = every_access().map(|(exec, network, files)| sealed(exec, network, files));
    for filter in sealed.chain([base()]) {
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
    assert_eq!(answer(&strictest(), libc::SYS_clone, &[thread]), ALLOW);
    assert_eq!(answer(&strictest(), libc::SYS_clone, &[libc::SIGCHLD as u64]), errno(libc::EACCES));
    assert_eq!(answer(&with_exec(), libc::SYS_clone, &[libc::SIGCHLD as u64]), ALLOW);
    for namespace in [libc::CLONE_NEWUSER, libc::CLONE_NEWNET, libc::CLONE_NEWPID] {
        let flags = (namespace | libc::SIGCHLD) as u64;
        assert_eq!(answer(&loosest(), libc::SYS_clone, &[flags]), errno(libc::EPERM));
        assert_eq!(answer(&loosest(), libc::SYS_clone, &[flags | thread]), errno(libc::EPERM));
    }
    for relation in [libc::CLONE_PARENT, libc::CLONE_PTRACE, libc::CLONE_UNTRACED, libc::CLONE_IO] {
        let flags = u64::from((relation | libc::SIGCHLD).cast_unsigned());
        assert_eq!(answer(&loosest(), libc::SYS_clone, &[flags]), errno(libc::EPERM));
        assert_eq!(answer(&loosest(), libc::SYS_clone, &[flags | thread]), errno(libc::EPERM));
    }
}

#[test]
fn sealed_sockets_are_local_unless_loopback_is_granted() {
    let inet = [libc::AF_INET as u64, libc::SOCK_STREAM as u64];
    assert_eq!(answer(&strictest(), libc::SYS_socket, &inet), errno(libc::EACCES));
    assert_eq!(answer(&with_loopback(), libc::SYS_socket, &inet), ALLOW);
    assert_eq!(
        answer(&base(), libc::SYS_socket, &[libc::AF_INET as u64, libc::SOCK_RAW as u64]),
        errno(libc::EAFNOSUPPORT)
    );
    assert_eq!(
        answer(&base(), libc::SYS_socket, &[libc::AF_VSOCK as u64, libc::SOCK_STREAM as u64]),
        errno(libc::EAFNOSUPPORT)
    );
}

#[test]
fn a_network_of_granted_hosts_has_no_sockets_as_long_as_nothing_restricts_them() {
    for exec in Exec::ALL {
        let filter = sealed(exec, Network::Granted, HostFiles::System);
        for family in [libc::AF_INET, libc::AF_INET6] {
            let socket = [family as u64, libc::SOCK_STREAM as u64];
            assert_eq!(answer(&filter, libc::SYS_socket, &socket), errno(libc::EACCES));
        }
    }
}

#[test]
fn receive_buffers_stay_as_they_are_where_there_are_connections() {
    let size = [3, libc::SOL_SOCKET as u64, libc::SO_RCVBUF as u64];
    assert_eq!(answer(&with_loopback(), libc::SYS_setsockopt, &size), errno(0));
    assert_eq!(answer(&strictest(), libc::SYS_setsockopt, &size), ALLOW);
    let reuse = [3, libc::SOL_SOCKET as u64, libc::SO_REUSEADDR as u64];
    assert_eq!(answer(&with_loopback(), libc::SYS_setsockopt, &reuse), ALLOW);
    // The same number at another level is another option.
    let other_level = [3, libc::IPPROTO_TCP as u64, libc::SO_RCVBUF as u64];
    assert_eq!(answer(&with_loopback(), libc::SYS_setsockopt, &other_level), ALLOW);
}

#[test]
fn a_tool_with_the_hosts_network_cannot_reach_its_local_sockets_by_name() {
    let (unix, inet) = (libc::AF_UNIX as u64, libc::AF_INET as u64);
    let cloexec = libc::SOCK_CLOEXEC as u64;
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET, libc::SOCK_RAW]
        .map(|kind| kind as u64)
    {
        assert_eq!(
            answer(&no_local_sockets(), libc::SYS_socket, &[unix, kind | cloexec]),
            errno(libc::EACCES)
        );
        assert_eq!(answer(&no_local_sockets(), libc::SYS_socket, &[inet, kind]), ALLOW);
    }
    for (kind, expected) in [
        (libc::SOCK_STREAM, ALLOW),
        (libc::SOCK_SEQPACKET, ALLOW),
        (libc::SOCK_DGRAM, errno(libc::EACCES)),
        (libc::SOCK_RAW, errno(libc::EACCES)),
    ] {
        assert_eq!(
            answer(&no_local_sockets(), libc::SYS_socketpair, &[unix, kind as u64 | cloexec]),
            expected
        );
    }
}

#[test]
fn set_id_modes_are_refused_however_they_are_given() {
    for mode in [0o4755, 0o2755, 0o6777] {
        assert_eq!(answer(&base(), libc::SYS_fchmod, &[3, mode]), errno(libc::EPERM));
        assert_eq!(answer(&base(), libc::SYS_fchmodat, &[3, 0, mode]), errno(libc::EPERM));
        assert_eq!(answer(&base(), libc::SYS_openat, &[3, 0, 0, mode]), errno(libc::EPERM));
        assert_eq!(
            answer(&base(), libc::SYS_mknodat, &[3, 0, mode | u64::from(libc::S_IFREG)]),
            errno(libc::EPERM)
        );
    }
    assert_eq!(answer(&base(), libc::SYS_fchmod, &[3, 0o1777]), ALLOW);
    assert_eq!(
        answer(&base(), libc::SYS_mknodat, &[3, 0, u64::from(libc::S_IFIFO) | 0o644]),
        ALLOW
    );
    assert_eq!(
        answer(&base(), libc::SYS_mknodat, &[3, 0, u64::from(libc::S_IFBLK) | 0o644]),
        errno(libc::EPERM)
    );
}

#[test]
fn sealed_programs_that_are_pid_1_cannot_outlive_their_supervisor() {
    let none = [libc::PR_SET_PDEATHSIG as u64, 0];
    assert_eq!(answer(&strictest(), libc::SYS_prctl, &none), errno(libc::EPERM));
    assert_eq!(answer(&with_exec(), libc::SYS_prctl, &none), ALLOW);
    assert_eq!(answer(&base(), libc::SYS_prctl, &none), ALLOW);
}

#[test]
fn queries_about_the_machine_are_answered_by_the_sandbox_unless_programs_can_be_started() {
    for number in [libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_sysinfo] {
        assert_eq!(answer(&base(), number, &[7]), ALLOW);
        assert_eq!(answer(&with_loopback(), number, &[7]), libc::SECCOMP_RET_TRAP);
        assert_eq!(answer(&loosest(), number, &[7]), ALLOW);
    }
    let filter = super::super::with_own_space(&strictest().compile(), 1024);
    let fstatfs = |fd| {
        evaluate(
            &filter,
            &SyscallData { number: libc::SYS_fstatfs as u32, arguments: [fd, 0, 0, 0, 0, 0] },
        )
    };
    assert_eq!(
        [1024, 1023, u64::from(OWN_SPACE)].map(fstatfs),
        [ALLOW, libc::SECCOMP_RET_TRAP, libc::SECCOMP_RET_TRAP].map(Some)
    );
}

#[test]
fn locks_take_no_memory_where_no_other_process_can_meet_them() {
    for access in every_access() {
        let (exec, network, files) = access;
        let filter = sealed(exec, network, files);
        let alone = exec == Exec::Denied && files == HostFiles::System;
        for command in [libc::F_SETLK, libc::F_SETLKW] {
            let expected = if alone { libc::SECCOMP_RET_ERRNO } else { ALLOW };
            assert_eq!(
                answer(&filter, libc::SYS_fcntl, &[3, command as u64]),
                expected,
                "{access:?}"
            );
        }
        let expected = if alone { errno(libc::EINVAL) } else { ALLOW };
        assert_eq!(
            answer(&filter, libc::SYS_fcntl, &[3, libc::F_OFD_SETLK as u64]),
            expected,
            "{access:?}"
        );
        assert_eq!(answer(&filter, libc::SYS_fcntl, &[3, libc::F_GETLK as u64]), ALLOW);
    }
}

#[test]
fn set_up_calls_end_with_the_seal() {
    for &number in SETUP.iter().filter(|&&number| number != libc::SYS_setrlimit) {
        assert_eq!(answer(&base(), number, &[]), ALLOW);
        assert_eq!(answer(&loosest(), number, &[]), errno(libc::EPERM));
    }
}
