//! The machine that runtimes and installers are fetched for.

use crate::error::ProvisionError;

/// A processor architecture that Node is published for and Belljar supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    X64,
    Arm64,
}

impl Arch {
    /// Returns the architecture of this machine. `what` is the requested program, for the error.
    pub fn host(what: &'static str) -> Result<Self, ProvisionError> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X64),
            "aarch64" => Ok(Self::Arm64),
            other => Err(ProvisionError::UnsupportedMachine { what, arch: other }),
        }
    }

    /// Returns the name that Node and npm use.
    pub fn name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "arm64",
        }
    }
}
