//! How a run ended. Decided once, from what the kernel counted and what the supervisor did; the program's own report comes last.

use belljar_protocol::{Limits, Pending, RunError, Status};

use crate::report::{Ending, Settled};
use crate::watch::most_connections;

/// Why the supervisor ended a sandbox. Recorded before it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Cancelled,
    TimedOut,
    CpuExceeded,
    MemoryExceeded,
    /// More connections than their memory can be answered for.
    ConnectionsExceeded,
    OutputExceeded,
    /// Bytes in granted folders.
    DiskExceeded,
    /// Files in granted folders.
    FilesExceeded,
}

/// How the sandbox's first process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Together with its zygote.
    ZygoteDied,
    /// Not yet, and it need not be waited for: the program has reported its end.
    Unknown,
}

impl Exit {
    /// Reads a wait status.
    pub(crate) fn of_wait_status(status: i32) -> Self {
        let signal = status & 0x7f;
        if signal == 0 { Self::Code((status >> 8) & 0xff) } else { Self::Signal(signal) }
    }
}

/// All that the decision rests on.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) stop: Option<Stop>,
    /// Processes that the kernel killed for want of memory.
    pub(crate) oom_kills: u64,
    /// CPU time that the kernel counted.
    pub(crate) cpu_us: u64,
    pub(crate) ending: Option<Ending>,
    /// The result that was there while something was still open.
    pub(crate) settled: Option<Settled>,
    pub(crate) exit: Exit,
}

/// The verdict.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) status: Status,
    pub(crate) ending: Ending,
    pub(crate) signal: Option<i32>,
    /// The things that were still open when the result was there.
    pub(crate) pending: Vec<Pending>,
}

fn error(name: &str, message: String) -> Ending {
    Ending { value: None, error: Some(RunError { name: name.into(), message, ..RunError::default() }), exit_code: None }
}

const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;
const SIGKILL: i32 = 9;
const SIGSYS: i32 = 31;
const MAX_SIGNAL: i32 = 64;

/// The name of a signal that programs send or get (`signal(7)`).
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        26 => "SIGVTALRM",
        27 => "SIGPROF",
        _ => return None,
    })
}

/// Cancellation first, then limits, then the program's own report, then how the process ended. A run that was ended from outside keeps
/// the result that was there.
pub(crate) fn decide(mut facts: Facts, limits: &Limits) -> Decision {
    let settled = facts.settled.take();
    let mut decision = decide_status(facts, limits);
    let is_ended_from_outside = matches!(
        decision.status,
        Status::Cancelled | Status::TimedOut | Status::CpuExceeded | Status::MemoryExceeded | Status::OutputExceeded | Status::Crashed
    );
    if let Some(Settled { value, pending }) = settled.filter(|_| is_ended_from_outside) {
        if let Some(error) = decision.ending.error.as_mut().filter(|_| decision.status == Status::TimedOut && !pending.is_empty()) {
            error.message = timed_out_while_pending(&pending, limits);
        }
        decision.ending.value = value;
        decision.pending = pending;
    }
    decision
}

/// The words for a run whose result was there, and which only waited for something that it left open.
fn timed_out_while_pending(pending: &[Pending], limits: &Limits) -> String {
    let open: Vec<String> = pending.iter().map(ToString::to_string).collect();
    let (are, them) = if pending.len() == 1 && pending[0].count <= 1 { ("was", "it") } else { ("were", "them") };
    format!(
        "the result was there, but {} {are} still open when the time limit of {} was reached; close {them}, or end the run \
         with the result (finish: \"settled\", --settled)",
        open.join(", "),
        limits.timeout_ms
    )
}

