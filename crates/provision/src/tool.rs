//! The programs that Belljar fetches if a machine has none: the files that are kept of their
//! archives, and the form of their version.

use std::fmt;

use crate::error::ProvisionError;
use crate::platform::Arch;
use crate::version::Version;

/// A program that Belljar fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Node,
    /// The installer of npm packages. Since version 12, it is a program of its own and not a script
    /// for Node.
    Pnpm,
    /// The installer of Python packages.
    Uv,
}

impl Tool {
    /// Returns the name, which is also that of its file on PATH and of its folder in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pnpm => "pnpm",
            Self::Uv => "uv",
        }
    }

    /// Returns the path of the program in an installation.
    pub fn program(self) -> &'static str {
        match self {
            Self::Node => "bin/node",
            Self::Pnpm => "bin/pnpm",
            Self::Uv => "bin/uv",
        }
    }

    /// Returns the version in the output of `--version`.
    pub fn version_in(self, answer: &str) -> Option<Version> {
        let answer = answer.trim();
        match self {
            Self::Node => answer.strip_prefix('v')?.parse().ok(),
            Self::Pnpm => answer.parse().ok(),
            // `uv 0.13.9 (x86_64-unknown-linux-gnu)`. If it was built from a checkout, the
            // parentheses contain the commit too.
            Self::Uv => answer.strip_prefix("uv ")?.split(' ').next()?.parse().ok(),
        }
    }
}

/// A version of a tool for one processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Build {
    pub tool: Tool,
    pub version: Version,
    pub arch: Arch,
}

impl Build {
    /// Returns the name of its folder among those of the tool.
    pub fn folder_name(self) -> String {
        format!("{}-{}", self.version, self.arch.name())
    }

    /// Returns the only files that are kept of its archive: the program, its licences, and npm's
    /// description of a package.
    pub fn kept(self) -> Vec<Kept> {
        let program =
            |from: &str| Kept { from: from.to_owned(), to: self.tool.program(), mode: 0o755 };
        let text = |from: String, to| Kept { from, to, mode: 0o644 };
        let same = |name: &'static str| text(name.to_owned(), name);
        match self.tool {
            Tool::Node => vec![program("bin/node"), same("LICENSE"), same("package.json")],
            Tool::Pnpm => vec![
                program("pnpm"),
                same("LICENSE"),
                same("THIRD-PARTY-NOTICES.md"),
                same("package.json"),
            ],
            Tool::Uv => {
                let wheel = format!("uv-{}", self.version);
                let licence = |name| text(format!("{wheel}.dist-info/licenses/{name}"), name);
                vec![
                    program(&format!("{wheel}.data/scripts/uv")),
                    licence("LICENSE-APACHE"),
                    licence("LICENSE-MIT"),
                ]
            }
        }
    }

    /// Returns the error of a rejected archive.
    pub fn refused(self, why: String) -> ProvisionError {
        ProvisionError::Archive { what: self.tool.name(), version: self.version, why }
    }

    /// Returns the error of a genuine program that does not run.
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
    /// Path in the archive, without the single folder that contains every npm package and
    /// distribution.
    pub from: String,
    /// Path in the installation.
    pub to: &'static str,
    /// Mode of the installed file.
    pub mode: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_each_tool_is_parsed_from_its_output() {
        let version = Some(Version::new(0, 13, 9));
        assert_eq!(Tool::Uv.version_in("uv 0.13.9 (x86_64-unknown-linux-gnu)\n"), version);
        assert_eq!(Tool::Uv.version_in("uv 0.13.9\n"), version);
        assert_eq!(Tool::Node.version_in("v0.13.9\n"), version);
        assert_eq!(Tool::Pnpm.version_in("0.13.9\n"), version);
        for (tool, answer) in [
            (Tool::Uv, "0.13.9"),
            (Tool::Uv, "uvx 0.13.9"),
            (Tool::Node, "0.13.9"),
            (Tool::Pnpm, "v0.13.9"),
            (Tool::Pnpm, ""),
        ] {
            assert_eq!(tool.version_in(answer), None, "{tool:?}: {answer:?}");
        }
    }
}
