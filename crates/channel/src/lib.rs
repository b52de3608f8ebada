//! Framing and bounds of what crosses between the supervisor and its zygotes and sandboxes.
//!
//! Three channels. The *zygote channel* is a sequenced-packet socket between two trusted parties. The *control channel* is a stream socket to
//! one sandbox, which is hostile as soon as code of packages or of a program runs in it: every length is checked before anything is allocated for it,
//! and [`stage`] says what may be said when. A *call* is a stream socket
//! that a sandbox has asked for over its control channel, hostile too; with the feature `calls`.

#![forbid(unsafe_code)]

mod boot;
#[cfg(feature = "calls")]
mod call;
mod frame;
mod packet;
mod sandbox;
pub mod stage;
mod zygote;

pub use boot::BootFacts;
#[cfg(feature = "calls")]
pub use call::{
    BodyReader, CallAnswer, CallError, CallErrorName, CallProtocolError, CallRequest, END_OF_BODY, LENGTH_BYTES, ListWriter,
    MOST_CALL_HEADER_BYTES, MOST_CHUNK_BYTES, ObjectHead, chunk_header, decode_header, encode_call_header, header_length,
};
pub use frame::{Frame, FrameError, FrameReader, HEADER_BYTES, encode_header};
pub use packet::{Lost, MOST_GRANTS, Packet, receive_bytes, receive_order, receive_packet, send_packet};
pub use sandbox::{Annotation, CallOpening, SandboxMessage, kind};
pub use zygote::{ExitReport, FailedStep, ForkOrder, ZygoteReport};
