//! Probes the isolation that this kernel and this environment allow, by trying it in a short-lived
//! child.

use crate::error::{At, SetupError, Step};
use crate::identity::IdMap;
use crate::root::RootPlan;
use crate::sys;

/// The result of a probe of the namespaces, mounts and ids that every sandbox needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceProbe {
    /// All steps work.
    Works,
    /// A step failed.
    Fails(SetupError),
}

/// Tries to create all namespaces, map ids, build a small root, mount `/proc` and enter the root.
pub fn probe_namespaces() -> NamespaceProbe {
    use std::os::fd::{AsFd, OwnedFd};

    let attempt = || -> Result<(), SetupError> {
        let null: OwnedFd = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .at(Step::Descriptors)?
            .into();
        let launch = crate::Launch {
            root: &RootPlan::default(),
            ids: IdMap::available(),
            executable: c"/nothing".to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            streams: [null.as_fd(), null.as_fd(), null.as_fd()],
            channel: null.as_fd(),
            purpose: crate::Purpose::Zygote,
            cgroup: &[],
        };
        match launch.launch() {
            Ok(launched) => {
                // This cannot happen, because there is nothing to execute. End it nevertheless.
                let _ = sys::kill_pidfd(launched.pidfd.as_fd());
                // SAFETY: a null status is allowed; it is our child.
                unsafe { libc::waitpid(launched.pid, std::ptr::null_mut(), 0) };
                Ok(())
            }
            // Only the last step failed, so all others work.
            Err(error)
                if error.setup().is_some_and(|setup| {
                    setup.step == Step::Exec && setup.errno == libc::ENOENT
                }) =>
            {
                Ok(())
            }
            Err(error) => {
                Err(error.setup().unwrap_or(SetupError { step: Step::Report, errno: libc::EIO }))
            }
        }
    };
    match attempt() {
        Ok(()) => NamespaceProbe::Works,
        Err(error) => NamespaceProbe::Fails(error),
    }
}
