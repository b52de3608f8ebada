//! The signal by which a filter has this library answer (`machine`) stays this library's: programs may handle and block SIGSYS, and are told that they do,
//! but only their own signals reach them. Common packages handle every signal that would end the process, and end it then (`signal-exit` of npm).
//!
//! The library is preloaded, so runtimes and their extensions call these functions in the C library's place.

use std::ffi::{CStr, c_int};
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use libc::{c_void, sigset_t};

use crate::default_actions;

type Change = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
type Mask = unsafe extern "C" fn(c_int, *const sigset_t, *mut sigset_t) -> c_int;

/// Whether SIGSYS is ours.
static IS_OURS: AtomicBool = AtomicBool::new(false);
/// What the program has said is to happen when it signals itself.
static HANDLER: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static FLAGS: AtomicI32 = AtomicI32::new(0);

/// The C library's function behind one of ours.
fn real(found: &AtomicUsize, name: &CStr) -> usize {
    let known = found.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: a constant handle and a NUL-terminated name.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
    found.store(address, Ordering::Relaxed);
    address
}

/// Sets an action as the C library does, whatever this library does with the signal.
///
/// # Safety
/// As sigaction(2).
pub unsafe fn change(signal: c_int, action: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the C library has it, with this type; the caller's promises are those of the function.
    unsafe { mem::transmute::<usize, Change>(real(&REAL, c"sigaction"))(signal, action, old) }
}

unsafe fn without_sigsys(call: usize, how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: as above.
    let call = unsafe { mem::transmute::<usize, Mask>(call) };
    if set.is_null() || how == libc::SIG_UNBLOCK || !IS_OURS.load(Ordering::Relaxed) {
        // SAFETY: the caller's promises.
        return unsafe { call(how, set, old) };
    }
    // SAFETY: the caller's set is readable, the copy writable.
    unsafe {
        let mut copy = set.read();
        libc::sigdelset(&raw mut copy, libc::SIGSYS);
        call(how, &raw const copy, old)
    }
}

/// Takes SIGSYS for a handler of ours, unblocked in the calling thread.
pub fn take(handler: libc::sighandler_t) -> std::io::Result<()> {
    // SAFETY: all-zero is a valid action and set to fill in; the handler has the type that SA_SIGINFO asks for.
    let result = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        let mut before: libc::sigaction = mem::zeroed();
        let result = change(libc::SIGSYS, &raw const action, &raw mut before);
        HANDLER.store(before.sa_sigaction, Ordering::Relaxed);
        FLAGS.store(before.sa_flags, Ordering::Relaxed);
        let mut set = MaybeUninit::<sigset_t>::zeroed().assume_init();
        libc::sigaddset(&raw mut set, libc::SIGSYS);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
        result
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error());
    }
    IS_OURS.store(true, Ordering::Relaxed);
    Ok(())
}

/// Does what the program wants when it signals itself. In our handler.
///
/// # Safety
/// The arguments are the handler's.
pub unsafe fn hand_on(signal: c_int, info: *mut c_void, context: *mut c_void) {
    match HANDLER.load(Ordering::Relaxed) {
        // The program is the first process of its namespace: a signal of its own does not end it by default (signal(7), pid_namespaces(7)).
        libc::SIG_IGN | libc::SIG_DFL => {}
        handler => {
            // SAFETY: what the program has given for this, called as the kernel would.
            let handler = unsafe { mem::transmute::<usize, extern "C" fn(c_int, *mut c_void, *mut c_void)>(handler) };
            handler(signal, info, context);
        }
    }
}

/// As sigaction(2) has it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigaction(signal: c_int, action: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    if signal != libc::SIGSYS || !IS_OURS.load(Ordering::Relaxed) {
        // SAFETY: the caller's promises.
        return unsafe { default_actions::set(signal, action, old) };
    }
    let (handler, flags) = (HANDLER.load(Ordering::Relaxed), FLAGS.load(Ordering::Relaxed));
    // SAFETY: each is null, or readable or writable. The new one is read first: both may be the same.
    unsafe {
        if let Some(action) = action.as_ref() {
            HANDLER.store(action.sa_sigaction, Ordering::Relaxed);
            FLAGS.store(action.sa_flags, Ordering::Relaxed);
        }
        if let Some(old) = old.as_mut() {
            *old = mem::zeroed();
            old.sa_sigaction = handler;
            old.sa_flags = flags;
        }
    }
    0
}

/// As `pthread_sigmask(3)` has it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_sigmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the caller's promises.
    unsafe { without_sigsys(real(&REAL, c"pthread_sigmask"), how, set, old) }
}

/// As sigprocmask(2) has it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the caller's promises.
    unsafe { without_sigsys(real(&REAL, c"sigprocmask"), how, set, old) }
}
