//! Landlock, which enforces the readable, writable and executable paths again, by another mechanism
//! than the mounts. If the kernel has scopes, it also prevents abstract sockets and signals across
//! sandboxes.

use std::os::fd::AsFd;
use std::path::Path;

use belljar_access::Exec;
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

use crate::error::{SetupError, Step};
use crate::mount_point::{open_existing, open_root};
use crate::sys::check;

/// The kernel's version of Landlock, or 0 for none.
pub type Abi = u32;

/// Returns the kernel's version of Landlock, or 0 if it is not built in or not enabled at boot.
pub fn abi() -> Abi {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: a null attribute of size 0 with this flag only asks for the version.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    check(result).map_or(0, |version| version as Abi)
}

/// The access of a sandbox to paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths<'a> {
    /// Right to execute the files that can only be read.
    pub exec_read: Exec,
    /// Right to execute the files in the writable places.
    pub exec_written: Exec,
    /// The writable granted paths.
    pub write: &'a [String],
}

/// Restricts the calling thread permanently.
pub(crate) fn restrict(paths: &Paths<'_>) -> Result<(), SetupError> {
    if abi() == 0 {
        return Ok(());
    }
    build(paths).and_then(RulesetCreated::restrict_self).map(drop).map_err(|error| SetupError {
        step: Step::Landlock,
        errno: match error {
            RulesetError::RestrictSelf(landlock::RestrictSelfError::RestrictSelfCall {
                source,
                ..
            })
            | RulesetError::CreateRuleset(landlock::CreateRulesetError::CreateRulesetCall {
                source,
                ..
            }) => source.raw_os_error(),
            _ => None,
        }
        .unwrap_or(libc::EINVAL),
    })
}

fn build(paths: &Paths<'_>) -> Result<RulesetCreated, RulesetError> {
    // Best effort: an older kernel enforces the rights that it knows. The mounts and the seccomp
    // filter apply in any case.
    let everything = AccessFs::from_all(ABI::V6);
    let mut ruleset =
        Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(everything)?;
    ruleset = ruleset.scope(Scope::AbstractUnixSocket)?.scope(Scope::Signal)?;
    let mut ruleset = ruleset.create()?;
    let mut read = AccessFs::from_read(ABI::V6) | AccessFs::IoctlDev;
    if paths.exec_read == Exec::Denied {
        read &= !AccessFs::Execute;
    }
    let mut write = everything & !AccessFs::MakeBlock & !AccessFs::MakeChar;
    if paths.exec_written == Exec::Denied {
        write &= !AccessFs::Execute;
    }
    let own = ["/tmp", "/home/user", "/dev/shm", "/dev/null", "/dev/zero", "/dev/full"].into_iter();
    for (path, access) in std::iter::once(("/", read)).chain(own.map(|path| (path, write))) {
        // A missing path needs no rule.
        if let Ok(fd) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
        }
    }
    for path in paths.write {
        // Without following symbolic links: a part of the path may be inside another granted
        // folder, in which others can create links.
        if let Ok(granted) =
            open_root().and_then(|root| open_existing(root.as_fd(), Path::new(path)))
        {
            ruleset = ruleset.add_rule(PathBeneath::new(granted, write))?;
        }
    }
    Ok(ruleset)
}
