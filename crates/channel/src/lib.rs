//! Formats and bounds of the messages between the supervisor and its zygotes and sandboxes.
//!
//! There are three channels. The *zygote channel* is a sequenced-packet socket between two trusted
//! processes. The *control channel* is a stream socket to one sandbox, which is hostile as soon as
//! code of packages or of a program runs in it: every length is checked before anything is
//! allocated for it, and [`stage`] defines which messages are allowed when. A *call* is a stream
//! socket that a sandbox requested over its control channel, and is hostile, too (feature `calls`).

#![forbid(unsafe_code)]

mod boot;
#[cfg(feature = "calls")]
mod call;
mod execution;
mod frame;
pub mod kind;
mod packet;
mod sandbox;
pub mod stage;
mod zygote;

pub use boot::BootFacts;
#[cfg(feature = "calls")]
pub use call::{
    BodyReader, CallAnswer, CallError, CallErrorName, CallProtocolError, CallRequest, END_OF_BODY,
    LENGTH_BYTES, ListWriter, MAX_CALL_HEADER_BYTES, MAX_CHUNK_BYTES, ObjectHead, chunk_header,
    decode_header, encode_call_header, header_length,
};
pub use execution::ExecutionId;
pub use frame::{
    EXECUTION_HEADER_BYTES, Frame, FrameError, FrameReader, HEADER_BYTES, encode_execution_header,
    encode_header,
};
pub use packet::{
    Lost, MAX_GRANTS, Packet, receive_bytes, receive_order, receive_packet, send_packet,
};
pub use sandbox::{Annotation, CallOpening, SandboxMessage};
pub use zygote::{ExitReport, FailedStep, ForkOrder, ZygoteReport};
