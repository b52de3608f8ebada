//! The bounds of calls whose programs run on a server, as the flags of `belljar mcp` set them.

use belljar_protocol::{Policy, RequestedLimits};

/// The bounds that the operator of this process sets for runs on a server, besides those of the
/// server itself.
#[derive(Debug, Default)]
pub struct RemoteBounds {
    /// The grants of a call that requests none, and the most that a call can request.
    pub policy: Policy,
    /// The limits of a call that requests none, and the most that a call can request. The server
    /// bounds the omitted ones alone.
    pub limits: RequestedLimits,
    /// The use of packages.
    pub packages: RemotePackages,
}

/// The use of packages by runs on a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemotePackages {
    /// All packages that the server allows.
    #[default]
    OfServer,
    /// No packages, whatever a program imports.
    None,
}
