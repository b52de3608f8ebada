//! The access of a sandbox to the network and to other programs, in the terms that policies, the
//! messages to zygotes and the jail share.

#![forbid(unsafe_code)]

/// The network of a sandbox, from the least access to the most. The network of the host is not
/// among them, so no policy can name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Network {
    /// No network: Internet sockets cannot be created.
    #[default]
    None = 0,
    /// A network namespace of the sandbox's own with a loopback interface and nothing else.
    Loopback = 1,
    /// A network of the hosts that a policy names, next to the loopback interface. This version
    /// cannot enforce such a list: no JSON form of a policy reads as this value, validation refuses
    /// it, and the jail confines no process with it. Grants of networks by host name will produce
    /// it.
    Granted = 2,
}

impl Network {
    /// All values, from the least access to the most.
    pub const ALL: [Self; 3] = [Self::None, Self::Loopback, Self::Granted];
}

/// The right to execute files: to start other programs, and to map files as executable code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exec {
    /// Files cannot be executed.
    #[default]
    Denied = 0,
    /// Files can be executed.
    Granted = 1,
}

impl Exec {
    /// All values, from the least access to the most.
    pub const ALL: [Self; 2] = [Self::Denied, Self::Granted];
}
