//! The identity of an execution on a control channel.

use std::fmt;
use std::num::NonZeroU32;

/// The id of an execution, which the supervisor chooses and which is unique in its sandbox. A
/// program can read it, so it proves nothing about the origin of a frame; it only tells which
/// execution a frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionId(NonZeroU32);

impl ExecutionId {
    /// Length of the encoded id in bytes.
    pub const BYTES: usize = 4;
    /// The id of the first execution in a sandbox.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Returns the id with this number, or `None` for 0, which stands for no execution.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Returns the number of the id.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// Returns the encoded id.
    pub fn encode(self) -> [u8; Self::BYTES] {
        self.number().to_le_bytes()
    }

    /// Reads an encoded id.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Option<Self> {
        Self::new(u32::from_le_bytes(bytes))
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
