//! The stages of a sandbox's control channel, as the supervisor sees them: which code can have spoken in each, and what it may say.
//!
//! | stage | can have run in the sandbox | frames |
//! | --- | --- | --- |
//! | [`Sealed`] | Belljar's own code, and packages that the operator lets a zygote import | one `HOME` with one descriptor, or `FAULT` |
//! | [`Importing`] | packages that are imported in advance | one `READY`, or `FAULT` |
//! | [`Parked`] | the same | none |
//! | [`Active`] | the program | `ANNOTATE`, `RESULT`, `DENIED`, `CALL`, and `FINISHED` as the last |
//!
//! Each stage is a type that the next one is made from, so that a descriptor can be taken from a sandbox only while no code but Belljar's own has run
//! in it. A frame that does not belong to its stage, a descriptor that does not belong to its frame, and more frames than the run's limits account for
//! are a [`Violation`]: the sandbox ends.

use crate::frame::{Frame, FrameError, FrameReader};
use crate::packet::Lost;
use crate::sandbox::{SandboxMessage, kind};

/// A stage, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// See [`Sealed`].
    Sealed,
    /// See [`Importing`].
    Importing,
    /// See [`Parked`].
    Parked,
    /// See [`Active`].
    Active,
}

impl Stage {
    /// The kinds of frames that belong to it.
    pub fn kinds(self) -> &'static [u8] {
        match self {
            Self::Sealed => &[kind::HOME, kind::FAULT],
            Self::Importing => &[kind::READY, kind::FAULT],
            Self::Parked => &[],
            Self::Active => &[kind::ANNOTATE, kind::RESULT, kind::DENIED, kind::CALL, kind::NOTE, kind::SETTLED, kind::FINISHED],
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Sealed => "before it has sent its working folder",
            Self::Importing => "before it is parked",
            Self::Parked => "while it is parked",
            Self::Active => "after it was activated",
        }
    }
}

fn name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        kind::READY => "READY",
        kind::ANNOTATE => "ANNOTATE",
        kind::RESULT => "RESULT",
        kind::DENIED => "DENIED",
        kind::FINISHED => "FINISHED",
        kind::FAULT => "FAULT",
        kind::CALL => "CALL",
        kind::HOME => "HOME",
        kind::NOTE => "NOTE",
        kind::SETTLED => "SETTLED",
        _ => return None,
    })
}

/// Something on a control channel that breaks its rules. Nothing after it is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame that breaks its bounds.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A frame that belongs to another stage.
    #[error("a {kind} frame {}", stage.words())]
    OutOfStage {
        /// Name of its kind.
        kind: &'static str,
        /// The stage in which it came.
        stage: Stage,
    },
    /// Descriptors where none belong, or not exactly one with `HOME`.
    #[error("descriptors that do not belong {}", .0.words())]
    Descriptors(Stage),
    /// The descriptor of `HOME` was lost on its way into this process.
    #[error("this process has no room for another descriptor; raise its limit of open files (ulimit -n)")]
    NoRoom,
    /// Bytes of more than the one frame that the stage has.
    #[error("more than one frame {}", .0.words())]
    More(Stage),
    /// More frames of a kind than a run with these limits has use for.
    #[error("more than {most} {kind} frames; a run with these limits has use for fewer")]
    TooMany {
        /// Name of the kind.
        kind: &'static str,
        /// The bound.
        most: u64,
    },
    /// More bytes in frames of a kind.
    #[error("more than {most} bytes of {kind} frames")]
    TooManyBytes {
        /// Name of the kind.
        kind: &'static str,
        /// The bound.
        most: u64,
    },
}

/// The next frame, if it belongs to the stage.
fn next(frames: &mut FrameReader, stage: Stage, result_bytes: u64, output_bytes: u64) -> Result<Option<Frame>, Violation> {
    let bound = |kind: u8| {
        let most = SandboxMessage::bound(kind, result_bytes, output_bytes);
        most.filter(|_| stage.kinds().contains(&kind))
    };
    frames.next_frame(bound).map_err(|error| match error {
        FrameError::UnknownKind(kind) => name(kind).map_or(Violation::Frame(error), |kind| Violation::OutOfStage { kind, stage }),
        error => Violation::Frame(error),
    })
}

fn fault(frame: Frame) -> String {
    String::from_utf8_lossy(&frame.payload).into_owned()
}

/// The stage up to the seal. No code of packages and none of a program has run in the sandbox.
#[derive(Debug, Default)]
pub struct Sealed {
    frames: FrameReader,
}

/// What came of one receive in the stage [`Sealed`].
#[derive(Debug)]
pub enum FromSealed<D> {
    /// Not enough.
    Waiting(Sealed),
    /// The working folder.
    Home(D, Importing),
    /// A step of its set-up failed: in words.
    Fault(String),
}

impl Sealed {
    /// Takes in one receive. `HOME` arrives alone: the kernel ends a receive at a message with descriptors.
    pub fn hear<D>(mut self, bytes: &[u8], descriptors: Vec<D>, lost: Lost) -> Result<FromSealed<D>, Violation> {
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
            (kind::HOME, Some(home), None, Lost::Nothing) => Ok(FromSealed::Home(home, Importing::default())),
            (kind::HOME, None, None, Lost::Descriptors) => Err(Violation::NoRoom),
            (kind::FAULT, None, None, Lost::Nothing) => Ok(FromSealed::Fault(fault(frame))),
            _ => Err(Violation::Descriptors(STAGE)),
        }
    }
}

