//! The default action of signals. A sandbox's first process is number 1 of its namespace, for which the kernel leaves out every default action that would
//! end it (`pid_namespaces(7)`): `raise(SIGTERM)`, an alarm, or the SIGABRT of `abort` would do nothing, or end as a SIGSEGV. So where a signal is to have
//! its default action, a handler of ours stands in for it and ends the process as the signal would. It is set once, in the zygote, for all forks; an init
//! process in front of each sandbox would cost another fork.
//!
//! What the program is told stays the truth: `sigaction` says `SIG_DFL` for these. `execve` gives them back to the kernel.

use std::ffi::{CStr, c_int};
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use libc::{c_void, sighandler_t, siginfo_t};

use crate::sandbox;
use crate::trapped::change;

/// Signals whose default action ends the process (`signal(7)`). Not SIGKILL, which nobody can handle, nor those that the limits of a run send (SIGXCPU,
/// SIGXFSZ), and SIGSYS is `trapped`'s.
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
/// Those that are sent for what an instruction has done, which is done again when the handler returns.
const FAULTS: [c_int; 4] = [libc::SIGILL, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV];

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
    // The alternative stack, for a fault that is a stack at its end; and no mask, so that the signal can be raised once more.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER | libc::SA_RESTART;
    action
}

/// Stands in from now on for every default action that ends the process.
pub fn stand_in() {
    IS_ON.store(true, Ordering::Relaxed);
    let action = our_action();
    for signal in ENDING.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
        // SAFETY: both actions are valid. What has a handler, or is ignored, stays as it is.
        unsafe {
            let mut now: libc::sigaction = mem::zeroed();
            if change(signal, ptr::null(), &raw mut now) == 0 && now.sa_sigaction == libc::SIG_DFL {
                change(signal, &raw const action, ptr::null_mut());
            }
        }
    }
}

/// As sigaction(2) has it, for a signal that may be among these.
///
/// # Safety
/// As there.
pub unsafe fn set(signal: c_int, action: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    // SAFETY: the caller's promises; `action` and `old` may be the same, so the new one is read first.
    unsafe {
        let wanted = action.as_ref().copied();
        let is_default = IS_ON.load(Ordering::Relaxed) && ends(signal) && wanted.is_some_and(|wanted| wanted.sa_sigaction == libc::SIG_DFL);
        let ours_now = our_action();
        let new = if is_default { &raw const ours_now } else { wanted.as_ref().map_or(ptr::null(), ptr::from_ref) };
        let result = change(signal, new, old);
        if let Some(old) = old.as_mut().filter(|old| result == 0 && old.sa_sigaction == ours()) {
            *old = mem::zeroed();
            old.sa_sigaction = libc::SIG_DFL;
        }
        result
    }
}

/// Async-signal-safe: an atomic, and system calls.
extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid description.
    let is_fault = FAULTS.contains(&signal) && unsafe { (*info).si_code } > 0;
    let is_first = own_pid() == 1;
    if is_first && !is_fault {
        if sandbox::is_active() {
            end(signal);
        }
        // A zygote, an init, a sandbox that is parked: as the kernel has it.
        return;
    }
    // The kernel's own action. A fault comes again when this returns; any other signal is raised once more.
    // SAFETY: all-zero is the default action.
    unsafe {
        let action: libc::sigaction = mem::zeroed();
        change(signal, &raw const action, ptr::null_mut());
        if !is_fault {
            libc::syscall(libc::SYS_tgkill, own_pid(), libc::syscall(libc::SYS_gettid), signal);
        }
    }
}

/// The kernel's word.
fn own_pid() -> libc::c_long {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_getpid) }
}

/// Ends the process with what the supervisor reads as this signal, as a shell does.
fn end(signal: c_int) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(128 + signal) }
}

/// Before the process signals itself: ends it where that is SIGKILL, which the kernel leaves out for the first process of a namespace, and stands in for a
/// default action that is the kernel's again. It is after a handler that was for one time only (`SA_RESETHAND`): Node's for SIGINT and SIGTERM puts the
/// terminal in order and raises the signal once more.
fn prepare_own(signal: c_int) {
    if !IS_ON.load(Ordering::Relaxed) || !sandbox::is_active() || own_pid() != 1 {
        return;
    }
    if signal == libc::SIGKILL {
        end(signal);
    }
    if ends(signal) {
        let action = our_action();
        // SAFETY: both actions are valid.
        unsafe {
            let mut now: libc::sigaction = mem::zeroed();
            if change(signal, ptr::null(), &raw mut now) == 0 && now.sa_sigaction == libc::SIG_DFL {
                change(signal, &raw const action, ptr::null_mut());
            }
        }
    }
}

type Kill = unsafe extern "C" fn(libc::pid_t, c_int) -> c_int;
type Raise = unsafe extern "C" fn(c_int) -> c_int;
type ThreadKill = unsafe extern "C" fn(libc::pthread_t, c_int) -> c_int;

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

/// As kill(2) has it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kill(pid: libc::pid_t, signal: c_int) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    // The process group of number 1 cannot be named by its number: -1 means all processes. There is no other where no init is in front of it.
    let pid = if pid == -1 && own_pid() == 1 && sandbox::is_active() { 0 } else { pid };
    // To itself, or to its process group, which it leads.
    if [0, 1].contains(&pid) {
        prepare_own(signal);
    }
    // SAFETY: the C library has it, with this type.
    unsafe { mem::transmute::<usize, Kill>(real(&REAL, c"kill"))(pid, signal) }
}

/// As killpg(3) has it, whose own call of `kill` asks nobody.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn killpg(group: libc::pid_t, signal: c_int) -> c_int {
    // SAFETY: the caller's promises.
    unsafe { kill(if group == 0 { 0 } else { -group }, signal) }
}

/// As raise(3) has it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn raise(signal: c_int) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    prepare_own(signal);
    // SAFETY: the C library has it, with this type.
    unsafe { mem::transmute::<usize, Raise>(real(&REAL, c"raise"))(signal) }
}

/// As `pthread_kill(3)` has it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_kill(thread: libc::pthread_t, signal: c_int) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    prepare_own(signal);
    // SAFETY: the C library has it, with this type.
    unsafe { mem::transmute::<usize, ThreadKill>(real(&REAL, c"pthread_kill"))(thread, signal) }
}

/// As signal(2) has it: the C library's own sets the action without asking `sigaction`.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn signal(signal: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: all-zero is a valid action to fill in, and to be filled in.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        let mut old: libc::sigaction = mem::zeroed();
        if crate::trapped::sigaction(signal, &raw const action, &raw mut old) == 0 { old.sa_sigaction } else { libc::SIG_ERR }
    }
}
