//! How much of its own time the supervisor spends on what one sandbox says. A sandbox that writes to its channel and its streams without end costs the
//! supervisor many times what it uses itself. So what it gets is measured, and beyond a share it is left alone for a while: its buffers fill, and it waits.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Free for every run: more than what a run needs that says what it has to say.
const FREE: Duration = Duration::from_millis(100);
/// Of one processor, from then on.
const SHARE: f64 = 0.05;
/// Of the CPU time that is charged to the program itself: one that works for what it says is listened to as fast as it speaks.
const CHARGED_SHARE: f64 = 0.5;
/// The longest pause. What is charged to the program is asked again after it.
const MOST_REST: Duration = Duration::from_millis(20);
/// What serving a call costs besides, in tasks of its own, when the program only asks and leaves.
const CALL: Duration = Duration::from_micros(100);

/// The account of one run.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    spent: Duration,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), spent: Duration::ZERO }
    }

    /// Does some work for the sandbox, and counts the time of this thread for it.
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

    /// How long the sandbox is now left alone. `charged` gives the CPU time that has been charged to it; asked only where it matters.
    pub(crate) fn rest(&self, charged: impl FnOnce() -> Duration) -> Option<Duration> {
        self.rest_at(self.began.elapsed(), charged)
    }

    fn rest_at(&self, elapsed: Duration, charged: impl FnOnce() -> Duration) -> Option<Duration> {
        let over = self.spent.checked_sub(FREE)?;
        let rest = over.div_f64(SHARE).checked_sub(elapsed).filter(|rest| !rest.is_zero())?;
        if over <= charged().mul_f64(CHARGED_SHARE) { None } else { Some(rest.min(MOST_REST)) }
    }
}

/// CPU time of the calling thread. Unlike the clock's, it does not count what others run in between.
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
        assert_eq!(pace(200).rest_at(SECOND, || Duration::from_millis(100)), Some(MOST_REST));
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
