//! V8's heap and the memory limit of a run. V8 sizes its heap by the memory of the machine: with 24
//! GB the young generation alone may grow to 192 MB before the old one is collected for the first
//! time, and the kernel kills a run of 256 MB while most of its memory is garbage.
//!
//! In a process that runs one program, V8 sees the limit when it starts: Node.js queries the
//! machine's memory by the C library's `sysinfo`, which this preloaded library replaces. In a fork,
//! V8 is initialized already: its limit is changed by the only way that its interface has, the
//! callback for a heap that is nearly full.
//!
//! V8's limit only decides when it collects garbage before it grows. It must not end the process:
//! the kernel does that, and the supervisor reports it correctly. Therefore the callback always
//! raises the limit a little.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use belljar_access::Exec;

use crate::boot_facts;
use crate::symbols::table;

const MIB: u64 = 1 << 20;
/// The memory limit from which on a fork's young generation may grow to the maximum that the zygote
/// was started with, two times 8 MB. With less memory it stays at two times 1 MB, which makes
/// programs that allocate much a tenth slower.
const GROWING_BYTES: u64 = 512 * MIB;
/// The minimum memory that a run needs in addition to the old generation: the young generation,
/// code, stacks, the C heap.
const MIN_OTHER_BYTES: u64 = 24 * MIB;
/// The same minimum as a share of the run's memory: one part in this number.
const OTHER_SHARE: u64 = 8;
/// The smallest old generation that anything runs in.
const MIN_OLD_BYTES: u64 = 16 * MIB;
/// With this much memory V8 13 chooses the smallest heap that it has, an old generation of 256 MB
/// and a young one of two times 1 MB. With a little more the young one has two times 16 MB.
const SMALL_MACHINE_BYTES: u64 = 512 * MIB;
const SMALL_BYTES: u64 = 384 * MIB;

/// Memory limit of this sandbox in bytes, or 0 in a process that is not a sandbox yet.
static LIMIT: AtomicU64 = AtomicU64::new(0);
/// Set if only this library answers `sysinfo`: a program that may start others has no handler of
/// SIGSYS (`machine`).
static ANSWERS_HERE: AtomicBool = AtomicBool::new(false);

/// Sets the memory limit of the sandbox that this process is from now on. If it may start programs,
/// the replaced `sysinfo` of this file reports the limit, because nothing else does.
pub fn set_limit(memory_bytes: u64, exec: Exec) {
    LIMIT.store(memory_bytes, Ordering::Relaxed);
    ANSWERS_HERE.store(exec == Exec::Granted, Ordering::Relaxed);
}

/// Returns the memory limit of this sandbox in bytes, or 0 if this process is not a sandbox.
pub fn limit_bytes() -> u64 {
    LIMIT.load(Ordering::Relaxed)
}

/// Returns the size of the old generation, in bytes, up to which V8 grows it without collecting.
fn old_bytes(memory_bytes: u64) -> u64 {
    let other = (memory_bytes / OTHER_SHARE).max(MIN_OTHER_BYTES);
    memory_bytes.saturating_sub(other).max(MIN_OLD_BYTES)
}

/// Returns the memory of a machine for which V8 chooses a heap that fits into the limit: the old
/// generation gets half of it, and the young one about a tenth of that.
fn machine_bytes(memory_bytes: u64) -> u64 {
    if memory_bytes < SMALL_BYTES {
        SMALL_MACHINE_BYTES
    } else {
        2 * (old_bytes(memory_bytes) / 10 * 9)
    }
}

/// Replaces `sysinfo(2)` for callers in this process that link to it by name. Before the process is
/// a sandbox, the caller is Node, which sizes its heap.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sysinfo(info: *mut libc::sysinfo) -> c_int {
    // SAFETY: the kernel checks the address.
    let status = unsafe { libc::syscall(libc::SYS_sysinfo, info) } as c_int;
    let memory = match limit_bytes() {
        0 => boot_facts::read()
            .ok()
            .filter(|facts| !facts.forks && facts.memory_bytes > 0)
            .map(|facts| machine_bytes(facts.memory_bytes)),
        limit => ANSWERS_HERE.load(Ordering::Relaxed).then_some(limit),
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
    /// The functions of V8 that change the limit of an initialized heap. They are C++, with the
    /// same names in Node 22 to 26.
    struct Heap {
        _ZN2v87Isolate10GetCurrentEv: fn() -> *mut c_void,
        _ZN2v87Isolate24AddNearHeapLimitCallbackEPFmPvmmES1_:
            fn(*mut c_void, NearLimit, *mut c_void),
        _ZN2v87Isolate27RemoveNearHeapLimitCallbackEPFmPvmmEm: fn(*mut c_void, NearLimit, usize),
        _ZN2v82V818SetFlagsFromStringEPKc: fn(*const c_char),
    }
}

type NearLimit = unsafe extern "C" fn(*mut c_void, usize, usize) -> usize;

/// Called by V8 when it has collected all garbage and needs more memory. Returns the new limit: the
/// size that the run's memory allows, or a little more than the current limit if that is reached.
unsafe extern "C" fn near_limit(_: *mut c_void, current: usize, _initial: usize) -> usize {
    let more = current.saturating_add((current / 16).max(8 << 20));
    let old = usize::try_from(old_bytes(limit_bytes())).unwrap_or(usize::MAX);
    if current < old { old } else { more }
}

static HEAP: OnceLock<Option<Heap>> = OnceLock::new();

/// Looks up the functions of V8, once, in the zygote, so that no sandbox has to.
pub fn prepare() {
    HEAP.get_or_init(Heap::load);
}

/// Fits the heap of the calling thread to the memory limit of this sandbox. If V8 lacks one of the
/// functions, the heap stays as it is.
pub fn fit() {
    let (Some(heap), limit @ 1..) = (HEAP.get().and_then(Option::as_ref), limit_bytes()) else {
        return;
    };
    let old = usize::try_from(old_bytes(limit)).unwrap_or(usize::MAX);
    // SAFETY: called from JavaScript, so there is an isolate; the callback lives as long as the
    // process. Removing a callback sets the limit that is passed with it, if that is lower.
    unsafe {
        let isolate = (heap._ZN2v87Isolate10GetCurrentEv)();
        if isolate.is_null() {
            return;
        }
        (heap._ZN2v87Isolate24AddNearHeapLimitCallbackEPFmPvmmES1_)(
            isolate,
            near_limit,
            ptr::null_mut(),
        );
        (heap._ZN2v87Isolate27RemoveNearHeapLimitCallbackEPFmPvmmEm)(isolate, near_limit, old);
        (heap._ZN2v87Isolate24AddNearHeapLimitCallbackEPFmPvmmES1_)(
            isolate,
            near_limit,
            ptr::null_mut(),
        );
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
        for (memory_mib, old_mib) in
            [(8, 16), (64, 40), (256, 224), (1024, 896), (16 << 10, 14 << 10)]
        {
            assert_eq!(old_bytes(memory_mib * MIB), old_mib * MIB, "{memory_mib} MB");
        }
        assert_eq!(machine_bytes(256 * MIB), 512 * MIB);
        // 806 MB for the old generation, and V8 adds some 80 for the young one.
        assert_eq!(machine_bytes(1024 * MIB) / MIB, 1612);
    }
}
