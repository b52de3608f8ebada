//! The rules for system calls about memory whose arguments matter. They prevent pages from the
//! host's reserved pool, and pages that are shared with other sandboxes because their content is
//! equal.

use super::compile::{Action, Condition, Rule};

const EPERM: Action = Action::Errno(libc::EPERM as u16);
const EINVAL: Action = Action::Errno(libc::EINVAL as u16);

/// Returns the rules of these calls.
pub(super) fn rules() -> Vec<Rule> {
    // Reserved huge pages (`vm.nr_hugepages`) belong to the programs for which the host has
    // reserved them, and no memory group counts them.
    let huge_map = libc::MAP_HUGETLB as u32;
    let huge_file = libc::MFD_HUGETLB;
    // The timing of merged pages (KSM) reveals what another sandbox has in memory.
    let merging = [libc::MADV_MERGEABLE, libc::MADV_UNMERGEABLE]
        .map(|advice| (vec![Condition::equal(2, advice as u32)], EINVAL));
    vec![
        Rule::without_bits(libc::SYS_mmap, 3, huge_map, EPERM),
        // Such a file can be mapped like anonymous memory. Executing it needs execve.
        Rule::without_bits(libc::SYS_memfd_create, 1, huge_file, EPERM),
        Rule::by_argument(libc::SYS_madvise, merging.to_vec(), Action::Allow),
    ]
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
    fn reserved_huge_pages_are_not_taken_and_equal_pages_not_merged() {
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        assert_eq!(answer(libc::SYS_mmap, [0, 4096, 3, anonymous.into(), -1, 0]), ALLOW);
        for size in [0, libc::MAP_HUGE_2MB, libc::MAP_HUGE_1GB] {
            let flags = i64::from(anonymous | libc::MAP_HUGETLB | size);
            assert_eq!(answer(libc::SYS_mmap, [0, 4096, 3, flags, -1, 0]), errno(libc::EPERM));
        }
        assert_eq!(
            answer(libc::SYS_memfd_create, [0, libc::MFD_CLOEXEC.into(), 0, 0, 0, 0]),
            ALLOW
        );
        assert_eq!(
            answer(libc::SYS_memfd_create, [0, libc::MFD_HUGETLB.into(), 0, 0, 0, 0]),
            errno(libc::EPERM)
        );
        assert_eq!(
            answer(libc::SYS_madvise, [0, 4096, libc::MADV_DONTNEED.into(), 0, 0, 0]),
            ALLOW
        );
        assert_eq!(
            answer(libc::SYS_madvise, [0, 4096, libc::MADV_MERGEABLE.into(), 0, 0, 0]),
            errno(libc::EINVAL)
        );
    }
}
