//! Zygotes: booted runtimes that fork sandboxes.

mod fork_server;
mod uids;

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use belljar_channel::{ForkOrder, ZygoteReport};
use belljar_jail::{FIRST_UID, IdMap, Launch, Purpose, owner_namespace};
use belljar_protocol::{Exec, Network, Start};

use crate::environment::Preload;
use crate::error::{EngineError, NotReady, system};
use crate::grants::Grant;
use crate::process::{JailedProcess, Launcher, pipe};
use crate::root::{self, Boot};
use crate::runtime::Runtime;
use crate::spec::SandboxSpec;
use fork_server::{ForkServer, Forked};
use uids::{UidLease, Uids};

/// The time that a runtime may take to boot. Emulated machines need most of it.
pub(crate) const BOOT_TIME: Duration = Duration::from_mins(1);

/// A booted, jailed runtime that forks sandboxes. It is killed together with all its sandboxes when
/// the last handle is dropped.
#[derive(Debug)]
pub(crate) struct Zygote {
    launcher: Arc<Launcher>,
    process: JailedProcess,
    server: Arc<ForkServer>,
    /// Set if its scout came back.
    pub(crate) has_learned: bool,
    /// The reason why modules are preloaded in its sandboxes and not in the zygote, if they were
    /// meant for the zygote.
    pub(crate) why_not_preloaded: Option<String>,
    ids: IdMap,
    uids: Uids,
    /// For each uid of a sandbox with grants: the user namespace that maps the granting user's
    /// files to this uid.
    owners: Mutex<HashMap<u32, Arc<OwnedFd>>>,
    booted: Instant,
    forks: AtomicU64,
}

/// The result of booting a zygote.
enum Booted {
    Ready(Box<Zygote>),
    /// The reason why the runtime must not be forked.
    NotToBeForked(String),
}

impl Zygote {
    /// Boots a zygote, which takes some tens of milliseconds. If it must not be forked because of
    /// modules that it has imported, boots one whose sandboxes import them. The future must not be
    /// dropped before it is done: the launch would continue, and nothing would reap the process.
    pub(crate) async fn boot(
        launcher: &Arc<Launcher>,
        spec: SandboxSpec,
    ) -> Result<Arc<Self>, EngineError> {
        let why = match Self::boot_once(launcher, spec.clone()).await? {
            Booted::Ready(zygote) => return Ok(zygote.serve()),
            Booted::NotToBeForked(why) => why,
        };
        match Self::boot_once(launcher, spec.preloading_in_sandbox()).await? {
            Booted::Ready(mut zygote) => {
                zygote.why_not_preloaded = Some(why);
                Ok(zygote.serve())
            }
            Booted::NotToBeForked(why) => Err(NotReady::CannotBeForked(why).into()),
        }
    }

    fn serve(self: Box<Self>) -> Arc<Self> {
        tokio::spawn(Arc::clone(&self.server).listen());
        Arc::from(self)
    }

    async fn boot_once(launcher: &Arc<Launcher>, spec: SandboxSpec) -> Result<Booted, EngineError> {
        let SandboxSpec { runtime, grants, environment, .. } = spec;
        let ids = IdMap::available();
        let plan = root::plan(
            &runtime,
            &grants,
            environment.as_deref(),
            Boot {
                start: Start::Fork,
                ids,
                exec: Exec::Denied,
                network: Network::None,
                memory_bytes: 0,
            },
        );
        let (server, theirs) = ForkServer::new()?;
        let (diagnostics, diagnostics_write) = pipe()?;
        // A zygote serves many sandboxes, and is limited by none of theirs.
        let mut process = JailedProcess::reserve(launcher, None)?;
        let launch = move |_: &[OwnedFd]| {
            let null = File::options()
                .read(true)
                .write(true)
                .open("/dev/null")
                .map_err(system("opening /dev/null"))?;
            let launch = Launch {
                root: &plan,
                ids,
                executable: CString::new(runtime.executable.as_os_str().as_encoded_bytes())
                    .unwrap_or_default(),
                arguments: runtime.arguments(Start::Fork),
                environment: Runtime::environment(Exec::Denied),
                streams: [null.as_fd(), null.as_fd(), diagnostics_write.as_fd()],
                channel: theirs.as_fd(),
                purpose: Purpose::Zygote,
                cgroup: &[],
            };
            launch.launch().map_err(EngineError::Launch)
        };
        process.launch(launch).await?;
        let has_learned = match tokio::time::timeout(BOOT_TIME, server.next_report()).await {
            Ok(Some((ZygoteReport::Booted { has_learned }, _))) => has_learned,
            Ok(Some((ZygoteReport::NotToBeForked { why }, _))) => {
                let why = String::from_utf8_lossy(&why).trim_end_matches('\0').to_owned();
                return Ok(Booted::NotToBeForked(why));
            }
            _ => {
                drop(process);
                return Err(did_not_boot(&diagnostics).into());
            }
        };
        Ok(Booted::Ready(Box::new(Self {
            launcher: Arc::clone(launcher),
            process,
            server: Arc::new(server),
            has_learned,
            why_not_preloaded: None,
            ids,
            uids: Uids::new(ids),
            owners: Mutex::default(),
            booted: Instant::now(),
            forks: AtomicU64::new(0),
        })))
    }

