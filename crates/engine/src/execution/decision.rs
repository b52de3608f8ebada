//! The status of a run. It is decided once, from the kernel's counters and the supervisor's own
//! actions; the program's report comes last.

use belljar_protocol::{Audience, Limit, LimitTerms, Limits, Pending, RunError, Status};

use super::report::{Ending, Settled};
use crate::process::{Exit, max_connections};

/// The reason for which the supervisor ends a sandbox. It is recorded before the sandbox is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Cancelled,
    TimedOut,
    CpuExceeded,
    MemoryExceeded,
    /// More TCP connections than the memory limit allows.
    ConnectionsExceeded,
    OutputExceeded,
    /// Bytes in granted folders.
    DiskExceeded,
    /// Files in granted folders.
    FilesExceeded,
}

/// The facts on which the decision is based.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) stop: Option<Stop>,
    /// Number of processes that the kernel killed because of the memory limit.
    pub(crate) oom_kills: u64,
    /// CPU time that the kernel counted, microseconds.
    pub(crate) cpu_us: u64,
    pub(crate) ending: Option<Ending>,
    /// The result that was available while something was still open.
    pub(crate) settled: Option<Settled>,
    pub(crate) exit: Exit,
}

/// The decision about the end of a run.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) status: Status,
    pub(crate) ending: Ending,
    pub(crate) signal: Option<i32>,
    /// The things that were still open when the result was available.
    pub(crate) pending: Vec<Pending>,
}

fn error(name: &str, message: impl Into<String>) -> Ending {
    Ending { value: None, error: Some(RunError::new(name, message)), exit_code: None }
}

fn error_with_hint(name: &str, message: impl Into<String>, hint: impl Into<String>) -> Ending {
    let error = RunError::new(name, message).with_hint(hint);
    Ending { value: None, error: Some(error), exit_code: None }
}

const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;
const SIGKILL: i32 = 9;
const SIGSYS: i32 = 31;
const MAX_SIGNAL: i32 = 64;

/// Returns the name of a signal that programs may send or receive (`signal(7)`).
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

/// Decides how a run ended: a cancellation comes first, then limits, then the program's own report,
/// then the exit of the process. A run that was ended from outside keeps a result that was
/// available by then.
pub(crate) fn decide(mut facts: Facts, limits: &Limits, terms: &LimitTerms) -> Decision {
    let settled = facts.settled.take();
    let mut decision = decide_status(facts, limits, terms);
    let is_ended_from_outside = matches!(
        decision.status,
        Status::Cancelled
            | Status::TimedOut
            | Status::CpuExceeded
            | Status::MemoryExceeded
            | Status::OutputExceeded
            | Status::Crashed
    );
    if let Some(Settled { value, pending }) = settled.filter(|_| is_ended_from_outside) {
        if let Some(error) = decision
            .ending
            .error
            .as_mut()
            .filter(|_| decision.status == Status::TimedOut && !pending.is_empty())
        {
            *error = timed_out_while_pending(&pending, limits, terms);
        }
        decision.ending.value = value;
        decision.pending = pending;
    }
    decision
}

/// Returns the error of a run whose result was available, and which only waited for something that
/// the program left open.
fn timed_out_while_pending(pending: &[Pending], limits: &Limits, terms: &LimitTerms) -> RunError {
    let open: Vec<String> = pending.iter().map(ToString::to_string).collect();
    let (are, them) =
        if pending.len() == 1 && pending[0].count <= 1 { ("was", "it") } else { ("were", "them") };
    let message = format!(
        "the result was available, but {} {are} still open at the time limit of {} ({})",
        open.join(", "),
        limits.timeout_ms,
        terms.source(Limit::timeout_ms(), limits.timeout_ms.0)
    );
    let settled = match terms.audience {
        Audience::CommandLine => "--settled",
        Audience::Api | Audience::Model => "finish: \"settled\"",
    };
    let hint = format!("close {them}, or end the run with the result ({settled})");
    RunError::new("TimedOut", message).with_hint(hint)
}

