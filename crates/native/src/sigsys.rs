//! SIGSYS, the signal by which a filter hands a trapped system call to this library (`machine`).
//! It stays under the library's control. Programs may handle and block the signal, and the calls
//! report success, but they only receive signals that they send themselves. Common packages handle
//! every signal that would end the process, and then end it (`signal-exit` of npm).

use std::ffi::c_int;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use libc::{c_void, sigset_t};

use crate::c_library::set_action;

type Mask = unsafe extern "C" fn(c_int, *const sigset_t, *mut sigset_t) -> c_int;

/// Set once this library handles SIGSYS.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);
/// Action of the program for a SIGSYS that it sends itself.
static HANDLER: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static FLAGS: AtomicI32 = AtomicI32::new(0);

/// Returns whether this library handles SIGSYS.
pub fn is_taken() -> bool {
    IS_TAKEN.load(Ordering::Relaxed)
}

/// Changes a mask of signals, but never blocks SIGSYS while this library handles it. `call` is the
/// address of the C library's function.
///
/// # Safety
/// As for sigprocmask(2), whose type `call` must have.
pub unsafe fn set_mask(call: usize, how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the caller's promise about the type.
    let call = unsafe { mem::transmute::<usize, Mask>(call) };
    if set.is_null() || how == libc::SIG_UNBLOCK || !is_taken() {
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

/// Installs a handler of this library for SIGSYS, and unblocks the signal in the calling thread.
pub fn take(handler: libc::sighandler_t) -> std::io::Result<()> {
    // SAFETY: all-zero is a valid action and set to fill in; the handler has the type that
    // SA_SIGINFO asks for.
    let result = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        let mut before: libc::sigaction = mem::zeroed();
        let result = set_action(libc::SIGSYS, &raw const action, &raw mut before);
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
    IS_TAKEN.store(true, Ordering::Relaxed);
    Ok(())
}

/// Calls the program's handler for a SIGSYS that the program has sent itself. Called by the handler
/// of this library.
///
/// # Safety
/// The arguments are those of the signal handler.
pub unsafe fn hand_on(signal: c_int, info: *mut c_void, context: *mut c_void) {
    match HANDLER.load(Ordering::Relaxed) {
        // The program is the first process of its namespace: a signal of its own does not end it by
        // default (signal(7), pid_namespaces(7)).
        libc::SIG_IGN | libc::SIG_DFL => {}
        handler => {
            // SAFETY: the program's handler for this signal, called as the kernel would.
            let handler = unsafe {
                mem::transmute::<usize, extern "C" fn(c_int, *mut c_void, *mut c_void)>(handler)
            };
            handler(signal, info, context);
        }
    }
}

/// Stores the program's action for SIGSYS, and returns the previous one in `old`.
///
/// # Safety
/// As for sigaction(2).
pub unsafe fn set_program_action(action: *const libc::sigaction, old: *mut libc::sigaction) {
    let (handler, flags) = (HANDLER.load(Ordering::Relaxed), FLAGS.load(Ordering::Relaxed));
    // SAFETY: each is null, or readable or writable. The new action is read first, because both may
    // be the same.
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
}
