//! The part of the allow-list that concerns sockets: which ones can be made, which of their options
//! can be set and read, and with which flags they are used. Options are an allow-list of what Node,
//! `CPython` and common clients use: the others are doors into code and memory of the kernel that
//! no control group counts (filters, `TCP_ULP`, multicast lists, header options).

use super::compile::{Action, Condition, Rule};

const EPERM: Action = Action::Errno(libc::EPERM as u16);
const ENOPROTOOPT: Action = Action::Errno(libc::ENOPROTOOPT as u16);
const EOPNOTSUPP: Action = Action::Errno(libc::EOPNOTSUPP as u16);
const EAFNOSUPPORT: Action = Action::Errno(libc::EAFNOSUPPORT as u16);
const EPROTONOSUPPORT: Action = Action::Errno(libc::EPROTONOSUPPORT as u16);

/// The bits of `socket`'s type argument that select the type. The other bits are flags.
pub(super) const SOCKET_TYPE: u32 = 0xf;

/// Returns the rules of all socket calls whose arguments matter.
pub(super) fn rules() -> Vec<Rule> {
    let mut rules = vec![
        Rule::by_argument(libc::SYS_socket, families(), EAFNOSUPPORT),
        Rule::by_argument(libc::SYS_socketpair, pairs(), EAFNOSUPPORT),
        setsockopt(),
        options(libc::SYS_getsockopt, &[SETTABLE, READABLE], ENOPROTOOPT),
    ];
    let flags = [
        (libc::SYS_sendto, 3),
        (libc::SYS_sendmsg, 2),
        (libc::SYS_sendmmsg, 3),
        (libc::SYS_recvfrom, 3),
        (libc::SYS_recvmsg, 2),
        (libc::SYS_recvmmsg, 3),
    ];
    // Urgent data on local sockets has been a vulnerability of the kernel (CVE-2025-38236), and a
    // filter cannot see the family of a descriptor. Zero-copy sends pin pages of the sender. An
    // incomplete datagram (`MSG_MORE`) waits in memory that no control group counts, 64 KB per
    // socket. Libraries that try one of these flags fall back.
    let refused = (libc::MSG_OOB | libc::MSG_ZEROCOPY | libc::MSG_MORE) as u32;
    rules.extend(
        flags.map(|(number, argument)| Rule::without_bits(number, argument, refused, EOPNOTSUPP)),
    );
    rules
}

/// Returns the allowed families, types and protocols of `socket`. Netlink is not allowed: its
/// unread answers take memory that no control group counts, and the native library implements the
/// functions for which programs use it (`getifaddrs`, `if_nameindex`). An unloaded protocol would
/// make the kernel load its module.
fn families() -> Vec<(Vec<Condition>, Action)> {
    let mut cases = Vec::new();
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
        cases.extend(local(kind));
    }
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocol) in
            [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)]
        {
            let made = |protocol| {
                vec![
                    Condition::equal(0, family as u32),
                    Condition::bits(1, SOCKET_TYPE, kind as u32),
                    Condition::equal(2, protocol as u32),
                ]
            };
            cases.extend([0, protocol].map(|protocol| (made(protocol), Action::Allow)));
        }
        // MPTCP, SCTP, SMC, UDP-Lite, ping. Raw sockets fail like an unknown family.
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
            let other = vec![
                Condition::equal(0, family as u32),
                Condition::bits(1, SOCKET_TYPE, kind as u32),
            ];
            cases.push((other, EPROTONOSUPPORT));
        }
    }
    cases
}

fn pairs() -> Vec<(Vec<Condition>, Action)> {
    [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET]
        .into_iter()
        .flat_map(local)
        .collect()
}

/// Returns the cases for a local socket of this type. Its protocol may be 0 or the family
/// (unix(7)).
fn local(kind: libc::c_int) -> [(Vec<Condition>, Action); 2] {
    [0, libc::PF_UNIX].map(|protocol| {
        let unix = Condition::equal(0, libc::AF_UNIX as u32);
        (
            vec![
                unix,
                Condition::bits(1, SOCKET_TYPE, kind as u32),
                Condition::equal(2, protocol as u32),
            ],
            Action::Allow,
        )
    })
}

type Options = &'static [(libc::c_int, &'static [libc::c_int])];