fn decide_status(facts: Facts, limits: &Limits, terms: &LimitTerms) -> Decision {
    let plain = |status, ending| Decision { status, ending, signal: None, pending: Vec::new() };
    match facts.stop {
        Some(Stop::Cancelled) => {
            return plain(Status::Cancelled, error("Cancelled", "the run was cancelled"));
        }
        Some(Stop::TimedOut) => {
            let excess = Excess {
                name: "TimedOut",
                message: format!("the program ran longer than {}", limits.timeout_ms),
                limit: Limit::timeout_ms(),
                instead: "do less in one run",
            };
            return plain(Status::TimedOut, excess.ending(limits, terms));
        }
        Some(Stop::CpuExceeded) => return plain(Status::CpuExceeded, cpu_exceeded(limits, terms)),
        Some(Stop::OutputExceeded) => {
            let excess = Excess {
                name: "OutputExceeded",
                message: format!("the program wrote more than {}", limits.output_bytes),
                limit: Limit::output_bytes(),
                instead: "write to a file in outputs/",
            };
            return plain(Status::OutputExceeded, excess.ending(limits, terms));
        }
        Some(Stop::DiskExceeded) => {
            let excess = Excess {
                name: "DiskLimitExceeded",
                message: format!(
                    "the program wrote more than {} to granted folders",
                    limits.disk_bytes
                ),
                limit: Limit::disk_bytes(),
                instead: "write less",
            };
            return plain(Status::Failed, excess.ending(limits, terms));
        }
        Some(Stop::FilesExceeded) => {
            let excess = Excess {
                name: "DiskLimitExceeded",
                message: format!(
                    "the program created more than {} files in granted folders",
                    limits.files
                ),
                limit: Limit::files(),
                instead: "create fewer files",
            };
            return plain(Status::Failed, excess.ending(limits, terms));
        }
        Some(Stop::ConnectionsExceeded) => {
            let message = format!(
                "the program had more than {} TCP connections, which use kernel memory",
                max_connections(limits.memory_bytes.0)
            );
            let hint = format!(
                "close connections, or {}",
                terms.advice(Limit::memory_bytes(), limits.memory_bytes.0, "open fewer")
            );
            return plain(Status::MemoryExceeded, error_with_hint("MemoryExceeded", message, hint));
        }
        Some(Stop::MemoryExceeded) | None => {}
    }
    if facts.stop == Some(Stop::MemoryExceeded) || facts.oom_kills > 0 {
        let excess = Excess {
            name: "MemoryExceeded",
            message: format!("the program needed more than {} of memory", limits.memory_bytes),
            limit: Limit::memory_bytes(),
            instead: "use less memory",
        };
        return plain(Status::MemoryExceeded, excess.ending(limits, terms));
    }
    if let Some(ending) = facts.ending {
        return by_report(ending);
    }
    let exit = match facts.exit {
        // As in a shell, 128 + N stands for signal N. An init reports the program's signal in this
        // way, and the library inside reports its own process's, because the kernel skips the
        // default action of signals for PID 1.
        Exit::Code(code) if (129..=128 + MAX_SIGNAL).contains(&code) => Exit::Signal(code - 128),
        other => other,
    };
    match exit {
        Exit::ZygoteDied => plain(
            Status::Interrupted,
            error_with_hint(
                "Interrupted",
                "the zygote of the run's sandbox died",
                "run the program again",
            ),
        ),
        // The kernel's own limit, a second above ours, kills without asking. On a busy machine it
        // may apply before the supervisor looks.
        Exit::Signal(signal)
            if signal == SIGXCPU
                || (signal == SIGKILL && facts.cpu_us >= limits.cpu_ms.0 * 1000) =>
        {
            Decision {
                signal: Some(signal),
                ..plain(Status::CpuExceeded, cpu_exceeded(limits, terms))
            }
        }
        Exit::Signal(signal) => {
            let ending = match signal {
                SIGSYS => error("Crashed", "the program was killed for a forbidden system call"),
                SIGXFSZ => Excess {
                    name: "Crashed",
                    message: format!("the program wrote a file larger than {}", limits.disk_bytes),
                    limit: Limit::disk_bytes(),
                    instead: "write smaller files",
                }
                .ending(limits, terms),
                SIGKILL => {
                    error("Crashed", "the program's process was killed from inside the sandbox")
                }
                other => {
                    let name = signal_name(other).map(|name| format!(" ({name})"));
                    let name = name.unwrap_or_default();
                    error("Crashed", format!("the program was killed by signal {other}{name}"))
                }
            };
            Decision { signal: Some(signal), ..plain(Status::Crashed, ending) }
        }
        Exit::Code(code) => {
            // `_exit` in native code, or in a program that replaced the runtime by `execve`.
            let ending = Ending {
                exit_code: Some(code),
                ..error(
                    "ProcessExit",
                    format!("the program's process exited with code {code} without a report"),
                )
            };
            if code == 0 {
                plain(Status::Succeeded, Ending { error: None, ..ending })
            } else {
                plain(Status::Failed, ending)
            }
        }
        Exit::Unknown => plain(
            Status::Interrupted,
            error_with_hint("Interrupted", "the sandbox was lost", "run the program again"),
        ),
    }
}

fn cpu_exceeded(limits: &Limits, terms: &LimitTerms) -> Ending {
    let excess = Excess {
        name: "CpuExceeded",
        message: format!("the program used more than {} of CPU time", limits.cpu_ms),
        limit: Limit::cpu_ms(),
        instead: "do less in one run",
    };
    excess.ending(limits, terms)
}

