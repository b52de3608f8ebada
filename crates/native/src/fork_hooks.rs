//! The interface between a zygote and the runtime that it forks.

use belljar_jail::SetupError;

/// The work of a runtime before and after a fork.
pub trait ForkHooks {
    /// In the zygote, once, before the first fork: makes all of its memory survive a fork.
    fn prepare(&mut self) -> Result<(), SetupError>;
    /// Runs in the zygote before each fork.
    fn before_fork(&mut self) {}
    /// Runs in the zygote after each fork.
    fn after_fork_in_zygote(&mut self) {}
    /// Runs in the child before anything else of the runtime. In a sandbox, the descriptors are in
    /// place and the process is not confined yet.
    fn after_fork_in_child(&mut self) -> Result<(), SetupError>;
}
