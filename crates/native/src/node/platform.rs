//! Changes to a booted Node that make its forks work: a heap that survives the fork, and a platform
//! that reports no worker threads.

use std::ffi::c_void;
use std::io;

use belljar_jail::{SetupError, Step};

use crate::mappings::{self, Mapping};
use crate::symbols::{find, table};

table! {
    /// The parts of libuv that are used.
    pub struct Uv {
        uv_loop_fork: fn(*mut c_void) -> i32,
        uv_loop_alive: fn(*const c_void) -> i32,
        uv_handle_size: fn(i32) -> usize,
        uv_timer_init: fn(*mut c_void, *mut c_void) -> i32,
        uv_timer_start: fn(*mut c_void, unsafe extern "C" fn(*mut c_void), u64, u64) -> i32,
        uv_prepare_init: fn(*mut c_void, *mut c_void) -> i32,
        uv_prepare_start: fn(*mut c_void, unsafe extern "C" fn(*mut c_void)) -> i32,
        uv_ref: fn(*mut c_void),
        uv_unref: fn(*mut c_void),
    }
}

fn failed(errno: i32) -> SetupError {
    SetupError { step: Step::RuntimeFork, errno }
}

unsafe extern "C" fn no_workers(_platform: *mut c_void) -> i32 {
    0
}

/// Makes Node's platform report that it has no worker threads. Even under `--single-threaded`, V8
/// posts background jobs (parallel weak clearing, Wasm tier-up) to worker threads, which do not
/// exist in a forked child, and a natural end would wait for them forever. A platform without
/// worker threads gets no jobs: V8 does the work at the point where it would join it.
///
/// The method is replaced in the virtual table of the class, so no code page is ever writable. Its
/// slot is found by value, because it differs between versions (8 in Node 22, 7 in 24 and 26).
pub fn report_no_workers() -> Result<(), SetupError> {
    const SLOTS: usize = 64;
    let missing = || failed(libc::ENOSYS);
    let table = find(c"_ZTVN4node12NodePlatformE").ok_or_else(missing)?.cast::<usize>();
    let method =
        find(c"_ZN4node12NodePlatform21NumberOfWorkerThreadsEv").ok_or_else(missing)? as usize;
    // SAFETY: the table has some twenty virtual methods and is followed by other constants of the
    // same section, so reading 64 words stays within that section.
    let slot = (0..SLOTS)
        .map(|index| unsafe { table.add(index) })
        .find(|slot| unsafe { slot.read() } == method)
        .ok_or_else(missing)?;
    // SAFETY: no pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let start = (slot as usize & !(page - 1)) as *mut c_void;
    let protect = |protection: i32| {
        // SAFETY: the page contains the table, constant data that was writable during relocation.
        // It becomes read-only again below.
        if unsafe { libc::mprotect(start, page, protection) } == 0 {
            Ok(())
        } else {
            Err(failed(io::Error::last_os_error().raw_os_error().unwrap_or(0)))
        }
    };
    protect(libc::PROT_READ | libc::PROT_WRITE)?;
    // SAFETY: the slot is aligned, writable for now, and the new method has the old one's
    // signature.
    unsafe { slot.write(no_workers as *const () as usize) };
    protect(libc::PROT_READ)
}

/// Makes forks inherit V8's heap. V8 marks it `MADV_DONTFORK`, so a child of a plain fork would
/// have none. The mark is removed from every private anonymous mapping; mappings of files and
/// shared mappings are left as they are.
pub fn keep_heap_across_fork() -> Result<(), SetupError> {
    let mappings =
        mappings::private().map_err(|error| failed(error.raw_os_error().unwrap_or(libc::EIO)))?;
    for Mapping { range, .. } in mappings.into_iter().filter(|mapping| !mapping.of_file) {
        // SAFETY: changes only what a fork does with the range.
        unsafe { libc::madvise(range.start as *mut c_void, range.len(), libc::MADV_DOFORK) };
    }
    Ok(())
}
