//! The CPU time that the supervisor spends on the messages of one sandbox. A sandbox that writes to
//! its channel and its streams without end costs the supervisor many times its own CPU time.
//! Therefore the time is measured, and beyond a share the supervisor pauses reading: the buffers of
//! the sandbox fill, and it waits.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The time that is free for every run, which is more than an ordinary run needs.
const FREE: Duration = Duration::from_millis(100);
/// The share of one processor that a run may use beyond the free time.
const SHARE: f64 = 0.05;
/// The share of the program's own CPU time that the supervisor may use. A program that works for
/// its output is therefore read as fast as it writes.
const CHARGED_SHARE: f64 = 0.5;
/// The longest pause. The program's CPU time is measured again after it.
const MAX_REST: Duration = Duration::from_millis(20);
/// The additional cost of a call, which tasks of its own have if the program opens and closes it.
const CALL: Duration = Duration::from_micros(100);

/// The time that was spent on one run.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    spent: Duration,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), spent: Duration::ZERO }
    }

    /// Does some work for the sandbox, and counts the CPU time of this thread.
    pub(crate) fn spend<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = thread_time();
        let done = work();
        self.spent += thread_time().saturating_sub(before);
        done
    }

    /// Counts a call.
    pub(crate) fn spend_on_call(&mut self) {
        self.spent += CALL;
    }

    /// Returns the length of the pause that is due now. `charged` returns the CPU time of the
    /// program, and is called only if it matters.
    pub(crate) fn rest(&self, charged: impl FnOnce() -> Duration) -> Option<Duration> {
        self.rest_at(self.began.elapsed(), charged)
    }

    fn rest_at(&self, elapsed: Duration, charged: impl FnOnce() -> Duration) -> Option<Duration> {
        let over = self.spent.checked_sub(FREE)?;
        let rest = over.div_f64(SHARE).checked_sub(elapsed).filter(|rest| !rest.is_zero())?;
        if over <= charged().mul_f64(CHARGED_SHARE) { None } else { Some(rest.min(MAX_REST)) }
    }
}

/// Returns the CPU time of the calling thread. Unlike wall-clock time, it does not include the time
/// in which other threads run.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(spent_ms: u64) -> Pace {
        Pace { began: Instant::now(), spent: Duration::from_millis(spent_ms) }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_sandbox_with_little_to_say_is_never_left_alone() {
        assert_eq!(pace(100).rest_at(Duration::ZERO, || unreachable!()), None);
        assert_eq!(pace(150).rest_at(SECOND, || unreachable!("5 % of a second")), None);
    }

    #[test]
    fn one_that_floods_is_left_alone_and_one_that_works_for_it_is_not() {
        assert_eq!(pace(200).rest_at(SECOND, || Duration::from_millis(100)), Some(MAX_REST));
        assert_eq!(pace(200).rest_at(SECOND, || Duration::from_millis(200)), None);
    }

    #[test]
    fn work_is_counted_and_waiting_is_not() {
        let mut pace = pace(0);
        pace.spend(|| std::thread::sleep(Duration::from_millis(20)));
        assert!(pace.spent < Duration::from_millis(10), "{:?}", pace.spent);
        pace.spend(|| {
            let until = thread_time() + Duration::from_millis(5);
            while thread_time() < until {}
        });
        assert!(pace.spent >= Duration::from_millis(5), "{:?}", pace.spent);
    }
}
