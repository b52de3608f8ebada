//! The scout: a child that a zygote sends ahead, once. It goes the way of a sandbox, from its activation to its end, with a program of the driver's, and
//! tells its zygote what memory that touched. No user code runs in it, so that it is neither jailed nor sealed, nor the first process of a namespace. One
//! that fails or does not come back costs time, and nothing else.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use belljar_channel::{encode_header, kind};
use belljar_jail::CHANNEL;

use crate::touched::Touched;
use crate::zygote::Runtime;

/// How long a scout may take: a fraction of a second, and thirty times that where the machine is emulated. A part of what a boot may.
const TIME: Duration = Duration::from_secs(20);

/// In the scout: the way back to its zygote.
static WAY_BACK: Mutex<Option<PipeWriter>> = Mutex::new(None);

/// Who a call that forks returns to.
pub enum Side {
    /// The scout.
    Scout,
    /// The zygote, with what it has learned.
    Zygote(Touched),
}

/// In a zygote: sends the scout, whose activation is `rehearsal`, and waits for it.
pub fn send(runtime: &mut impl Runtime, rehearsal: &[u8]) -> Side {
    // Nobody listens at the other end, which takes in as much as a socket holds.
    let Ok((_ours, theirs)) = channel_with(rehearsal) else { return Side::Zygote(Touched::default()) };
    runtime.before_fork();
    let side = fork(|| {
        // SAFETY: the zygote's own channel is none of the scout's.
        unsafe { libc::dup2(theirs.as_raw_fd(), CHANNEL) == CHANNEL && runtime.after_fork_in_child().is_ok() }
    });
    if matches!(side, Side::Zygote(_)) {
        runtime.after_fork_in_zygote();
    }
    side
}

fn channel_with(activation: &[u8]) -> io::Result<(UnixStream, UnixStream)> {
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.write_all(&[&encode_header(kind::ACTIVATE, activation.len()), activation].concat())?;
    Ok((ours, theirs))
}

fn fork(enter: impl FnOnce() -> bool) -> Side {
    let Ok((reader, writer)) = io::pipe() else { return Side::Zygote(Touched::default()) };
    // SAFETY: as for every fork of a zygote: this thread alone goes on in the child, and no other of the zygote's holds a lock while it idles.
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
            let told = hear(reader);
            // SAFETY: our own child, not yet waited for.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
            Side::Zygote(Touched::decode(&told).unwrap_or_default().of_this_process())
        }
    }
}

/// All that the scout tells, which it does at once.
fn hear(mut scout: PipeReader) -> Vec<u8> {
    let deadline = Instant::now() + TIME;
    let mut told = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut waiting = libc::pollfd { fd: scout.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        match unsafe { libc::poll(&raw mut waiting, 1, left.as_millis() as i32) } {
            // Some signal.
            -1 if !left.is_zero() => {}
            1 => {
                let _ = scout.read_to_end(&mut told);
                return told;
            }
            _ => return told,
        }
    }
}

/// Called when a sandbox's process ends itself: if it is the scout, and its run was a success, tells what it has touched.
pub fn tell(exit_code: i32) {
    let way_back = WAY_BACK.try_lock().ok().and_then(|mut way_back| way_back.take());
    if let Some(mut zygote) = way_back.filter(|_| exit_code == 0) {
        let _ = Touched::since_fork().and_then(|touched| zygote.write_all(&touched.encode()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a scout touches that does this and ends with what it gives.
    fn scout(run: impl FnOnce() -> i32) -> Touched {
        match fork(|| true) {
            Side::Zygote(touched) => touched,
            Side::Scout => {
                let code = run();
                tell(code);
                // SAFETY: ends the child.
                unsafe { libc::_exit(code) }
            }
        }
    }

    #[test]
    fn a_scout_tells_which_pages_it_wrote() {
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
        assert_eq!([0, 1, 2, 3].map(|index| touched.is_written(page(index))), [false, true, false, true]);
        assert!(touched.is_read(scout as fn(fn() -> i32) -> Touched as usize));
    }

    #[test]
    fn nothing_is_learned_of_a_scout_that_fails() {
        assert!(scout(|| 1).is_empty());
        assert!(matches!(fork(|| false), Side::Zygote(touched) if touched.is_empty()));
    }

    #[test]
    fn code_that_is_mapped_anew_still_runs() {
        // In a child, so that no other test runs in what is taken away.
        let touched = scout(|| {
            scout(|| 0).hand_on_files();
            i32::from(std::env::current_dir().is_err())
        });
        assert!(!touched.is_empty());
    }
}
