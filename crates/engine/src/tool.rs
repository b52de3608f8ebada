//! Tools: trusted programs that process untrusted data, such as an installer that unpacks archives.
//! Each runs in a jail of its own under limits, and sees only the parts of the host that it is
//! given.

mod output;
mod request;
mod root;
mod run;

pub use request::{
    Check, FolderAccess, TOOL_HOME, Tool, ToolEnd, ToolFolder, ToolLimits, ToolNetwork,
};
pub(crate) use run::run;
