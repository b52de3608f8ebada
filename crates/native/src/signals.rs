//! The C library's functions about signals that this library replaces. It is preloaded, so runtimes
//! and their extensions call these instead of the C library's.

use std::ffi::c_int;
use std::mem;
use std::sync::atomic::AtomicUsize;

use libc::{sighandler_t, sigset_t};

use crate::c_library::real;
use crate::{default_actions, sandbox, sigsys};

/// Replaces sigaction(2): keeps the handlers of this library, and does not show them to the
/// program.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigaction(
    signal: c_int,
    action: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: the caller's promises.
    unsafe {
        if signal == libc::SIGSYS && sigsys::is_taken() {
            sigsys::set_program_action(action, old);
            0
        } else {
            default_actions::set(signal, action, old)
        }
    }
}

/// Replaces `pthread_sigmask(3)`: never blocks SIGSYS while this library handles it.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    set: *const sigset_t,
    old: *mut sigset_t,
) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the caller's promises.
    unsafe { sigsys::set_mask(real(&REAL, c"pthread_sigmask"), how, set, old) }
}

/// Replaces sigprocmask(2): never blocks SIGSYS while this library handles it.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigprocmask(
    how: c_int,
    set: *const sigset_t,
    old: *mut sigset_t,
) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the caller's promises.
    unsafe { sigsys::set_mask(real(&REAL, c"sigprocmask"), how, set, old) }
}

type Kill = unsafe extern "C" fn(libc::pid_t, c_int) -> c_int;
type Raise = unsafe extern "C" fn(c_int) -> c_int;
type ThreadKill = unsafe extern "C" fn(libc::pthread_t, c_int) -> c_int;

/// Replaces kill(2): a signal to the process itself has its effect even in PID 1.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kill(pid: libc::pid_t, signal: c_int) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    // The process group of PID 1 cannot be named by its number, because -1 means all processes. If
    // the program itself is PID 1, without an init, there are no processes outside of its group.
    let is_own_group = pid == -1 && default_actions::own_pid() == 1 && sandbox::is_active();
    let pid = if is_own_group { 0 } else { pid };
    // The target is this process, or the process group that it leads.
    if [0, 1].contains(&pid) {
        default_actions::before_own_signal(signal);
    }
    // SAFETY: the C library exports the function with this type.
    unsafe { mem::transmute::<usize, Kill>(real(&REAL, c"kill"))(pid, signal) }
}

/// Replaces killpg(3), because the C library's version calls its own `kill` directly.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn killpg(group: libc::pid_t, signal: c_int) -> c_int {
    // SAFETY: the caller's promises.
    unsafe { kill(if group == 0 { 0 } else { -group }, signal) }
}

/// Replaces raise(3), with the effect of [`kill`].
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn raise(signal: c_int) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    default_actions::before_own_signal(signal);
    // SAFETY: the C library exports the function with this type.
    unsafe { mem::transmute::<usize, Raise>(real(&REAL, c"raise"))(signal) }
}

/// Replaces `pthread_kill(3)`, with the effect of [`kill`].
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_kill(thread: libc::pthread_t, signal: c_int) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    default_actions::before_own_signal(signal);
    // SAFETY: the C library exports the function with this type.
    unsafe { mem::transmute::<usize, ThreadKill>(real(&REAL, c"pthread_kill"))(thread, signal) }
}

/// Replaces signal(2), because the C library's version sets the action without calling
/// `sigaction`.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn signal(signal: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: all-zero is a valid action, both to set and to receive.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        let mut old: libc::sigaction = mem::zeroed();
        if sigaction(signal, &raw const action, &raw mut old) == 0 {
            old.sa_sigaction
        } else {
            libc::SIG_ERR
        }
    }
}
