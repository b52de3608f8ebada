//! Threads that packages have started. A fork has the thread that forks and no other: what the others were doing, and the locks that they held, would stay
//! as they were for ever.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A thread that has ended is listed until the kernel has put it away.
const PUT_AWAY_WITHIN: Duration = Duration::from_millis(100);

/// Threads that expect forks: jemalloc, which pyarrow and polars bring along, takes the locks that its own holds before a fork and does without that thread in
/// the child (jemalloc, `background_thread_prefork0` and `background_thread_postfork_child`).
const SURVIVED: [&str; 1] = ["jemalloc_bg_thd"];

/// The threads that were there before any package ran; `None` where none is to run.
static BEFORE: Mutex<Option<HashSet<u32>>> = Mutex::new(None);

/// From here on the zygote's packages are imported.
pub fn watch() {
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(own().collect());
}

/// The name of a thread that was started since, and that does not end when this process forks, as those of `OpenBLAS` and others do that expect forks.
pub fn kept_across_fork() -> Option<String> {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
    let started = || {
        own().filter(|thread| !before.contains(thread)).find_map(|thread| name(thread).filter(|name| !SURVIVED.contains(&name.as_str())))
    };
    started()?;
    fork_for_nothing().ok();
    let deadline = Instant::now() + PUT_AWAY_WITHIN;
    loop {
        let thread = started()?;
        if Instant::now() > deadline {
            return Some(thread);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// `None` if it has ended.
fn name(thread: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/self/task/{thread}/comm")).ok().map(|name| name.trim().to_owned())
}

fn own() -> impl Iterator<Item = u32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok())
}

/// Has the handlers of `pthread_atfork` run.
fn fork_for_nothing() -> io::Result<()> {
    // SAFETY: the child does nothing but end.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: ends the child.
        0 => unsafe { libc::_exit(0) },
        child => {
            // SAFETY: our own child, not yet waited for.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_stays_is_named_and_one_that_ends_is_not() {
        watch();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("stays".into()).spawn(move || ended.recv().is_ok()).unwrap();
        assert_eq!(kept_across_fork().as_deref(), Some("stays"));
        drop(end);
        thread.join().unwrap();
    }
}
