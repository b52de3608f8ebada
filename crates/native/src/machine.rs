//! Replacements for system calls about the machine: `sysinfo`, `statfs` and `fstatfs` would return
//! the host's memory, load and free disk space. The filter traps them, and the handler of SIGSYS
//! replaces the kernel, for code of every language and in every thread. It returns the sandbox's
//! own limits and the free space of its own file system.
//!
//! This does not apply to a sandbox that may start programs: `execve` would lose the handler, and
//! the first `df` would die. A program that handles or blocks SIGSYS by the C library still gets
//! the replaced results (`sigsys`). A program that does so by direct system calls, and then makes
//! one of the trapped calls, is killed.

use std::mem;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering};

use belljar_jail::own_space_number;
use libc::{c_char, c_int, c_long, c_void};

use crate::sigsys;

static MEMORY_BYTES: AtomicU64 = AtomicU64::new(0);
static PAGE_BYTES: AtomicU64 = AtomicU64::new(4096);
static STARTED: AtomicI64 = AtomicI64::new(0);
static OWN_SPACE: AtomicI32 = AtomicI32::new(-1);
static OWN_DEVICE: AtomicU64 = AtomicU64::new(0);

/// Replaces the system calls from now on, for a sandbox with this memory limit in bytes. Must be
/// called before the seal, and after the sandbox's limits are in place.
pub fn answer_for(memory_bytes: u64) -> std::io::Result<()> {
    let own_space = own_space_number()?;
    MEMORY_BYTES.store(memory_bytes, Ordering::Relaxed);
    STARTED.store(seconds(), Ordering::Relaxed);
    OWN_SPACE.store(own_space, Ordering::Relaxed);
    // SAFETY: takes a number.
    PAGE_BYTES.store(
        u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096),
        Ordering::Relaxed,
    );
    if let Ok(device) = device(own_space, c"".as_ptr(), libc::AT_EMPTY_PATH) {
        OWN_DEVICE.store(device, Ordering::Relaxed);
    }
    sigsys::take(
        on_trap as extern "C" fn(c_int, *mut TrapInfo, *mut libc::ucontext_t) as libc::sighandler_t,
    )
}

fn seconds() -> i64 {
    // SAFETY: the time is writable, and the clock exists everywhere.
    unsafe {
        let mut now: libc::timespec = mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now);
        now.tv_sec
    }
}

/// `siginfo_t` as `force_sig_seccomp` fills it in (`kernel/signal.c`).
#[repr(C)]
struct TrapInfo {
    signal: c_int,
    errno: c_int,
    code: c_int,
    padding: c_int,
    address: *const c_void,
    number: c_int,
    architecture: u32,
}

/// The `si_code` of a SIGSYS that a filter caused, not a process (`asm-generic/siginfo.h`).
const SYS_SECCOMP: c_int = 1;

/// Handles SIGSYS. Async-signal-safe: uses only atomics, system calls and its own memory.
extern "C" fn on_trap(signal: c_int, info: *mut TrapInfo, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel passes both, valid for the duration of the call. `errno` is restored,
    // because the interrupted code may be about to read it.
    unsafe {
        // The program has sent the signal itself, so there is no system call to answer.
        if (*info).code != SYS_SECCOMP {
            sigsys::hand_on(signal, info.cast(), context.cast());
            return;
        }
        let errno = *libc::__errno_location();
        let registers = Registers::of(context);
        let result = match c_long::from((*info).number) {
            libc::SYS_sysinfo => sysinfo(registers.arguments[0] as *mut libc::sysinfo),
            libc::SYS_statfs => statfs(
                libc::AT_FDCWD,
                registers.arguments[0] as *const c_char,
                0,
                registers.arguments[1] as *mut _,
            ),
            libc::SYS_fstatfs => statfs(
                registers.arguments[0] as RawFd,
                c"".as_ptr(),
                libc::AT_EMPTY_PATH,
                registers.arguments[1] as *mut _,
            ),
            _ => Err(libc::ENOSYS),
        };
        registers.answer(match result {
            Ok(()) => 0,
            Err(errno) => -i64::from(errno),
        });
        *libc::__errno_location() = errno;
    }
}

/// The registers of a system call: its first two arguments, and the place of its result.
struct Registers {
    arguments: [u64; 2],
    result: *mut u64,
}

impl Registers {
    #[cfg(target_arch = "x86_64")]
    unsafe fn of(context: *mut libc::ucontext_t) -> Self {
        // SAFETY: the caller's context is valid.
        let registers = unsafe { &mut (*context).uc_mcontext.gregs };
        let argument = |register: c_int| registers[register as usize] as u64;
        Self {
            arguments: [argument(libc::REG_RDI), argument(libc::REG_RSI)],
            result: (&raw mut registers[libc::REG_RAX as usize]).cast(),
        }
    }

    #[cfg(target_arch = "aarch64")]
    unsafe fn of(context: *mut libc::ucontext_t) -> Self {
        // SAFETY: the caller's context is valid.
        let registers = unsafe { &mut (*context).uc_mcontext.regs };
        Self { arguments: [registers[0], registers[1]], result: &raw mut registers[0] }
    }

    unsafe fn answer(self, result: i64) {
        // SAFETY: a register of the interrupted context.
        unsafe { *self.result = result as u64 }
    }
}

/// Returns the result of a system call, or its errno.
fn checked(result: c_long) -> Result<c_long, c_int> {
    // SAFETY: the errno of the calling thread.
    if result < 0 { Err(unsafe { *libc::__errno_location() }) } else { Ok(result) }
}

