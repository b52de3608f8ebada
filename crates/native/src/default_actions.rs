//! The default action of signals. A sandbox's first process is PID 1 of its namespace, for which
//! the kernel skips every default action that would end it (`pid_namespaces(7)`): `raise(SIGTERM)`,
//! an alarm, or the SIGABRT of `abort` would do nothing, or end as a SIGSEGV. Therefore a handler
//! replaces the default action and ends the process as the signal would. It is installed once, in
//! the zygote, for all forks; an init process for each sandbox would need another fork.
//!
//! The program does not notice the handlers: `sigaction` returns `SIG_DFL` for these signals.
//! `execve` restores the kernel's default actions.

use std::ffi::c_int;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_void, sighandler_t, siginfo_t};

use crate::c_library::set_action;
use crate::sandbox;

/// The signals whose default action ends the process (`signal(7)`), without SIGKILL, which cannot
/// be handled, the signals of a run's limits (SIGXCPU, SIGXFSZ), and SIGSYS, which `sigsys`
/// handles.
const ENDING: [c_int; 19] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGUSR1,
    libc::SIGSEGV,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGSTKFLT,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
];
/// The signals that an instruction causes. It is executed again when the handler returns.
const FAULTS: [c_int; 4] = [libc::SIGILL, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV];

/// Set once the handlers are installed.
static IS_ON: AtomicBool = AtomicBool::new(false);

fn ends(signal: c_int) -> bool {
    ENDING.contains(&signal) || (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal)
}

fn ours() -> sighandler_t {
    on_signal as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as sighandler_t
}

fn our_action() -> libc::sigaction {
    // SAFETY: all-zero is a valid action to fill in.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = ours();
    // The alternative stack is for a fault caused by a stack overflow. The signal is not masked, so
    // that the handler can raise it again.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER | libc::SA_RESTART;
    action
}

/// Replaces, from now on, every default action that ends the process.
pub fn replace_all() {
    IS_ON.store(true, Ordering::Relaxed);
    let action = our_action();
    for signal in ENDING.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
        replace_default(signal, &action);
    }
}

/// Replaces the default action of a signal by `action`. A signal that has a handler or is ignored
/// stays as it is.
fn replace_default(signal: c_int, action: &libc::sigaction) {
    // SAFETY: both actions are valid.
    unsafe {
        let mut now: libc::sigaction = mem::zeroed();
        if set_action(signal, ptr::null(), &raw mut now) == 0 && now.sa_sigaction == libc::SIG_DFL {
            set_action(signal, action, ptr::null_mut());
        }
    }
}

/// Sets and returns actions like sigaction(2). In place of a default action that ends the process,
/// it installs the handler of this file, and it returns that handler as `SIG_DFL`.
///
/// # Safety
/// As for sigaction(2).
pub unsafe fn set(
    signal: c_int,
    action: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: the caller's promises. The new action is read first, because `action` and `old` may
    // be the same.
    unsafe {
        let wanted = action.as_ref().copied();
        let is_default = IS_ON.load(Ordering::Relaxed)
            && ends(signal)
            && wanted.is_some_and(|wanted| wanted.sa_sigaction == libc::SIG_DFL);
        let ours_now = our_action();
        let new = if is_default {
            &raw const ours_now
        } else {
            wanted.as_ref().map_or(ptr::null(), ptr::from_ref)
        };
        let result = set_action(signal, new, old);
        if let Some(old) = old.as_mut().filter(|old| result == 0 && old.sa_sigaction == ours()) {
            *old = mem::zeroed();
            old.sa_sigaction = libc::SIG_DFL;
        }
        result
    }
}

/// Ends the process as the signal would. Async-signal-safe: uses only atomics and system calls.
extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid description.
    let is_fault = FAULTS.contains(&signal) && unsafe { (*info).si_code } > 0;
    let is_first = own_pid() == 1;
    if is_first && !is_fault {
        if sandbox::is_active() {
            end(signal);
        }
        // In a zygote, an init or a parked sandbox, the signal has no effect, as the kernel decides
        // for PID 1.
        return;
    }
    // Restores the kernel's own action. A fault recurs when the handler returns; any other signal
    // is raised again. SAFETY: all-zero is the default action.
    unsafe {
        let action: libc::sigaction = mem::zeroed();
        set_action(signal, &raw const action, ptr::null_mut());
        if !is_fault {
            libc::syscall(libc::SYS_tgkill, own_pid(), libc::syscall(libc::SYS_gettid), signal);
        }
    }
}

/// Returns the process id from the kernel: `getpid` returns another number in a zygote
/// (`fork_identity`).
pub fn own_pid() -> libc::c_long {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_getpid) }
}

/// Ends the process with the exit code that stands for this signal, as in a shell.
fn end(signal: c_int) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(128 + signal) }
}

/// Must be called before the process sends a signal to itself. SIGKILL, which the kernel ignores in
/// the first process of a namespace, ends the process here. A default action is replaced again if
/// the kernel's has come back: it does after a handler that runs only once (`SA_RESETHAND`), such
/// as Node's for SIGINT and SIGTERM, which resets the terminal and raises the signal again.
pub fn before_own_signal(signal: c_int) {
    if !IS_ON.load(Ordering::Relaxed) || !sandbox::is_active() || own_pid() != 1 {
        return;
    }
    if signal == libc::SIGKILL {
        end(signal);
    }
    if ends(signal) {
        let action = our_action();
        replace_default(signal, &action);
    }
}
