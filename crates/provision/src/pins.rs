//! The Node versions that Belljar pins, as data: what is fetched when nothing on the machine answers a request.

use crate::integrity::Integrity;
use crate::platform::Arch;
use crate::request::Version;

/// What an unspecific request gets.
pub(crate) const DEFAULT_MAJOR: u32 = 24;

/// For messages.
pub(crate) const SUPPORTED_IN_WORDS: &str = "22, 24 or 26";

/// A pinned version, with the `dist.integrity` that its npm packages were published with.
pub(crate) struct Pin {
    pub version: Version,
    x64: &'static str,
    arm64: &'static str,
}

const PINS: [Pin; 3] = [
    Pin {
        version: Version::new(22, 23, 3),
        x64: "sha512-qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==",
        arm64: "sha512-l3DAHZreylo+p9QXDtsOrjG2JXJqVzYXnAGmIQNOUNARcMppTO2cmewVQP+36tjJnSE+dzpMNtgW+c3oiDvXtA==",
    },
    Pin {
        version: Version::new(24, 21, 0),
        x64: "sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==",
        arm64: "sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==",
    },
    Pin {
        version: Version::new(26, 10, 0),
        x64: "sha512-OmAztarr1gK4PD+sNyoku4N5Q40d8eqMuLjNa/zRvxF33aCsVKVIQLs4V5HYPWSWWlMiTdkmbZE/6Phigma0hw==",
        arm64: "sha512-idArV/cmqW9M9ODyGlbOIiyxFourDh1mJB0SdKCdMbSZjjef9CLEN3o1/eE4yf+B0+5BD+F74MpTTHiB3XXTBQ==",
    },
];

/// Whether Belljar runs this major at all.
pub(crate) fn is_supported(major: u32) -> bool {
    PINS.iter().any(|pin| pin.version.major == major)
}

/// The pin of a supported major; an unsupported one cannot get here, and would get the default.
pub(crate) fn pin(major: u32) -> &'static Pin {
    PINS.iter().find(|pin| pin.version.major == major).unwrap_or(&PINS[1])
}

/// The pinned hash of the npm package of exactly this version.
pub(crate) fn integrity(version: Version, arch: Arch) -> Option<Integrity> {
    let pin = PINS.iter().find(|pin| pin.version == version)?;
    let text = match arch {
        Arch::X64 => pin.x64,
        Arch::Arm64 => pin.arm64,
    };
    Integrity::parse(text)
}

/// Why a major that is not in the table is refused.
pub(crate) fn why_unsupported(major: u32) -> &'static str {
    match major {
        0..=21 => "it is out of support upstream, and lacks a fix that makes it safe to fork",
        23 | 25 => "odd-numbered majors get no long-term support",
        _ => "it is newer than what this Belljar was tested with",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_has_a_strong_hash_of_its_own_for_both_machines() {
        let mut seen = Vec::new();
        for pin in &PINS {
            for arch in [Arch::X64, Arch::Arm64] {
                let hash = integrity(pin.version, arch).expect("a pin parses").to_string();
                assert!(hash.starts_with("sha512-"));
                assert!(!seen.contains(&hash), "{hash} is there twice");
                seen.push(hash);
            }
        }
        assert_eq!(pin(DEFAULT_MAJOR).version.major, DEFAULT_MAJOR);
    }
}
