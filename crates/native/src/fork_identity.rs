//! The process id by which libraries detect a fork. Every copy of OpenSSL, whatever it is linked
//! into, reseeds its generator when `getpid` returns another number than at the last seeding
//! (`openssl_get_fork_id`), and so do generators of other libraries. But a zygote and each of its
//! sandboxes are PID 1 of separate namespaces: these libraries would see a single process, and all
//! sandboxes would draw the same keys. Therefore `getpid` in a zygote returns a number that no
//! sandbox has.

use std::sync::atomic::{AtomicI32, Ordering};

/// The process id that a zygote reports. It exceeds every id of the kernel (`PID_MAX_LIMIT` is
/// 4,194,304).
const ZYGOTE_PID: i32 = 0x7a79_676f;

/// Process id that `getpid` returns, or 0 for the real one.
static REPORTED: AtomicI32 = AtomicI32::new(0);

/// Makes `getpid` return the id of a zygote. Must be called before the zygote loads anything that
/// may draw a random number.
pub fn be_zygote() {
    REPORTED.store(ZYGOTE_PID, Ordering::Relaxed);
}

/// Makes `getpid` return the real id again. Must be called in each fork of a zygote.
pub fn be_another() {
    REPORTED.store(0, Ordering::Relaxed);
}

/// Replaces getpid(2). In a zygote, it returns an id that no sandbox has.
#[unsafe(no_mangle)]
pub extern "C" fn getpid() -> libc::pid_t {
    match REPORTED.load(Ordering::Relaxed) {
        // SAFETY: takes nothing and cannot fail.
        0 => unsafe { libc::syscall(libc::SYS_getpid) as libc::pid_t },
        reported => reported,
    }
}
