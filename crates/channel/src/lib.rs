//! Framing and bounds of what crosses between the supervisor and its zygotes and sandboxes.
//!
//! Two channels. The *zygote channel* is a sequenced-packet socket between two trusted parties. The *control channel* is a stream socket to
//! one sandbox, which is hostile from the moment it is activated: every length is checked before anything is allocated for it.

#![forbid(unsafe_code)]

mod boot;
mod frame;
mod packet;
mod sandbox;
mod zygote;

pub use boot::BootFacts;
pub use frame::{Frame, FrameError, FrameReader, HEADER_BYTES, encode_header};
pub use packet::{receive_packet, send_packet};
pub use sandbox::{Annotation, SandboxMessage, kind};
pub use zygote::{ExitReport, FailedStep, ForkOrder, ZygoteReport};
