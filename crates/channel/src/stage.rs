//! The stages of a sandbox's control channel, as the supervisor sees them. In each stage different
//! code may have run in the sandbox, and different frames are allowed.
//!
//! - [`Sealed`]: Belljar's own code has run, and packages that the operator lets a zygote import.
//!   The sandbox sends one `HOME` with one descriptor, or one `FAULT`.
//! - [`Importing`]: packages that the sandbox imports in advance may have run, too. It sends one
//!   `READY`, or one `FAULT`.
//! - [`Parked`]: the same code may have run. The sandbox sends nothing.
//! - [`Active`]: the program runs. The sandbox sends `ANNOTATE`, `RESULT`, `DENIED`, `CALL`, `NOTE`
//!   and `SETTLED` in any order, each up to a maximum number, and then `EXECUTED`. All of these
//!   carry the id of the execution. Then the sandbox sends `GOODBYE`, and nothing after it.
//!
//! Each stage is a type from which the next one is created, so that a descriptor can be accepted
//! from a sandbox only in the first stage, before it runs untrusted code. A frame of another stage
//! or of another execution, a descriptor with the wrong frame, and more frames than the run's
//! limits allow for are a [`Violation`], which ends the sandbox.

use crate::execution::ExecutionId;
use crate::frame::{Frame, FrameError, FrameReader};
use crate::kind;
use crate::packet::Lost;
use crate::sandbox::SandboxMessage;

/// The names of the stages, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The stage [`Sealed`].
    Sealed,
    /// The stage [`Importing`].
    Importing,
    /// The stage [`Parked`].
    Parked,
    /// The stage [`Active`] while an execution is running.
    Active,
    /// The stage [`Active`] after the execution has ended.
    Executed,
    /// The stage [`Active`] after the sandbox has ended the conversation.
    Over,
}

impl Stage {
    /// Returns the kinds of frames that are allowed in this stage.
    pub fn kinds(self) -> &'static [u8] {
        match self {
            Self::Sealed => &[kind::HOME, kind::FAULT],
            Self::Importing => &[kind::READY, kind::FAULT],
            Self::Parked => &[],
            Self::Active => &[
                kind::ANNOTATE,
                kind::RESULT,
                kind::DENIED,
                kind::CALL,
                kind::NOTE,
                kind::SETTLED,
                kind::EXECUTED,
            ],
            Self::Executed => &[kind::GOODBYE],
            Self::Over => &[],
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Sealed => "before the sandbox has sent its working folder",
            Self::Importing => "before the sandbox is parked",
            Self::Parked => "while the sandbox is parked",
            Self::Active => "after the sandbox was activated",
            Self::Executed => "after the execution has ended",
            Self::Over => "after the sandbox has said goodbye",
        }
    }
}

fn name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        kind::READY => "READY",
        kind::ANNOTATE => "ANNOTATE",
        kind::RESULT => "RESULT",
        kind::DENIED => "DENIED",
        kind::EXECUTED => "EXECUTED",
        kind::FAULT => "FAULT",
        kind::CALL => "CALL",
        kind::HOME => "HOME",
        kind::NOTE => "NOTE",
        kind::SETTLED => "SETTLED",
        kind::GOODBYE => "GOODBYE",
        _ => return None,
    })
}

/// Returns the indefinite article of the name of a kind.
fn article(kind: &str) -> &'static str {
    if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}

/// A violation of the rules of a control channel. Everything after it is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame exceeds its bounds.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A frame is not allowed in this stage.
    #[error("{} {kind} frame is not allowed {}", article(kind), stage.words())]
    OutOfStage {
        /// Name of the frame's kind.
        kind: &'static str,
        /// Stage in which the frame arrived.
        stage: Stage,
    },
    /// The sandbox ended the conversation while an execution was running.
    #[error("a GOODBYE frame is not allowed before the execution has ended")]
    EarlyGoodbye,
    /// A frame belongs to another execution than the one that is running.
    #[error(
        "{} {kind} frame belongs to execution {found}, but execution {running} is running",
        article(kind)
    )]
    OtherExecution {
        /// Name of the frame's kind.
        kind: &'static str,
        /// Id that the frame carries.
        found: ExecutionId,
        /// Id of the running execution.
        running: ExecutionId,
    },
    /// Descriptors arrived where none are allowed, or not exactly one with `HOME`.
    #[error("unexpected descriptors {}", .0.words())]
    Descriptors(Stage),
    /// The descriptor of `HOME` was lost because this process has reached its limit on open files.
    #[error("this process may not open another file, so a descriptor of the sandbox was lost")]
    NoRoom,
    /// Data arrived after the only frame of the stage.
    #[error("unexpected data {}", .0.words())]
    More(Stage),
    /// There are more frames of a kind than a run with these limits can need.
    #[error("more than {max} {kind} frames")]
    TooMany {
        /// Name of the kind.
        kind: &'static str,
        /// Maximum number of frames.
        max: u64,
    },
    /// Frames of a kind have too many bytes in total.
    #[error("more than {max} bytes of {kind} frames")]
    TooManyBytes {
        /// Name of the kind.
        kind: &'static str,
        /// Maximum number of bytes.
        max: u64,
    },
}