/// A limit that a run exceeded.
struct Excess {
    /// Name of the error.
    name: &'static str,
    message: String,
    limit: &'static Limit,
    /// Advice to a caller who cannot raise the limit.
    instead: &'static str,
}

impl Excess {
    /// Returns the end of the run: an error that names the source of the limit, and a hint with a
    /// value to try.
    fn ending(self, limits: &Limits, terms: &LimitTerms) -> Ending {
        let value = limits.get(self.limit);
        error_with_hint(
            self.name,
            format!("{} ({})", self.message, terms.source(self.limit, value)),
            terms.advice(self.limit, value, self.instead),
        )
    }
}

fn by_report(ending: Ending) -> Decision {
    let exit_code = ending.exit_code.filter(|code| *code != 0);
    let status = if ending.error.is_none() && exit_code.is_none() {
        Status::Succeeded
    } else {
        Status::Failed
    };
    let ending = match (ending.error, exit_code) {
        (None, Some(code)) => Ending {
            exit_code: Some(code),
            ..error("ProcessExit", format!("the program exited with code {code}"))
        },
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
        Facts {
            stop: None,
            oom_kills: 0,
            cpu_us: 0,
            ending: None,
            settled: None,
            exit: Exit::Code(0),
        }
    }

    fn succeeded() -> Ending {
        Ending { value: None, error: None, exit_code: None }
    }

    fn status(facts: Facts) -> Status {
        decide(facts, &Limits::default(), &LimitTerms::default()).status
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
            assert_eq!(
                status(Facts { stop: Some(stop), ending: Some(succeeded()), ..facts() }),
                expected
            );
        }
    }

    #[test]
    fn a_kernel_counter_comes_before_a_forged_success() {
        assert_eq!(
            status(Facts { oom_kills: 1, ending: Some(succeeded()), ..facts() }),
            Status::MemoryExceeded
        );
    }

    #[test]
    fn signals_without_a_limit_behind_them_are_crashes() {
        for signal in [6, 9, 11, 31] {
            assert_eq!(status(Facts { exit: Exit::Signal(signal), ..facts() }), Status::Crashed);
        }
        assert_eq!(status(Facts { exit: Exit::Signal(SIGXCPU), ..facts() }), Status::CpuExceeded);
        let used_up = Limits::default().cpu_ms.0 * 1000;
        assert_eq!(
            status(Facts { exit: Exit::Signal(SIGKILL), cpu_us: used_up, ..facts() }),
            Status::CpuExceeded
        );
        assert_eq!(
            status(Facts { exit: Exit::Signal(6), cpu_us: used_up, ..facts() }),
            Status::Crashed
        );
        assert_eq!(status(Facts { exit: Exit::Code(128 + 11), ..facts() }), Status::Crashed);
        assert_eq!(status(Facts { exit: Exit::ZygoteDied, ..facts() }), Status::Interrupted);
    }

    #[test]
    fn a_run_that_waited_for_an_open_timer_keeps_its_value_and_says_so() {
        let settled = || {
            let pending =
                serde_json::from_str(r#"[{"kind": "interval", "count": 1, "at": "main.js:2:1"}]"#)
                    .unwrap();
            Some(Settled { value: Some(serde_json::from_str("3").unwrap()), pending })
        };
        let decision = decide(
            Facts { stop: Some(Stop::TimedOut), settled: settled(), ..facts() },
            &Limits::default(),
            &LimitTerms::default(),
        );
        assert_eq!(
            (decision.status, decision.ending.value.unwrap().get()),
            (Status::TimedOut, "3")
        );
        assert!(
            decision
                .ending
                .error
                .unwrap()
                .message
                .contains("an interval (main.js:2:1) was still open")
        );
        assert_eq!(decision.pending.len(), 1);
        // If the program ended by itself, nothing that was open before matters.
        let decision = decide(
            Facts { ending: Some(succeeded()), settled: settled(), ..facts() },
            &Limits::default(),
            &LimitTerms::default(),
        );
        assert!(decision.ending.value.is_none() && decision.pending.is_empty());
    }

    #[test]
    fn an_exit_code_other_than_nought_is_a_failure() {
        let ending = Some(Ending { value: None, error: None, exit_code: Some(3) });
        let decision =
            decide(Facts { ending, ..facts() }, &Limits::default(), &LimitTerms::default());
        assert_eq!((decision.status, decision.ending.exit_code), (Status::Failed, Some(3)));
        assert_eq!(status(Facts { exit: Exit::Code(3), ..facts() }), Status::Failed);
        assert_eq!(status(Facts { exit: Exit::Code(0), ..facts() }), Status::Succeeded);
    }
}
