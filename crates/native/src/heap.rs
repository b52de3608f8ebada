//! V8's heap and the memory limit of a run. V8 sizes its heap by the memory of the machine: on one with 24 GB the young
//! generation alone may grow to 192 MB before the old one is collected for the first time, and a run of 256 MB is killed
//! by the kernel with most of its memory full of garbage.
//!
//! A process that runs one program is told its limit before V8 starts: the C library's `sysinfo`, by which Node learns of
//! the machine's memory, is answered here, because the library is preloaded. A fork has a V8 that is set up already: its
//! limit is changed by the one way that V8's interface has, the callback for a heap that is nearly full.
//!
//! The limit that V8 is given is where it collects before it grows, and not where it ends: that is the kernel's business,
//! whose kill the supervisor reports as what it is. So the callback always raises it a little.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::symbols::table;
use crate::zygote;

const MIB: u64 = 1 << 20;
/// Forks with less memory than this keep a young generation of two times 1 MB; in others it grows to the most that the
/// zygote was started with, two times 8 MB. Programs that allocate much are a tenth slower with the small one.
const GROWING_BYTES: u64 = 512 * MIB;
/// What a run needs beside the old generation at the least: the young one, code, stacks, the C heap.
const MIN_OTHER_BYTES: u64 = 24 * MIB;
/// And as a share of its memory.
const OTHER_SHARE: u64 = 8;
/// The smallest old generation that anything runs in.
const MIN_OLD_BYTES: u64 = 16 * MIB;
/// With this much memory V8 13 chooses the smallest heap that it has, an old generation of 256 MB and a young one of two
/// times 1 MB. With a little more the young one has two times 16 MB.
const SMALL_MACHINE_BYTES: u64 = 512 * MIB;
const SMALL_BYTES: u64 = 384 * MIB;

/// The memory limit of this sandbox once it is one; 0 before.
static LIMIT: AtomicU64 = AtomicU64::new(0);
/// Set where nothing else answers `sysinfo`, because the program may start others.
static ANSWERS_HERE: AtomicU64 = AtomicU64::new(0);

/// Takes note of the limit of the sandbox that this process is from now on. With `answers`, `sysinfo` is answered by this
/// library alone.
pub fn limit_is(memory_bytes: u64, answers: bool) {
    LIMIT.store(memory_bytes, Ordering::Relaxed);
    ANSWERS_HERE.store(u64::from(answers), Ordering::Relaxed);
}

/// The memory limit of this sandbox, 0 where it is not one.
pub fn limit_bytes() -> u64 {
    LIMIT.load(Ordering::Relaxed)
}

/// What the old generation may hold before V8 has to collect it.
fn old_bytes(memory_bytes: u64) -> u64 {
    let other = (memory_bytes / OTHER_SHARE).max(MIN_OTHER_BYTES);
    memory_bytes.saturating_sub(other).max(MIN_OLD_BYTES)
}

/// The memory of a machine for which V8 chooses a heap that fits into the limit. The old generation has half of it, and the
/// young one about a tenth of that.
fn machine_bytes(memory_bytes: u64) -> u64 {
    if memory_bytes < SMALL_BYTES { SMALL_MACHINE_BYTES } else { 2 * (old_bytes(memory_bytes) / 10 * 9) }
}

/// `sysinfo(2)` as the C library has it, for callers in this process that go by its name. Before there is a sandbox it is
/// Node that asks, to size its heap.
///
/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sysinfo(info: *mut libc::sysinfo) -> c_int {
    // SAFETY: the kernel checks the address.
    let status = unsafe { libc::syscall(libc::SYS_sysinfo, info) } as c_int;
    let memory = match limit_bytes() {
        0 => zygote::facts().ok().filter(|facts| !facts.forks && facts.memory_bytes > 0).map(|facts| machine_bytes(facts.memory_bytes)),
        limit => (ANSWERS_HERE.load(Ordering::Relaxed) != 0).then_some(limit),
    };
    if let (0, Some(memory)) = (status, memory) {
        // SAFETY: the kernel has just written there.
        unsafe {
            let unit = u64::from((*info).mem_unit.max(1));
            (*info).totalram = memory / unit;
            (*info).freeram = (*info).freeram.min(memory / unit);
        }
    }
    status
}

table! {
    /// What V8 offers for the limit of a heap that is set up: C++, the same in Node 22 to 26.
    struct Heap {
        _ZN2v87Isolate10GetCurrentEv: fn() -> *mut c_void,
        _ZN2v87Isolate24AddNearHeapLimitCallbackEPFmPvmmES1_: fn(*mut c_void, NearLimit, *mut c_void),
        _ZN2v87Isolate27RemoveNearHeapLimitCallbackEPFmPvmmEm: fn(*mut c_void, NearLimit, usize),
        _ZN2v82V818SetFlagsFromStringEPKc: fn(*const c_char),
    }
}

type NearLimit = unsafe extern "C" fn(*mut c_void, usize, usize) -> usize;

/// Called by V8 when it has collected all that it can and needs more. Where it began with less than the run may have, that
/// comes first.
unsafe extern "C" fn near_limit(_: *mut c_void, current: usize, _initial: usize) -> usize {
    let more = current.saturating_add((current / 16).max(8 << 20));
    let old = usize::try_from(old_bytes(limit_bytes())).unwrap_or(usize::MAX);
    if current < old { old } else { more }
}

static HEAP: OnceLock<Option<Heap>> = OnceLock::new();

/// Looks up what V8 offers: once, in the zygote, so that no sandbox has to.
pub fn prepare() {
    HEAP.get_or_init(Heap::load);
}

/// Fits the heap of the calling thread to the memory limit of this sandbox. Where V8 lacks a part of what is needed, it
/// keeps the heap that it has.
pub fn fit() {
    let (Some(heap), limit @ 1..) = (HEAP.get().and_then(Option::as_ref), limit_bytes()) else { return };
    let old = usize::try_from(old_bytes(limit)).unwrap_or(usize::MAX);
    // SAFETY: called from JavaScript, so that there is an isolate; the callback lives as long as the process. To remove a
    // callback sets the limit that comes with it, where that is lower.
    unsafe {
        let isolate = (heap._ZN2v87Isolate10GetCurrentEv)();
        if isolate.is_null() {
            return;
        }
        (heap._ZN2v87Isolate24AddNearHeapLimitCallbackEPFmPvmmES1_)(isolate, near_limit, ptr::null_mut());
        (heap._ZN2v87Isolate27RemoveNearHeapLimitCallbackEPFmPvmmEm)(isolate, near_limit, old);
        (heap._ZN2v87Isolate24AddNearHeapLimitCallbackEPFmPvmmES1_)(isolate, near_limit, ptr::null_mut());
        if limit >= GROWING_BYTES {
            // The zygote was started with 1.
            (heap._ZN2v82V818SetFlagsFromStringEPKc)(c"--semi-space-growth-factor=2".as_ptr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_generation_leaves_room_for_everything_else() {
        for (memory_mib, old_mib) in [(8, 16), (64, 40), (256, 224), (1024, 896), (16 << 10, 14 << 10)] {
            assert_eq!(old_bytes(memory_mib * MIB), old_mib * MIB, "{memory_mib} MB");
        }
        assert_eq!(machine_bytes(256 * MIB), 512 * MIB);
        // 806 MB for the old generation, and V8 adds some 80 for the young one.
        assert_eq!(machine_bytes(1024 * MIB) / MIB, 1612);
    }
}