fn decide_status(facts: Facts, limits: &Limits) -> Decision {
    let plain = |status, ending| Decision { status, ending, signal: None, pending: Vec::new() };
    match facts.stop {
        Some(Stop::Cancelled) => return plain(Status::Cancelled, error("Cancelled", "the run was cancelled".into())),
        Some(Stop::TimedOut) => {
            let message =
                format!("the program ran longer than {}; raise limits.timeout_ms (--timeout) if it needs more", limits.timeout_ms);
            return plain(Status::TimedOut, error("TimedOut", message));
        }
        Some(Stop::CpuExceeded) => return plain(Status::CpuExceeded, cpu_exceeded(limits)),
        Some(Stop::OutputExceeded) => {
            let message = format!(
                "the program wrote more than {}; raise limits.output_bytes (--output-limit) or write to a file",
                limits.output_bytes
            );
            return plain(Status::OutputExceeded, error("OutputExceeded", message));
        }
        Some(Stop::DiskExceeded) => {
            let message = format!(
                "the program put more than {} into the folders that it may write; raise limits.disk_bytes (--disk)",
                limits.disk_bytes
            );
            return plain(Status::Failed, error("DiskLimitExceeded", message));
        }
        Some(Stop::FilesExceeded) => {
            let message = format!(
                "the program made more than {} files in the folders that it may write; raise limits.files (--max-files)",
                limits.files
            );
            return plain(Status::Failed, error("DiskLimitExceeded", message));
        }
        Some(Stop::ConnectionsExceeded) => {
            let message = format!(
                "the program had more than {} TCP connections, which take memory of the kernel; close them, or raise limits.memory_bytes (--memory)",
                most_connections(limits.memory_bytes.0)
            );
            return plain(Status::MemoryExceeded, error("MemoryExceeded", message));
        }
        Some(Stop::MemoryExceeded) | None => {}
    }
    if facts.stop == Some(Stop::MemoryExceeded) || facts.oom_kills > 0 {
        let message = format!("the program needed more than {} of memory; raise limits.memory_bytes (--memory)", limits.memory_bytes);
        return plain(Status::MemoryExceeded, error("MemoryExceeded", message));
    }
    if let Some(ending) = facts.ending {
        return by_report(ending);
    }
    let exit = match facts.exit {
        // As a shell has it: an init says so of the program, and the library inside of its own process, for which the kernel leaves out what signals do.
        Exit::Code(code) if (129..=128 + MAX_SIGNAL).contains(&code) => Exit::Signal(code - 128),
        other => other,
    };
    match exit {
        Exit::ZygoteDied => {
            plain(Status::Interrupted, error("Interrupted", "the runtime's zygote died under the run; run it again".into()))
        }
        // The kernel's own limit, a second behind ours, kills without asking; on a machine that is busy enough it is the first to look.
        Exit::Signal(signal) if signal == SIGXCPU || (signal == SIGKILL && facts.cpu_us >= limits.cpu_ms.0 * 1000) => {
            Decision { signal: Some(signal), ..plain(Status::CpuExceeded, cpu_exceeded(limits)) }
        }
        Exit::Signal(signal) => {
            let message = match signal {
                SIGSYS => "the program made a system call that no sandbox may make".into(),
                SIGXFSZ => format!("the program wrote a file larger than {}; raise limits.disk_bytes (--disk)", limits.disk_bytes),
                SIGKILL => "the program's process was killed from inside".into(),
                other => match signal_name(other) {
                    Some(name) => format!("the program's process died of signal {other} ({name})"),
                    None => format!("the program's process died of signal {other}"),
                },
            };
            Decision { signal: Some(signal), ..plain(Status::Crashed, error("Crashed", message)) }
        }
        Exit::Code(code) => {
            // `_exit` from native code, or from a process that has replaced the runtime.
            let ending = Ending {
                exit_code: Some(code),
                ..error("ProcessExit", format!("the program's process ended with code {code} without a report"))
            };
            if code == 0 { plain(Status::Succeeded, Ending { error: None, ..ending }) } else { plain(Status::Failed, ending) }
        }
        Exit::Unknown => plain(Status::Interrupted, error("Interrupted", "the sandbox was lost; run it again".into())),
    }
}

fn cpu_exceeded(limits: &Limits) -> Ending {
    error("CpuExceeded", format!("the program used more than {} of CPU time; raise limits.cpu_ms (--cpu)", limits.cpu_ms))
}

