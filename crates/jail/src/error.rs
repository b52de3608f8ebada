//! What can fail while a process confines itself, in a shape that can cross from that process to the supervisor: a step and an errno.

use std::fmt;
use std::io;

macro_rules! steps {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// A step of confinement. Its number is also the exit status of a process that failed at it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $($(#[doc = $doc])* $name = $code,)* }

        impl Step {
            /// The step with this number.
            pub fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// What it does, for people.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

steps! {
    /// `unshare(CLONE_NEWNS)` and making all mounts private.
    PrivateMounts = 65, "making a private mount namespace";
    /// A bind source could not be opened or cloned.
    BindSource = 66, "opening what the sandbox may see";
    /// Its mount attributes could not be set.
    BindAttributes = 67, "making what the sandbox may see read-only";
    /// It could not be put in its place.
    BindTarget = 68, "placing what the sandbox may see";
    /// The root's own tmpfs, folders, files or links.
    RootTree = 69, "building the sandbox's root";
    /// `clone` with all namespaces.
    Namespaces = 70, "making the sandbox's namespaces";
    /// `/proc/PID/uid_map` and its like.
    IdMaps = 71, "mapping user ids";
    /// A fresh `/proc`.
    Proc = 72, "mounting /proc";
    /// `pivot_root` and detaching the old root.
    PivotRoot = 73, "changing the root";
    /// `setgroups`, `setresgid`, `setresuid`.
    Identity = 74, "changing user and group";
    /// Bounding, ambient, permitted, effective, inheritable sets.
    Capabilities = 75, "dropping capabilities";
    /// `PR_SET_NO_NEW_PRIVS` and `PR_SET_DUMPABLE`.
    Privileges = 76, "giving up new privileges";
    /// The seccomp filter.
    Seccomp = 77, "installing the system call filter";
    /// `execve` of the runtime.
    Exec = 78, "starting the runtime";
    /// `PR_SET_PDEATHSIG`.
    ParentDeath = 79, "tying its life to its parent's";
    /// Descriptors inherited or received.
    Descriptors = 80, "sorting out descriptors";
    /// The runtime's own code after a fork.
    RuntimeFork = 81, "telling the runtime that it was forked";
    /// `unshare` in a forked sandbox.
    OwnNamespaces = 82, "making the sandbox's own namespaces";
    /// The tmpfs on `/tmp`, home and `/dev/shm`.
    WritableSpace = 83, "mounting the sandbox's own space";
    /// The loopback interface.
    Loopback = 84, "bringing up loopback";
    /// `setrlimit`.
    ResourceLimits = 85, "setting resource limits";
    /// The Landlock ruleset.
    Landlock = 86, "applying Landlock";
    /// Reseeding of random number generators.
    Randomness = 87, "reseeding randomness";
    /// The fork of the sandbox's init.
    Init = 88, "starting the sandbox's init";
    /// `fork` in the supervisor.
    Fork = 89, "forking";
    /// `cgroup.procs`.
    Cgroup = 91, "putting it into its control group";
    /// `/proc/sys/user`.
    UserCounts = 92, "limiting what the kernel counts for each user";
    /// The mount tree that no namespace lists.
    HiddenMounts = 93, "hiding the host's mounts";
    /// The pipe on which it is reported.
    Report = 90, "reporting to the supervisor";
}

/// A step that failed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupError {
    /// The step.
    pub step: Step,
    /// The errno.
    pub errno: i32,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.step.text(), io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for SetupError {}

/// Names the step of a failed call.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Result<T, SetupError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step) -> Result<T, SetupError> {
        self.map_err(|error| SetupError { step, errno: error.raw_os_error().unwrap_or(libc::EINVAL) })
    }
}