fn options(number: libc::c_long, tables: &[Options], otherwise: Action) -> Rule {
    let mut cases = Vec::new();
    for (level, names) in tables.iter().copied().flatten() {
        for &name in *names {
            // The name first, so that most cases need a single comparison.
            cases.push((
                vec![Condition::equal(2, name as u32), Condition::equal(1, *level as u32)],
                Action::Allow,
            ));
        }
    }
    Rule::by_argument(number, cases, otherwise)
}

/// Returns the rule of `setsockopt`. Some options are not set, although the call succeeds: a
/// socket's queue of errors (`IP_RECVERR`) takes up to 208 KB that no control group counts
/// (`sock_queue_err_skb` in `net/core/skbuff.c`), and is filled by datagrams that are too long. The
/// C library's resolver fails if it cannot set the option (`__res_enable_icmp`), but works without
/// its effect.
fn setsockopt() -> Rule {
    let mut rule = options(libc::SYS_setsockopt, &[SETTABLE], EPERM);
    let queues = [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];
    let ignored = queues.map(|(level, name)| {
        (vec![Condition::equal(2, name as u32), Condition::equal(1, level as u32)], Action::Ignore)
    });
    rule.cases.extend(ignored);
    rule
}

// Constants that the libc crate does not define on every architecture. The numbers are from
// asm-generic/socket.h, which x86-64 and arm64 share.
const SO_RCVTIMEO_OLD: libc::c_int = 20;
const SO_SNDTIMEO_OLD: libc::c_int = 21;
const SO_TIMESTAMP_OLD: libc::c_int = 29;
const SO_TIMESTAMPNS_OLD: libc::c_int = 35;
const SO_TIMESTAMP_NEW: libc::c_int = 63;
const SO_TIMESTAMPNS_NEW: libc::c_int = 64;
const SO_RCVTIMEO_NEW: libc::c_int = 66;
const SO_SNDTIMEO_NEW: libc::c_int = 67;

/// Options that can be set and read.
///
/// Joining IPv6 groups is not among them: a socket may join as many groups as its option memory
/// holds, and the kernel's list of each group is not counted. An IPv4 socket can join 20
/// (`net.ipv4.igmp_max_memberships`).
#[rustfmt::skip] // A table: with one option per line, it would fill pages.
const SETTABLE: Options = &[
    (libc::SOL_SOCKET, &[
        libc::SO_REUSEADDR, libc::SO_DONTROUTE, libc::SO_BROADCAST, libc::SO_SNDBUF,
        libc::SO_RCVBUF, libc::SO_KEEPALIVE, libc::SO_OOBINLINE, libc::SO_PRIORITY, libc::SO_LINGER,
        libc::SO_REUSEPORT, libc::SO_PASSCRED, libc::SO_RCVLOWAT, libc::SO_SNDLOWAT,
        SO_RCVTIMEO_OLD, SO_SNDTIMEO_OLD, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW, SO_TIMESTAMP_OLD,
        SO_TIMESTAMPNS_OLD, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW, libc::SO_PEEK_OFF,
        libc::SO_RXQ_OVFL,
    ]),
    (libc::IPPROTO_TCP, &[
        libc::TCP_NODELAY, libc::TCP_MAXSEG, libc::TCP_CORK, libc::TCP_KEEPIDLE,
        libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT, libc::TCP_SYNCNT, libc::TCP_LINGER2,
        libc::TCP_DEFER_ACCEPT, libc::TCP_WINDOW_CLAMP, libc::TCP_QUICKACK, libc::TCP_USER_TIMEOUT,
        libc::TCP_FASTOPEN, libc::TCP_FASTOPEN_CONNECT, libc::TCP_NOTSENT_LOWAT,
    ]),
    (libc::IPPROTO_IP, &[
        libc::IP_TOS, libc::IP_TTL, libc::IP_PKTINFO, libc::IP_MTU_DISCOVER, libc::IP_RECVTTL,
        libc::IP_RECVTOS, libc::IP_FREEBIND, libc::IP_BIND_ADDRESS_NO_PORT, libc::IP_MULTICAST_IF,
        libc::IP_MULTICAST_TTL, libc::IP_MULTICAST_LOOP, libc::IP_MULTICAST_ALL,
        libc::IP_ADD_MEMBERSHIP, libc::IP_DROP_MEMBERSHIP,
    ]),
    (libc::IPPROTO_IPV6, &[
        libc::IPV6_V6ONLY, libc::IPV6_UNICAST_HOPS, libc::IPV6_MULTICAST_IF,
        libc::IPV6_MULTICAST_HOPS, libc::IPV6_MULTICAST_LOOP, libc::IPV6_MTU_DISCOVER,
        libc::IPV6_RECVPKTINFO, libc::IPV6_RECVHOPLIMIT, libc::IPV6_RECVTCLASS, libc::IPV6_TCLASS,
        libc::IPV6_DONTFRAG,
    ]),
];