fn by_report(ending: Ending) -> Decision {
    let exit_code = ending.exit_code.filter(|code| *code != 0);
    let status = if ending.error.is_none() && exit_code.is_none() { Status::Succeeded } else { Status::Failed };
    let ending = match (ending.error, exit_code) {
        (None, Some(code)) => Ending { exit_code: Some(code), ..error("ProcessExit", format!("the program exited with code {code}")) },
        (error, _) => {
            let value = if error.is_none() { ending.value } else { None };
            Ending { value, error, exit_code: ending.exit_code }
        }
    };
    Decision { status, ending, signal: None, pending: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { stop: None, oom_kills: 0, cpu_us: 0, ending: None, settled: None, exit: Exit::Code(0) }
    }

    fn succeeded() -> Ending {
        Ending { value: None, error: None, exit_code: None }
    }

    fn status(facts: Facts) -> Status {
        decide(facts, &Limits::default()).status
    }

    #[test]
    fn what_the_supervisor_did_comes_before_what_the_program_says() {
        for (stop, expected) in [
            (Stop::Cancelled, Status::Cancelled),
            (Stop::TimedOut, Status::TimedOut),
            (Stop::CpuExceeded, Status::CpuExceeded),
            (Stop::MemoryExceeded, Status::MemoryExceeded),
            (Stop::ConnectionsExceeded, Status::MemoryExceeded),
            (Stop::OutputExceeded, Status::OutputExceeded),
            (Stop::DiskExceeded, Status::Failed),
            (Stop::FilesExceeded, Status::Failed),
        ] {
            assert_eq!(status(Facts { stop: Some(stop), ending: Some(succeeded()), ..facts() }), expected);
        }
    }

    #[test]
    fn a_kernel_counter_comes_before_a_forged_success() {
        assert_eq!(status(Facts { oom_kills: 1, ending: Some(succeeded()), ..facts() }), Status::MemoryExceeded);
    }

    #[test]
    fn signals_without_a_limit_behind_them_are_crashes() {
        for signal in [6, 9, 11, 31] {
            assert_eq!(status(Facts { exit: Exit::Signal(signal), ..facts() }), Status::Crashed);
        }
        assert_eq!(status(Facts { exit: Exit::Signal(SIGXCPU), ..facts() }), Status::CpuExceeded);
        let used_up = Limits::default().cpu_ms.0 * 1000;
        assert_eq!(status(Facts { exit: Exit::Signal(SIGKILL), cpu_us: used_up, ..facts() }), Status::CpuExceeded);
        assert_eq!(status(Facts { exit: Exit::Signal(6), cpu_us: used_up, ..facts() }), Status::Crashed);
        assert_eq!(status(Facts { exit: Exit::Code(128 + 11), ..facts() }), Status::Crashed);
        assert_eq!(status(Facts { exit: Exit::ZygoteDied, ..facts() }), Status::Interrupted);
    }

    #[test]
    fn a_run_that_waited_for_an_open_timer_keeps_its_value_and_says_so() {
        let settled = || {
            let pending = serde_json::from_str(r#"[{"kind": "interval", "count": 1, "at": "main.js:2:1"}]"#).unwrap();
            Some(Settled { value: Some(serde_json::from_str("3").unwrap()), pending })
        };
        let decision = decide(Facts { stop: Some(Stop::TimedOut), settled: settled(), ..facts() }, &Limits::default());
        assert_eq!((decision.status, decision.ending.value.unwrap().get()), (Status::TimedOut, "3"));
        assert!(decision.ending.error.unwrap().message.contains("an interval (main.js:2:1) was still open"));
        assert_eq!(decision.pending.len(), 1);
        // A program that ended by itself has said its last: what was open before is of no interest.
        let decision = decide(Facts { ending: Some(succeeded()), settled: settled(), ..facts() }, &Limits::default());
        assert!(decision.ending.value.is_none() && decision.pending.is_empty());
    }

    #[test]
    fn an_exit_code_other_than_nought_is_a_failure() {
        let ending = Some(Ending { value: None, error: None, exit_code: Some(3) });
        let decision = decide(Facts { ending, ..facts() }, &Limits::default());
        assert_eq!((decision.status, decision.ending.exit_code), (Status::Failed, Some(3)));
        assert_eq!(status(Facts { exit: Exit::Code(3), ..facts() }), Status::Failed);
        assert_eq!(status(Facts { exit: Exit::Code(0), ..facts() }), Status::Succeeded);
    }
}
