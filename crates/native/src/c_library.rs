//! The C library's own versions of the functions that this library replaces.

use std::ffi::{CStr, c_int};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};

type SetAction = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;

/// Returns the address of the C library's function `name`, and keeps it in `found`.
pub fn real(found: &AtomicUsize, name: &CStr) -> usize {
    let known = found.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: a constant handle and a NUL-terminated name.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
    found.store(address, Ordering::Relaxed);
    address
}

/// Calls the C library's `sigaction`, whatever this library does with the signal.
///
/// # Safety
/// As for sigaction(2).
pub unsafe fn set_action(
    signal: c_int,
    action: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the C library exports the function with this type; the caller keeps its contract.
    unsafe { mem::transmute::<usize, SetAction>(real(&REAL, c"sigaction"))(signal, action, old) }
}
