//! Landlock on top of the mounts: which paths can be read, written and executed once more, by another mechanism; and, where the kernel has
//! scopes, no abstract socket and no signal across sandboxes.

use std::os::fd::AsFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, Scope,
};

use crate::error::{SetupError, Step};
use crate::grant::{open_existing, open_root};
use crate::sys::check;

/// The version of Landlock that the kernel has; 0 for none.
pub type Abi = u32;

/// Asks the kernel. 0 where Landlock is not built in or not enabled at boot.
pub fn abi() -> Abi {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: a null attribute of size 0 with this flag only asks for the version.
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, LANDLOCK_CREATE_RULESET_VERSION) };
    check(result).map_or(0, |version| version as Abi)
}

/// What a sandbox may do where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths<'a> {
    /// Whether anything at all can be executed.
    pub executes: bool,
    /// Whether files in the writable places can be executed.
    pub exec: bool,
    /// Granted paths that can be written.
    pub write: &'a [String],
}

/// Applies it to the calling thread, for good.
pub(crate) fn restrict(paths: &Paths<'_>) -> Result<(), SetupError> {
    if abi() == 0 {
        return Ok(());
    }
    build(paths).and_then(RulesetCreated::restrict_self).map(drop).map_err(|error| SetupError {
        step: Step::Landlock,
        errno: match error {
            RulesetError::RestrictSelf(landlock::RestrictSelfError::RestrictSelfCall { source, .. })
            | RulesetError::CreateRuleset(landlock::CreateRulesetError::CreateRulesetCall { source, .. }) => source.raw_os_error(),
            _ => None,
        }
        .unwrap_or(libc::EINVAL),
    })
}

fn build(paths: &Paths<'_>) -> Result<RulesetCreated, RulesetError> {
    // Best effort: an older kernel handles what it knows; the mounts and the filter stand in any case.
    let everything = AccessFs::from_all(ABI::V6);
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(everything)?;
    ruleset = ruleset.scope(Scope::AbstractUnixSocket)?.scope(Scope::Signal)?;
    let mut ruleset = ruleset.create()?;
    let mut read = AccessFs::from_read(ABI::V6) | AccessFs::IoctlDev;
    if !paths.executes {
        read &= !AccessFs::Execute;
    }
    let mut write = everything & !AccessFs::MakeBlock & !AccessFs::MakeChar;
    if !paths.exec {
        write &= !AccessFs::Execute;
    }
    let own = ["/tmp", "/home/user", "/dev/shm", "/dev/null", "/dev/zero", "/dev/full"].into_iter();
    for (path, access) in std::iter::once(("/", read)).chain(own.map(|path| (path, write))) {
        // What is not there needs no rule.
        if let Ok(fd) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
        }
    }
    for path in paths.write {
        // By no link: a part of the path may lie in another granted folder, where others put what they like.
        if let Ok(granted) = open_root().and_then(|root| open_existing(root.as_fd(), Path::new(path))) {
            ruleset = ruleset.add_rule(PathBeneath::new(granted, write))?;
        }
    }
    Ok(ruleset)
}
