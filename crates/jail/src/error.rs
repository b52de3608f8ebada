//! The errors of a process that confines itself. Each is a step and an errno, which can be sent
//! from that process to the supervisor.

use std::fmt;
use std::io;

macro_rules! steps {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// A step of confinement. Its number is also the exit status of a process in which the step
        /// failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $($(#[doc = $doc])* $name = $code,)* }

        impl Step {
            /// Returns the step with this number.
            pub fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// Returns a description of the step for error messages, such as "mounting /proc".
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

steps! {
    /// Calling `unshare(CLONE_NEWNS)` and making all mounts private.
    PrivateMounts = 65, "creating a private mount namespace";
    /// Opening or cloning a bind source.
    BindSource = 66, "opening a bind mount's source";
    /// Setting the attributes of a bind mount.
    BindAttributes = 67, "setting the attributes of a bind mount";
    /// Moving a bind mount to its target.
    BindTarget = 68, "attaching a bind mount";
    /// Creating the root's own tmpfs, folders, files and links.
    RootTree = 69, "building the root file system";
    /// Calling `clone` with the flags of all namespaces.
    Namespaces = 70, "creating namespaces";
    /// Writing `/proc/PID/uid_map` and the related files.
    IdMaps = 71, "mapping user and group ids";
    /// Mounting a fresh `/proc`.
    Proc = 72, "mounting /proc";
    /// Calling `pivot_root` and detaching the old root.
    PivotRoot = 73, "changing the root";
    /// Setting user and group ids (`setgroups`, `setresgid`, `setresuid`).
    Identity = 74, "changing user and group";
    /// Clearing the bounding, ambient, permitted, effective and inheritable sets.
    Capabilities = 75, "dropping capabilities";
    /// Setting `PR_SET_NO_NEW_PRIVS` and `PR_SET_DUMPABLE`.
    Privileges = 76, "setting no_new_privs";
    /// Installing a seccomp filter.
    Seccomp = 77, "installing the seccomp filter";
    /// Executing the runtime with `execve`.
    Exec = 78, "executing the runtime";
    /// Setting the parent-death signal (`PR_SET_PDEATHSIG`).
    ParentDeath = 79, "setting the parent-death signal";
    /// Moving inherited and received descriptors to their numbers.
    Descriptors = 80, "setting up file descriptors";
    /// Running the runtime's own code after a fork.
    RuntimeFork = 81, "running the runtime's fork handlers";
    /// Calling `unshare` in a forked sandbox.
    OwnNamespaces = 82, "creating the sandbox's own namespaces";
    /// Mounting the tmpfs on `/tmp`, the home folder and `/dev/shm`.
    WritableSpace = 83, "mounting the writable file system";
    /// Bringing up the loopback interface.
    Loopback = 84, "bringing up the loopback interface";
    /// Setting resource limits with `setrlimit`.
    ResourceLimits = 85, "setting resource limits";
    /// Applying the Landlock ruleset.
    Landlock = 86, "applying the Landlock ruleset";
    /// Reseeding random number generators.
    Randomness = 87, "reseeding random number generators";
    /// Forking the sandbox's init.
    Init = 88, "starting the init process";
    /// Forking in the supervisor.
    Fork = 89, "forking";
    /// Writing to `cgroup.procs`.
    Cgroup = 91, "joining the control group";
    /// Writing to the files in `/proc/sys/user`.
    UserCounts = 92, "setting the limits in /proc/sys/user";
    /// Hiding the mount tree that no namespace lists.
    HiddenMounts = 93, "hiding the host's mounts";
    /// Using the pipe on which the process reports to the supervisor.
    Report = 90, "reporting to the supervisor";
}

/// A failed step of confinement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupError {
    /// The step that failed.
    pub step: Step,
    /// The errno of the failed system call.
    pub errno: i32,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.step.text(), io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for SetupError {}

/// Adds the step to the error of a failed system call.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Result<T, SetupError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step) -> Result<T, SetupError> {
        self.map_err(|error| SetupError {
            step,
            errno: error.raw_os_error().unwrap_or(libc::EINVAL),
        })
    }
}
