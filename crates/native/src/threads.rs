//! Threads that packages have started. A child of a fork has only the thread that forked: the work
//! of the other threads would never be finished, and the locks that they held never released.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The maximum time after which the kernel no longer lists a thread that has ended.
const MAX_LISTED_TIME: Duration = Duration::from_millis(100);

/// The names of threads whose library supports forks. jemalloc, which pyarrow and polars contain,
/// takes the locks of its background thread before a fork, and works without that thread in the
/// child (jemalloc, `background_thread_prefork0` and `background_thread_postfork_child`).
const FORK_SAFE: [&str; 1] = ["jemalloc_bg_thd"];

/// The threads that existed before any package ran, or `None` if no package is imported.
static BEFORE: Mutex<Option<HashSet<u32>>> = Mutex::new(None);

/// Records the current threads. Called before the zygote imports packages.
pub fn watch() {
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(own().collect());
}

/// Returns the name of a thread that was started since [`watch`] and that does not end when this
/// process forks. The threads of `OpenBLAS` and of other libraries that support forks do end.
pub fn kept_across_fork() -> Option<String> {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
    let started = || {
        own()
            .filter(|thread| !before.contains(thread))
            .find_map(|thread| name(thread).filter(|name| !FORK_SAFE.contains(&name.as_str())))
    };
    started()?;
    run_fork_handlers().ok();
    let deadline = Instant::now() + MAX_LISTED_TIME;
    loop {
        let thread = started()?;
        if Instant::now() > deadline {
            return Some(thread);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the name of a thread, or `None` if it has ended.
fn name(thread: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/self/task/{thread}/comm"))
        .ok()
        .map(|name| name.trim().to_owned())
}

fn own() -> impl Iterator<Item = u32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok())
}

/// Forks a child that exits at once, so that the handlers of `pthread_atfork` run.
fn run_fork_handlers() -> io::Result<()> {
    // SAFETY: the child only exits.
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
        let thread = std::thread::Builder::new()
            .name("stays".into())
            .spawn(move || ended.recv().is_ok())
            .unwrap();
        assert_eq!(kept_across_fork().as_deref(), Some("stays"));
        drop(end);
        thread.join().unwrap();
    }
}
