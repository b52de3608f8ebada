//! The versions of Node, uv and pnpm that Belljar pins. They are fetched if this machine has no
//! suitable ones.

use crate::integrity::Integrity;
use crate::platform::Arch;
use crate::release::Release;
use crate::version::Version;

/// The major version of Node for a request without one.
pub(crate) const DEFAULT_MAJOR: u32 = 24;

/// A pinned Node with the `dist.integrity` of its npm packages.
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

/// Returns whether Belljar supports a major version of Node.
pub(crate) fn is_supported(major: u32) -> bool {
    PINS.iter().any(|pin| pin.version.major == major)
}

/// Returns the pin of a supported major version. Requests for unsupported versions are rejected
/// earlier, and would get the default.
pub(crate) fn pin(major: u32) -> &'static Pin {
    PINS.iter().find(|pin| pin.version.major == major).unwrap_or(&PINS[1])
}

/// The minor versions of `CPython` for a request without one, in order of preference. The first is
/// tested most, and nearly all packages have wheels for it. The newest one comes next. A later
/// version has to be requested.
pub(crate) const PYTHON_MINORS: [u32; 5] = [13, 14, 12, 11, 10];

/// Returns the version that is fetched for a minor version: the newest patch that the pinned uv
/// knows and has the hash of.
pub(crate) fn python(minor: u32) -> Option<Version> {
    let patch = match minor {
        10 => 22,
        11 => 18,
        12 => 16,
        13 => 18,
        14 => 10,
        15 => 2,
        _ => return None,
    };
    Some(Version::new(3, minor, patch))
}

/// The oldest uv that supports everything that Belljar uses. Up to 0.9.16, `exclude-newer` takes
/// only dates and no durations. The other features are older: `--no-build`, and a `uv.lock` of any
/// revision of its version 1.
pub(crate) const OLDEST_UV: Version = Version::new(0, 9, 17);

/// The oldest supported pnpm, which is the first that is a program of its own and not a script for
/// some Node.
pub(crate) const OLDEST_PNPM: Version = Version::new(12, 0, 0);

/// Returns the pinned uv with the SHA-256 of its wheels.
pub(crate) fn uv() -> Release {
    let published = |hex| Integrity::from_sha256(hex).expect("the pins are read by a test");
    Release {
        version: Version::new(0, 13, 9),
        x64: published("d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19"),
        arm64: published("5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe"),
    }
}

/// Returns the name of uv's wheel for the oldest C library that it supports. The wheel for aarch64
/// is also the one for musl.
pub(crate) fn uv_wheel(version: Version, arch: Arch) -> String {
    let platform = match arch {
        Arch::X64 => "manylinux_2_17_x86_64.manylinux2014_x86_64",
        Arch::Arm64 => "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
    };
    format!("uv-{version}-py3-none-{platform}.whl")
}

/// Returns the pinned pnpm with the `dist.integrity` of its packages `@pnpm/exe.linux-*`.
pub(crate) fn pnpm() -> Release {
    let published = |text| Integrity::parse(text).expect("the pins are read by a test");
    Release {
        version: Version::new(12, 21, 0),
        x64: published(
            "sha512-8eufCjHXspKbNS/kh8q4Q0gqJoOuvC4Q5pgos6XS8By/nAMtP+jf8F1Cw9er840kfAX+PJ/ts+A9qnLE91rvXQ==",
        ),
        arm64: published(
            "sha512-4Oj/iF2TDCe2lcH0n4TupPR5sSdrNLclJB6xBElLMPCUOAvBhdf2rRlSaO5M4erJ6g4Fyy7YTXTpcmfFsKyxEA==",
        ),
    }
}

/// Returns the pinned hash of Node's npm package of exactly this version.
pub(crate) fn integrity(version: Version, arch: Arch) -> Option<Integrity> {
    let pin = PINS.iter().find(|pin| pin.version == version)?;
    let text = match arch {
        Arch::X64 => pin.x64,
        Arch::Arm64 => pin.arm64,
    };
    Integrity::parse(text)
}

/// Returns the reason why a major version is not supported.
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
        for release in [uv(), pnpm()] {
            assert_ne!(release.x64, release.arm64);
        }
        assert!(OLDEST_UV <= uv().version && OLDEST_PNPM <= pnpm().version);
        assert_eq!(pin(DEFAULT_MAJOR).version.major, DEFAULT_MAJOR);
    }
}