/// Returns the next frame, if it is allowed in the stage.
fn next(
    frames: &mut FrameReader,
    stage: Stage,
    result_bytes: u64,
    output_bytes: u64,
) -> Result<Option<Frame>, Violation> {
    let bound = |kind: u8| {
        let max = SandboxMessage::bound(kind, result_bytes, output_bytes);
        max.filter(|_| stage.kinds().contains(&kind))
    };
    frames.next_frame(bound).map_err(|error| match error {
        FrameError::UnknownKind(kind::GOODBYE) if stage == Stage::Active => Violation::EarlyGoodbye,
        FrameError::UnknownKind(kind) => {
            name(kind).map_or(Violation::Frame(error), |kind| Violation::OutOfStage { kind, stage })
        }
        error => Violation::Frame(error),
    })
}

fn fault(frame: Frame) -> String {
    String::from_utf8_lossy(&frame.payload).into_owned()
}

/// The stage until the sandbox has sealed itself and sent its working folder. No code of a program
/// has run in it, and code of packages only if the operator lets the zygote import them.
#[derive(Debug, Default)]
pub struct Sealed {
    frames: FrameReader,
}

/// The result of one receive in the stage [`Sealed`].
#[derive(Debug)]
pub enum FromSealed<D> {
    /// The frame is incomplete.
    Waiting(Sealed),
    /// The sandbox sent its working folder.
    Home(D, Importing),
    /// A step of the set-up failed. The text describes the failure.
    Fault(String),
}

impl Sealed {
    /// Processes one receive. `HOME` arrives alone, because the kernel ends a receive at a message
    /// with descriptors.
    pub fn hear<D>(
        mut self,
        bytes: &[u8],
        descriptors: Vec<D>,
        lost: Lost,
    ) -> Result<FromSealed<D>, Violation> {
        const STAGE: Stage = Stage::Sealed;
        self.frames.extend(bytes);
        let Some(frame) = next(&mut self.frames, STAGE, 0, 0)? else {
            return if descriptors.is_empty() && lost == Lost::Nothing {
                Ok(FromSealed::Waiting(self))
            } else {
                Err(Violation::Descriptors(STAGE))
            };
        };
        if self.frames.has_rest() {
            return Err(Violation::More(STAGE));
        }
        let mut descriptors = descriptors.into_iter();
        match (frame.kind, descriptors.next(), descriptors.next(), lost) {
            (kind::HOME, Some(home), None, Lost::Nothing) => {
                Ok(FromSealed::Home(home, Importing::default()))
            }
            (kind::HOME, None, None, Lost::Descriptors) => Err(Violation::NoRoom),
            (kind::FAULT, None, None, Lost::Nothing) => Ok(FromSealed::Fault(fault(frame))),
            _ => Err(Violation::Descriptors(STAGE)),
        }
    }
}

/// The stage in which the sandbox imports packages in advance, until it is parked.
#[derive(Debug, Default)]
pub struct Importing {
    frames: FrameReader,
}

/// The result of one receive in the stage [`Importing`].
#[derive(Debug)]
pub enum FromImporting {
    /// The frame is incomplete.
    Waiting(Importing),
    /// The sandbox reported that it waits for its activation.
    Parked(Parked),
    /// A step of the set-up failed. The text describes the failure and may come from a package.
    Fault(String),
}

impl Importing {
    /// Processes one receive.
    pub fn hear(mut self, bytes: &[u8], lost: Lost) -> Result<FromImporting, Violation> {
        const STAGE: Stage = Stage::Importing;
        if lost == Lost::Descriptors {
            return Err(Violation::Descriptors(STAGE));
        }
        self.frames.extend(bytes);
        let Some(frame) = next(&mut self.frames, STAGE, 0, 0)? else {
            return Ok(FromImporting::Waiting(self));
        };
        if frame.kind == kind::FAULT {
            return Ok(FromImporting::Fault(fault(frame)));
        }
        if self.frames.has_rest() {
            return Err(Violation::More(STAGE));
        }
        Ok(FromImporting::Parked(Parked(())))
    }
}

/// The stage before the activation. The sandbox must not send anything, and the supervisor does not
/// read.
#[derive(Debug)]
pub struct Parked(());

impl Parked {
    /// The violation that any data in this stage is.
    pub const VIOLATION: Violation = Violation::More(Stage::Parked);

    /// Returns the next stage, which begins before the first byte of the activation is sent, with
    /// the id of the execution that it starts.
    pub fn activate(self, execution: ExecutionId, limits: FrameLimits) -> Active {
        Active {
            frames: FrameReader::default(),
            limits,
            heard: Heard::default(),
            conversation: Conversation::Executing(execution),
        }
    }
}