/// The stage up to the moment when the sandbox is parked. Code of packages may run.
#[derive(Debug, Default)]
pub struct Importing {
    frames: FrameReader,
}

/// What came of one receive in the stage [`Importing`].
#[derive(Debug)]
pub enum FromImporting {
    /// Not enough.
    Waiting(Importing),
    /// It says that it waits for its activation.
    Parked(Parked),
    /// A step of its set-up failed: in words, which may be those of a package.
    Fault(String),
}

impl Importing {
    /// Takes in one receive.
    pub fn hear(mut self, bytes: &[u8], lost: Lost) -> Result<FromImporting, Violation> {
        const STAGE: Stage = Stage::Importing;
        if lost == Lost::Descriptors {
            return Err(Violation::Descriptors(STAGE));
        }
        self.frames.extend(bytes);
        let Some(frame) = next(&mut self.frames, STAGE, 0, 0)? else { return Ok(FromImporting::Waiting(self)) };
        if frame.kind == kind::FAULT {
            return Ok(FromImporting::Fault(fault(frame)));
        }
        if self.frames.has_rest() {
            return Err(Violation::More(STAGE));
        }
        Ok(FromImporting::Parked(Parked(())))
    }
}

/// The stage up to the activation. Nothing may be said; nobody listens.
#[derive(Debug)]
pub struct Parked(());

impl Parked {
    /// What it means that something was said.
    pub const VIOLATION: Violation = Violation::More(Stage::Parked);

    /// The next stage, which begins before the first byte of the activation is sent.
    pub fn activate(self, limits: Limits) -> Active {
        Active { frames: FrameReader::default(), limits, heard: Heard::default() }
    }
}

/// The limits of a run that its frames are counted against.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the result.
    pub result_bytes: u64,
    /// Bytes of output and rich results.
    pub output_bytes: u64,
}

/// Annotations that are in order before any output has arrived. The library stops at fewer where the program has put something else in the place of its
/// output, and a socket buffer holds some hundred that are about bytes still to come.
const SPARE_ANNOTATIONS: u64 = 10_000;
/// Annotations for one byte of output: the entry, and the other stream's pause for it.
const ANNOTATIONS_A_BYTE: u64 = 2;
/// The drivers send at most 100.
const MOST_DENIALS: u64 = 1_000;
const MOST_DENIAL_BYTES: u64 = 64 << 20;
/// A day of twelve a second.
const MOST_CALLS: u64 = 1_000_000;
/// The drivers send at most 32.
const MAX_NOTES: u64 = 1_000;
/// The drivers send at most 2. Each may be as long as a result, and takes as long to parse.
const MAX_SETTLED: u64 = 4;
/// The shortest rich result: `{"type":"a/b","data":""}`.
const LEAST_RESULT_BYTES: u64 = 24;

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

/// The stage of the run. All of it may be the program's own words.
#[derive(Debug)]
pub struct Active {
    frames: FrameReader,
    limits: Limits,
    heard: Heard,
}

impl Active {
    /// Takes in one receive.
    pub fn extend(&mut self, bytes: &[u8], lost: Lost) -> Result<(), Violation> {
        if lost == Lost::Descriptors {
            return Err(Violation::Descriptors(Stage::Active));
        }
        self.frames.extend(bytes);
        Ok(())
    }

    /// The next whole message, if there is one. `output_bytes` have arrived on the streams so far.
    pub fn next_message(&mut self, output_bytes: u64) -> Result<Option<SandboxMessage>, Violation> {
        let Limits { result_bytes, output_bytes: most_output } = self.limits;
        let Some(frame) = next(&mut self.frames, Stage::Active, result_bytes, most_output)? else { return Ok(None) };
        let length = frame.payload.len() as u64;
        let message = SandboxMessage::parse(frame)?;
        let heard = &mut self.heard;
        match message {
            SandboxMessage::Annotate(_) => {
                count(
                    &mut heard.annotations,
                    "ANNOTATE",
                    SPARE_ANNOTATIONS.saturating_add(output_bytes.saturating_mul(ANNOTATIONS_A_BYTE)),
                )?;
            }
            SandboxMessage::Denied(_) => {
                count(&mut heard.denials, "DENIED", MOST_DENIALS)?;
                heard.denial_bytes += length;
                if heard.denial_bytes > MOST_DENIAL_BYTES {
                    return Err(Violation::TooManyBytes { kind: "DENIED", most: MOST_DENIAL_BYTES });
                }
            }
            // Its bytes count as output besides.
            SandboxMessage::Result(_) => count(&mut heard.results, "RESULT", 1_000 + most_output / LEAST_RESULT_BYTES)?,
            SandboxMessage::Call => count(&mut heard.calls, "CALL", MOST_CALLS)?,
            SandboxMessage::Note(_) => count(&mut heard.notes, "NOTE", MAX_NOTES)?,
            SandboxMessage::Settled(_) => count(&mut heard.settled, "SETTLED", MAX_SETTLED)?,
            SandboxMessage::Finished(_) => {}
        }
        Ok(Some(message))
    }
}

fn count(heard: &mut u64, kind: &'static str, most: u64) -> Result<(), Violation> {
    *heard += 1;
    if *heard > most { Err(Violation::TooMany { kind, most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