    /// Forks a sandbox.
    pub(crate) async fn fork(
        &self,
        order: ForkOrder,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Forked, EngineError> {
        self.forks.fetch_add(1, Ordering::Relaxed);
        self.server.fork(order, descriptors).await
    }

    /// Returns the mounts of the granted paths for one sandbox. They map the granting user's files
    /// to the sandbox's user. If belljar runs as an ordinary user, all sandboxes have the same uid
    /// and no such mounts can be created: the zygote already has the mounts.
    pub(crate) async fn grant_mounts(
        &self,
        spec: &SandboxSpec,
        uid: u32,
    ) -> Result<Vec<OwnedFd>, EngineError> {
        if spec.grants.is_empty() || self.ids != IdMap::Own {
            return Ok(Vec::new());
        }
        let owner = self.owner(uid).await;
        let mount =
            |grant: &Grant| grant.mount(spec.exec, owner.as_ref().map(|owner| owner.as_fd()));
        spec.grants
            .iter()
            .map(mount)
            .collect::<Result<_, _>>()
            .map_err(system("mounting a granted path"))
    }

    /// Returns the user namespace that maps the supervisor's files to a sandbox's user, or none if
    /// this machine does not support it. Without one, the sandbox has the access of "others".
    async fn owner(&self, uid: u32) -> Option<Arc<OwnedFd>> {
        let owners = || self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = owners().get(&uid) {
            return Some(Arc::clone(known));
        }
        let host_uid = self.ids.host_uid(self.pid()) + (uid - FIRST_UID);
        let made = self.launcher.run(move || owner_namespace(host_uid)).await.ok()?;
        let made = made.ok().map(Arc::new)?;
        owners().insert(uid, Arc::clone(&made));
        Some(made)
    }

    /// Leases a uid to one sandbox. If belljar runs as an ordinary user, all sandboxes share one.
    pub(crate) fn lease_uid(&self) -> Result<UidLease, EngineError> {
        let lease = self.uids.lease();
        lease.ok_or_else(|| NotReady::TooManySandboxes(self.ids.leasable()).into())
    }

    /// Returns the host's uid for a leased uid.
    pub(crate) fn host_uid(&self, leased: u32) -> u32 {
        self.ids.host_uid(self.pid()) + (leased - FIRST_UID)
    }

    /// Returns the process that has preloaded the modules that are meant for a zygote.
    pub(crate) fn preload(&self) -> Preload {
        match self.why_not_preloaded {
            None => Preload::InZygote,
            Some(_) => Preload::InSandbox,
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.server.is_alive()
    }

    pub(crate) fn forks(&self) -> u64 {
        self.forks.load(Ordering::Relaxed)
    }

    pub(crate) fn age(&self) -> Duration {
        self.booted.elapsed()
    }

    /// Returns the process id in the supervisor's namespace.
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }
}

/// Returns the error of a runtime that ended while it booted, with the text that it wrote to its
/// standard error.
pub(crate) fn did_not_boot(stderr: &OwnedFd) -> NotReady {
    let _ = rustix::io::ioctl_fionbio(stderr, true);
    let mut buffer = vec![0; 4096];
    let length = rustix::io::read(stderr, &mut buffer).unwrap_or(0);
    let last_words = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
    NotReady::DidNotBoot { last_words }
}
