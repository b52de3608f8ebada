//! Releases of installers, known by the hashes of their archives.

use crate::integrity::Integrity;
use crate::platform::Arch;
use crate::version::Version;

/// A release of an installer with the hashes of its archives: a wheel for uv, the package
/// `@pnpm/exe.linux-*` for pnpm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Version of the release.
    pub version: Version,
    /// Hash of the archive for `x86_64`.
    pub x64: Integrity,
    /// Hash of the archive for `aarch64`.
    pub arm64: Integrity,
}

impl Release {
    pub(crate) fn integrity(&self, arch: Arch) -> Integrity {
        match arch {
            Arch::X64 => self.x64.clone(),
            Arch::Arm64 => self.arm64.clone(),
        }
    }
}