/// Writes a result to the program's address. The kernel writes there first, and returns EFAULT if
/// the address is not writable.
fn give<T: Copy>(answer: &T, to: *mut T) -> Result<(), c_int> {
    // SAFETY: the kernel checks the address. At most 256 bytes come whole (getrandom(2)).
    let written = unsafe { libc::syscall(libc::SYS_getrandom, to, size_of::<T>(), 0) };
    if checked(written)? as usize != size_of::<T>() {
        return Err(libc::EFAULT);
    }
    // SAFETY: the kernel has just written to this address; a program that unmaps it meanwhile only
    // harms itself.
    unsafe {
        ptr::copy_nonoverlapping(
            (&raw const *answer).cast::<u8>(),
            to.cast::<u8>(),
            size_of::<T>(),
        );
    };
    Ok(())
}

fn sysinfo(to: *mut libc::sysinfo) -> Result<(), c_int> {
    // SAFETY: all-zero is a valid answer.
    let mut answer: libc::sysinfo = unsafe { mem::zeroed() };
    let memory = MEMORY_BYTES.load(Ordering::Relaxed);
    answer.uptime = seconds() - STARTED.load(Ordering::Relaxed);
    answer.totalram = memory;
    answer.freeram = memory.saturating_sub(resident_bytes());
    answer.procs = 1;
    answer.mem_unit = 1;
    give(&answer, to)
}

/// Returns the resident memory of the process in bytes, or 0 if it cannot open another file.
fn resident_bytes() -> u64 {
    let mut text = [0_u8; 128];
    // SAFETY: a NUL-terminated path, and a buffer of the given length.
    let length = unsafe {
        let file = libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            c"/proc/self/statm".as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
            0,
        );
        if file < 0 {
            return 0;
        }
        let length = libc::syscall(libc::SYS_read, file, text.as_mut_ptr(), text.len());
        libc::syscall(libc::SYS_close, file);
        length
    };
    // "size resident ...", in pages.
    let resident = text[..usize::try_from(length).unwrap_or(0)]
        .split(|byte| *byte == b' ')
        .nth(1)
        .unwrap_or_default();
    let pages = resident.iter().fold(0_u64, |pages, digit| {
        pages.saturating_mul(10).saturating_add(u64::from(digit.wrapping_sub(b'0')))
    });
    pages.saturating_mul(PAGE_BYTES.load(Ordering::Relaxed))
}

fn device(at: RawFd, path: *const c_char, flags: c_int) -> Result<u64, c_int> {
    // SAFETY: all-zero is a valid `stat` to fill in; the kernel checks the path.
    unsafe {
        let mut about: libc::stat = mem::zeroed();
        checked(libc::syscall(libc::SYS_newfstatat, at, path, &raw mut about, flags))?;
        Ok(about.st_dev)
    }
}

/// The `struct statfs` of `asm-generic/statfs.h`. The type in the `libc` crate hides the flags.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FileSystem {
    kind: i64,
    block_bytes: i64,
    blocks: u64,
    free_blocks: u64,
    available_blocks: u64,
    files: u64,
    free_files: u64,
    id: [i32; 2],
    name_bytes: i64,
    fragment_bytes: i64,
    flags: i64,
    spare: [i64; 4],
}

const _: () = assert!(size_of::<FileSystem>() == size_of::<libc::statfs>());

/// The reported type of the host's file systems: `ext4`, an arbitrary choice.
const KIND: i64 = 0xef53;
const BLOCK_BYTES: i64 = 4096;
/// The flags `ST_VALID`, which the C library requires, `ST_NOSUID` and `ST_NODEV`.
const FLAGS: i64 = 0x20 | 2 | 4;
const READ_ONLY: i64 = 1;

/// Replaces `statfs` and `fstatfs`. The result is true for the sandbox's own space. A file system
/// of the host is reported as full and read-only; one that is granted for writing is reported with
/// the total size of the sandbox's own space as free.
fn statfs(at: RawFd, path: *const c_char, flags: c_int, to: *mut FileSystem) -> Result<(), c_int> {
    let own_space = OWN_SPACE.load(Ordering::Relaxed);
    // SAFETY: the kernel checks the address.
    let of_own_space =
        |to: *mut FileSystem| checked(unsafe { libc::syscall(libc::SYS_fstatfs, own_space, to) });
    if device(at, path, flags)? == OWN_DEVICE.load(Ordering::Relaxed) {
        match of_own_space(to) {
            // The program has closed the descriptor.
            Err(libc::EBADF) => {}
            result => return result.map(drop),
        }
    }
    // SAFETY: the kernel checks the path.
    let is_writable =
        unsafe { libc::syscall(libc::SYS_faccessat2, at, path, libc::W_OK, flags) } == 0;
    let (mut own, flags) = (FileSystem::default(), FLAGS | if is_writable { 0 } else { READ_ONLY });
    let answer = if is_writable && of_own_space(&raw mut own).is_ok() {
        FileSystem {
            free_blocks: own.blocks,
            available_blocks: own.blocks,
            free_files: own.files,
            kind: KIND,
            id: [0; 2],
            flags,
            ..own
        }
    } else {
        // One block instead of none, because programs divide by the number.
        FileSystem {
            kind: KIND,
            block_bytes: BLOCK_BYTES,
            fragment_bytes: BLOCK_BYTES,
            blocks: 1,
            files: 1,
            name_bytes: 255,
            flags,
            ..own
        }
    };
    give(&answer, to)
}
