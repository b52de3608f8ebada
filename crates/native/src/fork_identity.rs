//! What tells libraries that they have been forked. OpenSSL, in each of its copies, whatever it is linked into, seeds its generator anew when `getpid` says
//! another number than when it was seeded (`openssl_get_fork_id`); so do generators of other libraries. But a zygote and each of its sandboxes are number 1,
//! each of a namespace of its own: to these libraries it would be one process, and all sandboxes would draw the same keys. So in a zygote `getpid` says a
//! number that no sandbox has.

use std::sync::atomic::{AtomicI32, Ordering};

/// Larger than any number that the kernel gives (`PID_MAX_LIMIT` is 4,194,304).
const OF_ZYGOTE: i32 = 0x7a79_676f;

/// What `getpid` says; 0 for the truth.
static SAID: AtomicI32 = AtomicI32::new(0);

/// In a zygote, before anything is loaded that may draw a random number.
pub fn be_zygote() {
    SAID.store(OF_ZYGOTE, Ordering::Relaxed);
}

/// In a fork of one.
pub fn be_another() {
    SAID.store(0, Ordering::Relaxed);
}

/// As getpid(2) has it, but in a zygote.
#[unsafe(no_mangle)]
pub extern "C" fn getpid() -> libc::pid_t {
    match SAID.load(Ordering::Relaxed) {
        // SAFETY: takes nothing and cannot fail.
        0 => unsafe { libc::syscall(libc::SYS_getpid) as libc::pid_t },
        said => said,
    }
}
