//! The programs that are fetched where a machine has none of them, as data: what is kept of their archives, and how they name themselves.

use std::fmt;

use crate::error::ProvisionError;
use crate::platform::Arch;
use crate::request::Version;

/// A program that Belljar fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Node,
    /// The installer of npm packages. Since version 12 it is a program of its own, and no script that Node runs.
    Pnpm,
    /// The installer of Python packages.
    Uv,
}

impl Tool {
    /// Its name, which is also that of its file on PATH and of its folder in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pnpm => "pnpm",
            Self::Uv => "uv",
        }
    }

    /// Where its program lies in an installation.
    pub fn program(self) -> &'static str {
        match self {
            Self::Node => "bin/node",
            Self::Pnpm => "bin/pnpm",
            Self::Uv => "bin/uv",
        }
    }

    /// Its version, from what it prints when asked with `--version`.
    pub fn version_in(self, answer: &str) -> Option<Version> {
        let answer = answer.trim();
        match self {
            Self::Node => answer.strip_prefix('v')?.parse().ok(),
            Self::Pnpm => answer.parse().ok(),
            // `uv 0.13.9 (x86_64-unknown-linux-gnu)`, with the commit in the brackets too where it was built from a checkout.
            Self::Uv => answer.strip_prefix("uv ")?.split(' ').next()?.parse().ok(),
        }
    }
}

/// One version of a tool, for one processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Build {
    pub tool: Tool,
    pub version: Version,
    pub arch: Arch,
}

impl Build {
    /// The name of its folder among those of the tool.
    pub fn folder_name(self) -> String {
        format!("{}-{}", self.version, self.arch.name())
    }

    /// The only files that are kept of its archive: the program, its licences, and npm's description of a package.
    pub fn kept(self) -> Vec<Kept> {
        let program = |from: &str| Kept { from: from.to_owned(), to: self.tool.program(), mode: 0o755 };
        let text = |from: String, to| Kept { from, to, mode: 0o644 };
        let same = |name: &'static str| text(name.to_owned(), name);
        match self.tool {
            Tool::Node => vec![program("bin/node"), same("LICENSE"), same("package.json")],
            Tool::Pnpm => vec![program("pnpm"), same("LICENSE"), same("THIRD-PARTY-NOTICES.md"), same("package.json")],
            Tool::Uv => {
                let wheel = format!("uv-{}", self.version);
                let licence = |name| text(format!("{wheel}.dist-info/licenses/{name}"), name);
                vec![program(&format!("{wheel}.data/scripts/uv")), licence("LICENSE-APACHE"), licence("LICENSE-MIT")]
            }
        }
    }

    /// Why its archive is refused.
    pub fn refused(self, why: String) -> ProvisionError {
        ProvisionError::Archive { what: self.tool.name(), version: self.version, why }
    }

    /// Why it is of no use, although it is genuine.
    pub fn does_not_run(self, why: String) -> ProvisionError {
        ProvisionError::DoesNotRun { what: self.tool.name(), version: self.version, why }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.tool.name(), self.version)
    }
}

/// A file that is kept of an archive.
pub(crate) struct Kept {
    /// Its path in the archive, without the one folder that every npm package and distribution is in.
    pub from: String,
    /// Its path in the installation.
    pub to: &'static str,
    /// The mode that it gets.
    pub mode: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_says_its_version_in_its_own_way() {
        let version = Some(Version::new(0, 13, 9));
        assert_eq!(Tool::Uv.version_in("uv 0.13.9 (x86_64-unknown-linux-gnu)\n"), version);
        assert_eq!(Tool::Uv.version_in("uv 0.13.9\n"), version);
        assert_eq!(Tool::Node.version_in("v0.13.9\n"), version);
        assert_eq!(Tool::Pnpm.version_in("0.13.9\n"), version);
        for (tool, answer) in
            [(Tool::Uv, "0.13.9"), (Tool::Uv, "uvx 0.13.9"), (Tool::Node, "0.13.9"), (Tool::Pnpm, "v0.13.9"), (Tool::Pnpm, "")]
        {
            assert_eq!(tool.version_in(answer), None, "{tool:?}: {answer:?}");
        }
    }
}