/// The limits of a run that apply to its frames.
#[derive(Clone, Copy, Debug)]
pub struct FrameLimits {
    /// Maximum bytes of the result.
    pub result_bytes: u64,
    /// Maximum bytes of output and rich results.
    pub output_bytes: u64,
}

/// The number of annotations that are allowed before any output has arrived. The library stops at
/// fewer if the program has redirected its output, and a socket buffer holds some hundred
/// annotations of bytes that are yet to arrive.
const SPARE_ANNOTATIONS: u64 = 10_000;
/// The number of annotations for one byte of output: one for the entry, and one that separates it
/// from the other stream.
const ANNOTATIONS_A_BYTE: u64 = 2;
/// The maximum number of denials. The drivers send at most 100.
const MAX_DENIALS: u64 = 1_000;
const MAX_DENIAL_BYTES: u64 = 64 << 20;
/// The maximum number of calls: twelve per second for a day.
const MAX_CALLS: u64 = 1_000_000;
/// The maximum number of notes. The drivers send at most 32.
const MAX_NOTES: u64 = 1_000;
/// The maximum number of settled results. The drivers send at most 2. Each may be as long as a
/// result, and takes as long to parse.
const MAX_SETTLED: u64 = 4;
/// The length of the shortest rich result: `{"type":"a/b","data":""}`.
const MIN_RESULT_BYTES: u64 = 24;

#[derive(Debug, Default)]
struct Heard {
    annotations: u64,
    denials: u64,
    denial_bytes: u64,
    results: u64,
    calls: u64,
    notes: u64,
    settled: u64,
}

/// The progress of the conversation with an active sandbox.
#[derive(Clone, Copy, Debug)]
enum Conversation {
    Executing(ExecutionId),
    Executed,
    Over,
}

/// The stage of the run. Every frame may have been written by the program itself.
#[derive(Debug)]
pub struct Active {
    frames: FrameReader,
    limits: FrameLimits,
    heard: Heard,
    conversation: Conversation,
}

impl Active {
    /// Adds the bytes of one receive.
    pub fn extend(&mut self, bytes: &[u8], lost: Lost) -> Result<(), Violation> {
        if lost == Lost::Descriptors {
            return Err(Violation::Descriptors(Stage::Active));
        }
        self.frames.extend(bytes);
        Ok(())
    }

    /// Returns the next complete message, if there is one. `output_bytes` is the number of bytes
    /// that have arrived on the streams so far.
    pub fn next_message(&mut self, output_bytes: u64) -> Result<Option<SandboxMessage>, Violation> {
        let FrameLimits { result_bytes, output_bytes: max_output } = self.limits;
        let stage = match self.conversation {
            Conversation::Executing(_) => Stage::Active,
            Conversation::Executed => Stage::Executed,
            Conversation::Over => return self.check_is_last().map(|()| None),
        };
        let Some(frame) = next(&mut self.frames, stage, result_bytes, max_output)? else {
            return Ok(None);
        };
        if let (Conversation::Executing(running), Some(found)) =
            (self.conversation, frame.execution)
            && found != running
        {
            let kind = name(frame.kind).unwrap_or_default();
            return Err(Violation::OtherExecution { kind, found, running });
        }
        let length = frame.payload.len() as u64;
        let message = SandboxMessage::parse(frame)?;
        let heard = &mut self.heard;
        match message {
            SandboxMessage::Annotate(_) => {
                count(
                    &mut heard.annotations,
                    "ANNOTATE",
                    SPARE_ANNOTATIONS
                        .saturating_add(output_bytes.saturating_mul(ANNOTATIONS_A_BYTE)),
                )?;
            }
            SandboxMessage::Denied(_) => {
                count(&mut heard.denials, "DENIED", MAX_DENIALS)?;
                heard.denial_bytes += length;
                if heard.denial_bytes > MAX_DENIAL_BYTES {
                    return Err(Violation::TooManyBytes { kind: "DENIED", max: MAX_DENIAL_BYTES });
                }
            }
            // Its bytes also count as output.
            SandboxMessage::Result(_) => {
                count(&mut heard.results, "RESULT", 1_000 + max_output / MIN_RESULT_BYTES)?;
            }
            SandboxMessage::Call => count(&mut heard.calls, "CALL", MAX_CALLS)?,
            SandboxMessage::Note(_) => count(&mut heard.notes, "NOTE", MAX_NOTES)?,
            SandboxMessage::Settled(_) => count(&mut heard.settled, "SETTLED", MAX_SETTLED)?,
            SandboxMessage::Executed(_) => self.conversation = Conversation::Executed,
            SandboxMessage::Goodbye => {
                self.conversation = Conversation::Over;
                self.check_is_last()?;
            }
        }
        Ok(Some(message))
    }

    fn check_is_last(&self) -> Result<(), Violation> {
        if self.frames.has_rest() { Err(Violation::More(Stage::Over)) } else { Ok(()) }
    }
}

fn count(heard: &mut u64, kind: &'static str, max: u64) -> Result<(), Violation> {
    *heard += 1;
    if *heard > max { Err(Violation::TooMany { kind, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