/// Options that can only be read. `SO_PEERPIDFD` is not among them, because the supervisor is at
/// the other end of the control channel.
#[rustfmt::skip] // A table, as above.
const READABLE: Options = &[
    (libc::SOL_SOCKET, &[
        libc::SO_ERROR, libc::SO_TYPE, libc::SO_ACCEPTCONN, libc::SO_PROTOCOL, libc::SO_DOMAIN,
        libc::SO_PEERCRED, libc::SO_PEERNAME, libc::SO_COOKIE, libc::SO_INCOMING_CPU, libc::SO_MARK,
        libc::SO_BINDTODEVICE,
    ]),
    (libc::IPPROTO_TCP, &[libc::TCP_INFO, libc::TCP_CONGESTION]),
    (libc::IPPROTO_IP, &[libc::IP_MTU, libc::IP_RECVERR]),
    (libc::IPPROTO_IPV6, &[libc::IPV6_MTU, libc::IPV6_RECVERR]),
];

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::super::compile::{Filter, Instruction, SyscallData, evaluate};
    use super::*;

    fn answer(number: libc::c_long, arguments: &[i64]) -> u32 {
        static PROGRAM: LazyLock<Vec<Instruction>> =
            LazyLock::new(|| Filter { rules: rules(), default: Action::Kill }.compile());
        let mut all = [0; 6];
        for (to, from) in all.iter_mut().zip(arguments) {
            *to = *from as u64;
        }
        evaluate(&PROGRAM, &SyscallData { number: number as u32, arguments: all })
            .expect("a well-formed program")
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    fn errno(errno: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | errno as u32
    }

    fn socket(family: i32, kind: i32, protocol: i32) -> u32 {
        answer(
            libc::SYS_socket,
            &[
                family.into(),
                (kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).into(),
                protocol.into(),
            ],
        )
    }

    #[test]
    fn sockets_have_the_protocol_of_their_type_and_no_other() {
        for family in [libc::AF_INET, libc::AF_INET6] {
            for (kind, own) in
                [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)]
            {
                for protocol in 0..300 {
                    let expected = if protocol == 0 || protocol == own {
                        ALLOW
                    } else {
                        errno(libc::EPROTONOSUPPORT)
                    };
                    assert_eq!(
                        socket(family, kind, protocol),
                        expected,
                        "family {family}, type {kind}, protocol {protocol}"
                    );
                }
            }
            for protocol in [0, libc::IPPROTO_TCP, libc::IPPROTO_SCTP] {
                assert_eq!(
                    socket(family, libc::SOCK_SEQPACKET, protocol),
                    errno(libc::EPROTONOSUPPORT)
                );
                assert_eq!(socket(family, libc::SOCK_RAW, protocol), errno(libc::EAFNOSUPPORT));
            }
        }
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
            for protocol in 0..10 {
                let expected = if protocol <= 1 { ALLOW } else { errno(libc::EAFNOSUPPORT) };
                assert_eq!(socket(libc::AF_UNIX, kind, protocol), expected);
                let pair = [libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, protocol].map(i64::from);
                assert_eq!(answer(libc::SYS_socketpair, &pair), expected);
            }
        }
        // TIPC also supports socket pairs.
        assert_eq!(
            answer(libc::SYS_socketpair, &[30, libc::SOCK_STREAM.into(), 0]),
            errno(libc::EAFNOSUPPORT)
        );
        for family in (0..64)
            .filter(|family| ![libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].contains(family))
        {
            for kind in 1..=6 {
                assert_eq!(socket(family, kind, 0), errno(libc::EAFNOSUPPORT), "family {family}");
            }
        }
    }

    #[test]
    fn no_option_outside_of_the_table_is_set_or_read() {
        let mut settable = 0;
        for level in 0..300 {
            for name in 0..300 {
                let is_in = |table: Options| {
                    table.iter().any(|(at, names)| *at == level && names.contains(&name))
                };
                let [set, get] = [libc::SYS_setsockopt, libc::SYS_getsockopt]
                    .map(|number| answer(number, &[0, level.into(), name.into()]));
                let is_queue = [
                    (libc::IPPROTO_IP, libc::IP_RECVERR),
                    (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
                ]
                .contains(&(level, name));
                let refused = if is_queue { libc::SECCOMP_RET_ERRNO } else { errno(libc::EPERM) };
                assert_eq!(set, if is_in(SETTABLE) { ALLOW } else { refused }, "{level}, {name}");
                let readable = is_in(SETTABLE) || is_in(READABLE);
                assert_eq!(
                    get,
                    if readable { ALLOW } else { errno(libc::ENOPROTOOPT) },
                    "{level}, {name}"
                );
                settable += u32::from(set == ALLOW);
            }
        }
        assert!(settable > 50);
    }

    /// Options that have given, or would give, access to code and memory of the kernel.
    #[test]
    fn filters_protocols_above_tcp_and_groups_of_ipv6_are_not_set() {
        for (level, name) in [
            (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
            (libc::SOL_SOCKET, libc::SO_LOCK_FILTER),
            (libc::SOL_SOCKET, libc::SO_ATTACH_BPF),
            (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF),
            (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF),
            (libc::SOL_SOCKET, libc::SO_ZEROCOPY),
            (libc::SOL_SOCKET, libc::SO_TXTIME),
            (libc::SOL_SOCKET, libc::SO_BUSY_POLL),
            (libc::SOL_SOCKET, 73), // SO_RESERVE_MEM
            (libc::IPPROTO_TCP, libc::TCP_ULP),
            (libc::IPPROTO_TCP, libc::TCP_REPAIR),
            (libc::IPPROTO_TCP, libc::TCP_MD5SIG),
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION),
            (libc::IPPROTO_IP, libc::IP_OPTIONS),
            (libc::IPPROTO_IP, 64), // IPT_SO_SET_REPLACE
            (libc::IPPROTO_IP, libc::MCAST_JOIN_SOURCE_GROUP),
            (libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP),
            (libc::IPPROTO_IPV6, 27), // IPV6_JOIN_ANYCAST
            (libc::IPPROTO_IPV6, libc::IPV6_FLOWLABEL_MGR),
            (libc::IPPROTO_IPV6, libc::IPV6_RTHDR),
            (libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS),
            (libc::SOL_UDP, 103), // UDP_SEGMENT
            (libc::SOL_TLS, 1),
        ] {
            assert_eq!(
                answer(libc::SYS_setsockopt, &[0, level.into(), name.into()]),
                errno(libc::EPERM),
                "{level}, {name}"
            );
        }
        for name in [libc::SO_PEERCRED, libc::SO_ERROR, libc::SO_TYPE] {
            assert_eq!(
                answer(libc::SYS_getsockopt, &[0, libc::SOL_SOCKET.into(), name.into()]),
                ALLOW
            );
        }
        // SO_PEERPIDFD
        assert_eq!(
            answer(libc::SYS_getsockopt, &[3, libc::SOL_SOCKET.into(), 77]),
            errno(libc::ENOPROTOOPT)
        );
    }

    #[test]
    fn urgent_and_continued_data_and_zero_copies_are_refused_in_every_call_that_takes_flags() {
        for (number, position) in [
            (libc::SYS_sendto, 3),
            (libc::SYS_sendmsg, 2),
            (libc::SYS_sendmmsg, 3),
            (libc::SYS_recvfrom, 3),
            (libc::SYS_recvmsg, 2),
            (libc::SYS_recvmmsg, 3),
        ] {
            let with = |flags: i32| {
                let mut arguments = [0; 4];
                arguments[position] = i64::from(flags);
                answer(number, &arguments)
            };
            for flags in [
                0,
                libc::MSG_NOSIGNAL,
                libc::MSG_DONTWAIT | libc::MSG_PEEK,
                libc::MSG_CMSG_CLOEXEC,
                libc::MSG_WAITALL,
            ] {
                assert_eq!(with(flags), ALLOW);
            }
            for flags in [
                libc::MSG_OOB,
                libc::MSG_ZEROCOPY,
                libc::MSG_MORE,
                libc::MSG_OOB | libc::MSG_DONTWAIT,
                -1,
            ] {
                assert_eq!(with(flags), errno(libc::EOPNOTSUPP));
            }
        }
    }
}
