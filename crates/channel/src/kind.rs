//! The kinds of frames, in both directions.

/// Sandbox to supervisor: the sandbox is parked and waits for its activation. No payload.
pub const READY: u8 = 1;
/// Sandbox to supervisor: describes the next bytes of a stream. See [`crate::Annotation`].
pub const ANNOTATE: u8 = 2;
/// Sandbox to supervisor: a rich result, JSON.
pub const RESULT: u8 = 3;
/// Sandbox to supervisor: a refused action, JSON.
pub const DENIED: u8 = 4;
/// Sandbox to supervisor: the end of an execution, JSON. It is the last frame of its execution.
pub const EXECUTED: u8 = 5;
/// Sandbox to supervisor, only before the activation: a step of the set-up failed. Text.
pub const FAULT: u8 = 6;
/// Sandbox to supervisor: a request for the socket of a call. No payload. The answers, which are
/// [`CALL_OPENED`] frames, arrive in the order of the requests.
pub const CALL: u8 = 7;
/// Sandbox to supervisor, right after the seal: carries the descriptor of the working folder. No
/// payload.
pub const HOME: u8 = 8;
/// Sandbox to supervisor: a note for the author of the program, text. It has at most 1,000 bytes,
/// and 32 notes are kept.
pub const NOTE: u8 = 9;
/// Sandbox to supervisor: the result is available, but something is still open. JSON with the value
/// and the pending things. The last such frame counts.
pub const SETTLED: u8 = 10;
/// Sandbox to supervisor: the end of the conversation, after which the sandbox sends nothing. No
/// payload.
pub const GOODBYE: u8 = 11;
/// Supervisor to sandbox: a file. The payload is two bytes with the length of the path, the path,
/// and eight bytes with the size; as many raw bytes follow.
pub const FILE: u8 = 16;
/// Supervisor to sandbox: what to execute, JSON. The first such frame activates the sandbox.
pub const EXECUTE: u8 = 17;
/// Supervisor to sandbox: the answer to a [`CALL`]. See [`crate::CallOpening`].
pub const CALL_OPENED: u8 = 18;

/// Returns whether frames of a kind belong to an execution, whose id they carry.
pub fn is_of_execution(kind: u8) -> bool {
    matches!(kind, ANNOTATE | RESULT | DENIED | EXECUTED | CALL | NOTE | SETTLED | FILE | EXECUTE)
}
