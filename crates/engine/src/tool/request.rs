//! A tool to run, and how it can end.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use belljar_jail::HOME;

pub use belljar_jail::ToolNetwork;

use crate::process::{GroupLimits, Internet};

/// The path of a tool's home folder in the jail.
pub const TOOL_HOME: &str = HOME;

/// The access of a tool to a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderAccess {
    /// The tool can read the folder.
    Read,
    /// The tool can read and write the folder.
    Write,
}

/// A folder of the host that a tool can use.
#[derive(Clone, Debug)]
pub struct ToolFolder {
    /// Canonical path on the host, without symbolic links.
    pub outside: PathBuf,
    /// Absolute path in the jail.
    pub inside: PathBuf,
    /// Access of the tool.
    pub access: FolderAccess,
}

/// The resource limits of a tool.
#[derive(Clone, Copy, Debug)]
pub struct ToolLimits {
    /// Wall-clock time until the tool is stopped.
    pub time: Duration,
    /// Memory of all processes together, bytes.
    pub memory_bytes: u64,
    /// Number of processes and threads.
    pub processes: u32,
    /// Bytes that the tool may write outside of its folders.
    pub scratch_bytes: u64,
    /// Size of the largest file that the tool may write.
    pub file_bytes: u64,
}

/// A tool to run.
#[derive(Clone)]
pub struct Tool {
    /// Host path of the program, which has the same path in the jail.
    pub program: PathBuf,
    /// Arguments without the program's name.
    pub arguments: Vec<String>,
    /// The whole environment of the program.
    pub variables: BTreeMap<String, String>,
    /// Host paths, including the program, that are readable at the same paths in the jail.
    pub shows: Vec<PathBuf>,
    /// Folders of the host that the tool can use.
    pub folders: Vec<ToolFolder>,
    /// Small files that are created for the tool, by path in the jail.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// Network access of the tool.
    pub network: ToolNetwork,
    /// Resource limits of the tool.
    pub limits: ToolLimits,
}

/// Shows only the names of variables and files, because they contain credentials.
impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("variables", &self.variables.keys())
            .field("files", &self.files.iter().map(|(path, _)| path).collect::<Vec<_>>())
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// The end of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolEnd {
    /// The tool exited with this code.
    Exited(i32),
    /// The tool was stopped for this human-readable reason.
    Stopped(String),
}

/// A function that is called every 500 ms while a tool runs. It returns a reason to stop the tool,
/// or `None`. It runs on a blocking thread, and is dropped only after the tool has ended, so that
/// everything it holds lives as long as the tool.
pub type Check = Box<dyn FnMut() -> Option<String> + Send>;

impl Tool {
    pub(super) fn group_limits(&self) -> GroupLimits {
        let internet =
            if self.network == ToolNetwork::Host { Internet::Sockets } else { Internet::None };
        GroupLimits {
            memory_bytes: self.limits.memory_bytes,
            processes: self.limits.processes,
            internet,
        }
    }
}
