//! The scout: a child that a zygote forks once, before any sandbox. It does what a sandbox does,
//! from its activation to its end, with a program of the driver, and reports to its zygote which
//! memory this touched. No user code runs in it, so it is neither jailed nor sealed, nor the first
//! process of a namespace. If it fails or does not return, the only effect is that sandboxes start
//! more slowly.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use belljar_channel::{ExecutionId, encode_execution_header, kind};
use belljar_jail::CHANNEL;

use crate::fork_hooks::ForkHooks;
use crate::touched::Touched;

/// The maximum time of a scout. It takes a fraction of a second, and thirty times as long on an
/// emulated machine. The limit is a part of the time that a boot may take.
const TIME: Duration = Duration::from_secs(20);

/// In the scout: the pipe to its zygote.
static WAY_BACK: Mutex<Option<PipeWriter>> = Mutex::new(None);

/// The process in which a call that forks returns.
pub enum Side {
    /// The call returned in the scout.
    Scout,
    /// The call returned in the zygote, with the memory that the scout reported.
    Zygote(Touched),
}

/// In a zygote: forks the scout, whose activation is `rehearsal`, and waits for it.
pub fn send(runtime: &mut impl ForkHooks, rehearsal: &[u8]) -> Side {
    // Nothing reads from the other end, which buffers as much as a socket can hold.
    let Ok((_ours, theirs)) = channel_with(rehearsal) else {
        return Side::Zygote(Touched::default());
    };
    runtime.before_fork();
    let side = fork(|| {
        // SAFETY: the zygote's own channel is none of the scout's.
        unsafe {
            libc::dup2(theirs.as_raw_fd(), CHANNEL) == CHANNEL
                && runtime.after_fork_in_child().is_ok()
        }
    });
    if matches!(side, Side::Zygote(_)) {
        runtime.after_fork_in_zygote();
    }
    side
}

fn channel_with(activation: &[u8]) -> io::Result<(UnixStream, UnixStream)> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let header = encode_execution_header(kind::EXECUTE, ExecutionId::FIRST, activation.len());
    ours.write_all(&[&header, activation].concat())?;
    Ok((ours, theirs))
}

fn fork(enter: impl FnOnce() -> bool) -> Side {
    let Ok((reader, writer)) = io::pipe() else { return Side::Zygote(Touched::default()) };
    // SAFETY: as for every fork of a zygote: only this thread continues in the child, and no other
    // thread of the zygote holds a lock while it idles.
    match unsafe { libc::fork() } {
        ..0 => Side::Zygote(Touched::default()),
        0 => {
            drop(reader);
            if !enter() {
                // SAFETY: ends the child.
                unsafe { libc::_exit(1) }
            }
            *WAY_BACK.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
            Side::Scout
        }
        child => {
            drop(writer);
            let report = receive(reader);
            // SAFETY: our own child, not yet waited for.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
            Side::Zygote(Touched::decode(&report).unwrap_or_default().of_this_process())
        }
    }
}

/// Receives the report of the scout, which it sends at once.
fn receive(mut scout: PipeReader) -> Vec<u8> {
    let deadline = Instant::now() + TIME;
    let mut report = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut waiting = libc::pollfd { fd: scout.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        match unsafe { libc::poll(&raw mut waiting, 1, left.as_millis() as i32) } {
            // Interrupted by a signal.
            -1 if !left.is_zero() => {}
            1 => {
                let _ = scout.read_to_end(&mut report);
                return report;
            }
            _ => return report,
        }
    }
}

/// Called when a sandbox's process exits. In a scout whose run succeeded, sends the report of the
/// touched memory to the zygote.
pub fn report(exit_code: i32) {
    let way_back = WAY_BACK.try_lock().ok().and_then(|mut way_back| way_back.take());
    if let Some(mut zygote) = way_back.filter(|_| exit_code == 0) {
        let _ = Touched::since_fork().and_then(|touched| zygote.write_all(&touched.encode()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the memory that a scout touches which calls `run` and exits with its result.
    fn scout(run: impl FnOnce() -> i32) -> Touched {
        match fork(|| true) {
            Side::Zygote(touched) => touched,
            Side::Scout => {
                let code = run();
                report(code);
                // SAFETY: ends the child.
                unsafe { libc::_exit(code) }
            }
        }
    }

    #[test]
    fn a_scout_reports_the_pages_that_it_wrote() {
        let page_bytes = 4096;
        let mut memory = vec![1_u8; 6 * page_bytes];
        let first = memory.as_ptr() as usize;
        let page = |index: usize| (first / page_bytes + 1 + index) * page_bytes;
        let touched = scout(|| {
            for index in [1, 3] {
                memory[page(index) - first] = 2;
            }
            std::hint::black_box(&memory);
            0
        });
        assert_eq!(
            [0, 1, 2, 3].map(|index| touched.is_written(page(index))),
            [false, true, false, true]
        );
        assert!(touched.is_read(scout as fn(fn() -> i32) -> Touched as usize));
    }

    #[test]
    fn nothing_is_learned_from_a_scout_that_fails() {
        assert!(scout(|| 1).is_empty());
        assert!(matches!(fork(|| false), Side::Zygote(touched) if touched.is_empty()));
    }

    #[test]
    fn code_still_runs_after_its_pages_were_dropped() {
        // In a child, because the other tests run in the pages that are dropped.
        let touched = scout(|| {
            scout(|| 0).make_forks_copy_file_pages();
            i32::from(std::env::current_dir().is_err())
        });
        assert!(!touched.is_empty());
    }
}
