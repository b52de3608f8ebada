//! The rules for system calls about open files whose arguments matter: `fcntl` by command, reads
//! and writes by flag, and advice about files.

use super::compile::{Action, Condition, Rule};

const EINVAL: Action = Action::Errno(libc::EINVAL as u16);
const EOPNOTSUPP: Action = Action::Errno(libc::EOPNOTSUPP as u16);

/// The allowed commands of `fcntl`, except for `F_SETFL`. Not allowed are leases and directory
/// notifications (a process that can only read a file could block its writers for 45 seconds with
/// `F_SETLEASE`), and the receiver of a descriptor's signals (`F_SETOWN`, `F_SETSIG`), which takes
/// uncounted memory.
const COMMANDS: [libc::c_int; 20] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_GETLK,
    libc::F_SETLK,
    libc::F_SETLKW,
    libc::F_OFD_GETLK,
    libc::F_OFD_SETLK,
    libc::F_OFD_SETLKW,
    libc::F_GETOWN,
    F_GETOWN_EX,
    libc::F_GETPIPE_SZ,
    libc::F_SETPIPE_SZ,
    libc::F_ADD_SEALS,
    libc::F_GET_SEALS,
    libc::F_GETLEASE,
    F_DUPFD_QUERY,
    F_CREATED_QUERY,
];
/// The commands that are missing in the libc crate (`asm-generic/fcntl.h`, `linux/fcntl.h`).
const F_GETOWN_EX: libc::c_int = 16;
const F_DUPFD_QUERY: libc::c_int = 1027;
const F_CREATED_QUERY: libc::c_int = 1028;

// The allowed flags of `preadv2` and `pwritev2` (`linux/fs.h`). Not allowed are RWF_NOWAIT, which
// reveals whether a page of a shared file is in memory, and RWF_DONTCACHE, which evicts it.
const RWF_HIPRI: u32 = 1;
const RWF_DSYNC: u32 = 2;
const RWF_SYNC: u32 = 4;
const RWF_APPEND: u32 = 0x10;

/// Returns the rules of these calls.
pub(super) fn rules() -> Vec<Rule> {
    let asynchronous = libc::O_ASYNC as u32;
    let set_flags =
        vec![Condition::equal(1, libc::F_SETFL as u32), Condition::bits(2, asynchronous, 0)];
    let commands = COMMANDS
        .iter()
        .map(|&command| vec![Condition::equal(1, command as u32)])
        .chain([set_flags]);
    let allowed = commands.map(|conditions| (conditions, Action::Allow)).collect();
    // The position takes two words, even where one would suffice.
    let flags = 5;
    let writing = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_APPEND;
    vec![
        Rule::by_argument(libc::SYS_fcntl, allowed, EINVAL),
        Rule::without_bits(libc::SYS_preadv2, flags, !RWF_HIPRI, EOPNOTSUPP),
        Rule::without_bits(libc::SYS_pwritev2, flags, !writing, EOPNOTSUPP),
        // Evicting pages of files that others read is half of a covert channel between sandboxes.
        // The kernel may ignore this advice.
        Rule::by_argument(
            libc::SYS_fadvise64,
            vec![(vec![Condition::equal(3, libc::POSIX_FADV_DONTNEED as u32)], Action::Ignore)],
            Action::Allow,
        ),
    ]
}

/// Returns the rule of range locks in a sandbox with a single process, whose files no other process
/// has open. Such a lock never conflicts with another, so reporting success without taking it has
/// the same effect; and the kernel keeps each lock in memory that no control group counts. Locks of
/// open file descriptions can conflict within a process, and are reported as unsupported, as before
/// Linux 3.15.
pub(super) fn locks_of_one_process() -> Rule {
    let taken = [libc::F_SETLK, libc::F_SETLKW].map(|command| (command, Action::Ignore));
    let absent =
        [libc::F_OFD_GETLK, libc::F_OFD_SETLK, libc::F_OFD_SETLKW].map(|command| (command, EINVAL));
    let cases = taken
        .into_iter()
        .chain(absent)
        .map(|(command, action)| (vec![Condition::equal(1, command as u32)], action));
    Rule::by_argument(libc::SYS_fcntl, cases.collect(), Action::Allow)
}

#[cfg(test)]
mod tests {
    use super::super::compile::{Filter, SyscallData, evaluate};
    use super::*;

    fn answer(number: libc::c_long, arguments: [i64; 6]) -> u32 {
        let program = Filter { rules: rules(), default: Action::Kill }.compile();
        evaluate(
            &program,
            &SyscallData {
                number: number as u32,
                arguments: arguments.map(|argument| argument as u64),
            },
        )
        .expect("a well-formed program")
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    fn errno(errno: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | errno as u32
    }

    #[test]
    fn files_are_neither_leased_nor_watched_nor_made_to_signal() {
        const F_SETSIG: i32 = 10;
        const F_SETOWN_EX: i32 = 15;
        for command in [libc::F_SETLEASE, libc::F_NOTIFY, libc::F_SETOWN, F_SETSIG, F_SETOWN_EX] {
            assert_eq!(
                answer(libc::SYS_fcntl, [3, command.into(), 0, 0, 0, 0]),
                errno(libc::EINVAL),
                "{command}"
            );
        }
        for command in [
            libc::F_SETLK,
            libc::F_DUPFD_CLOEXEC,
            libc::F_SETPIPE_SZ,
            libc::F_ADD_SEALS,
            libc::F_SETFL,
        ] {
            assert_eq!(
                answer(libc::SYS_fcntl, [3, command.into(), 0, 0, 0, 0]),
                ALLOW,
                "{command}"
            );
        }
        let set =
            |flags: i32| answer(libc::SYS_fcntl, [3, libc::F_SETFL.into(), flags.into(), 0, 0, 0]);
        assert_eq!(set(libc::O_NONBLOCK | libc::O_APPEND), ALLOW);
        assert_eq!(set(libc::O_NONBLOCK | libc::O_ASYNC), errno(libc::EINVAL));
    }

    #[test]
    fn pages_of_a_file_are_neither_reported_as_resident_nor_evicted() {
        const RWF_NOWAIT: i64 = 8;
        const RWF_DONTCACHE: i64 = 0x80;
        for call in [libc::SYS_preadv2, libc::SYS_pwritev2] {
            assert_eq!(answer(call, [3, 0, 0, 0, 0, 0]), ALLOW);
            assert_eq!(answer(call, [3, 0, 0, 0, 0, RWF_HIPRI.into()]), ALLOW);
            for flag in [RWF_NOWAIT, RWF_DONTCACHE, RWF_NOWAIT | 1, 0x100, -1] {
                assert_eq!(answer(call, [3, 0, 0, 0, 0, flag]), errno(libc::EOPNOTSUPP));
            }
        }
        assert_eq!(
            answer(libc::SYS_pwritev2, [3, 0, 0, 0, 0, (RWF_DSYNC | RWF_APPEND).into()]),
            ALLOW
        );
        // Returns 0, as if the lock had been taken.
        assert_eq!(
            answer(libc::SYS_fadvise64, [3, 0, 0, libc::POSIX_FADV_DONTNEED.into(), 0, 0]),
            libc::SECCOMP_RET_ERRNO
        );
        assert_eq!(
            answer(libc::SYS_fadvise64, [3, 0, 0, libc::POSIX_FADV_SEQUENTIAL.into(), 0, 0]),
            ALLOW
        );
    }
}
