//! The block of host ids of a process id. A sandbox sees its host ids in `/proc/self/uid_map`, and
//! must not be able to infer the host's process ids from them.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

/// The number of blocks: one for each process id, which has at most 22 bits (`PID_MAX_LIMIT`).
pub(crate) const COUNT: u32 = 1 << (2 * HALF_BITS);

const HALF_BITS: u32 = 11;
const HALF: u32 = (1 << HALF_BITS) - 1;
/// The number of rounds. Four make a Feistel network indistinguishable from a random permutation.
/// More cost some microseconds once per zygote.
const ROUNDS: u8 = 8;

/// Returns the block of a process id. This is a permutation, so that different process ids have
/// different blocks, even among supervisors that do not know each other: the key is the machine's.
pub(crate) fn block_of(pid: u32) -> u32 {
    permute(pid % COUNT, |round, half| mix(key(), round, half))
}

/// Returns the key, which the kernel generates at boot and no sandbox can read.
fn key() -> &'static [u8] {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    KEY.get_or_init(|| std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default())
}

/// Applies a Feistel network, which is a bijection for any round function.
fn permute(number: u32, mix: impl Fn(u8, u32) -> u32) -> u32 {
    let (mut left, mut right) = (number >> HALF_BITS, number & HALF);
    for round in 0..ROUNDS {
        (left, right) = (right, left ^ (mix(round, right) & HALF));
    }
    left << HALF_BITS | right
}

fn mix(key: &[u8], round: u8, half: u32) -> u32 {
    let digest = Sha256::new()
        .chain_update(key)
        .chain_update([round])
        .chain_update(half.to_le_bytes())
        .finalize();
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_block_and_no_two_the_same() {
        // The round functions, computed in advance: otherwise the whole domain would take minutes.
        let mixed: Vec<Vec<u32>> = (0..ROUNDS)
            .map(|round| (0..=HALF).map(|half| mix(key(), round, half)).collect())
            .collect();
        let mut seen = vec![false; COUNT as usize];
        for number in 0..COUNT {
            let block = permute(number, |round, half| mixed[usize::from(round)][half as usize]);
            assert!(
                block < COUNT && !std::mem::replace(&mut seen[block as usize], true),
                "{number}"
            );
        }
        assert_eq!(
            block_of(4711),
            permute(4711, |round, half| mixed[usize::from(round)][half as usize])
        );
    }

    #[test]
    fn blocks_depend_on_the_key_and_follow_no_order() {
        assert_ne!(
            permute(1, |round, half| mix(b"one", round, half)),
            permute(1, |round, half| mix(b"other", round, half))
        );
        let distances: Vec<i64> =
            (100..110).map(|pid| i64::from(block_of(pid + 1)) - i64::from(block_of(pid))).collect();
        assert!(distances.iter().any(|distance| *distance != distances[0]), "{distances:?}");
    }
}
