//! The supervisor's side of a zygote: booting it, ordering forks, hearing how they ended.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use belljar_channel::{ExitReport, ForkOrder, Lost, Packet, ZygoteReport, receive_packet, send_packet};
use belljar_jail::{Exec, FIRST_UID, IdMap, Launch, Launched, PidFd, Purpose, kill_pidfd, owner_namespace, reap};
use belljar_protocol::Start;
use rustix::fd::BorrowedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::decision::Exit;
use crate::error::{EngineError, system};
use crate::grants::Grant;
use crate::leaving::Leaving;
use crate::root::{self, Boot};
use crate::runtime::Runtime;
use crate::sandbox::SandboxSpec;
use crate::spawner::Spawner;

/// How long a runtime may take to boot. Emulated machines need most of it.
pub(crate) const BOOT_TIME: Duration = Duration::from_mins(1);

/// How a sandbox's first process ended, and what it and its waited-for children used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) peak_resident_bytes: u64,
}

impl Ended {
    pub(crate) const ZYGOTE_DIED: Self = Self { exit: Exit::ZygoteDied, user_us: 0, system_us: 0, peak_resident_bytes: 0 };
}

/// A sandbox that was forked but is not parked yet.
#[derive(Debug)]
pub(crate) struct Forked {
    pub(crate) pidfd: PidFd,
    pub(crate) ended: oneshot::Receiver<Ended>,
}

/// A booted, jailed runtime that forks sandboxes. Killed, with all of them, when the last handle is gone.
#[derive(Debug)]
pub(crate) struct Zygote {
    shared: Arc<Shared>,
    /// Whether its scout came back.
    pub(crate) has_learned: bool,
    /// What modules do that were to be imported in it, and because of it are imported in its sandboxes instead.
    pub(crate) why_not_ahead: Option<String>,
    ids: IdMap,
    free_uids: Mutex<Vec<u32>>,
    /// For each uid that a sandbox with grants has had: the namespace by which the granting user's files are that user's.
    owners: Mutex<HashMap<u32, Arc<OwnedFd>>>,
    booted: Instant,
    forks: AtomicU64,
    leaving: Leaving,
}

#[derive(Debug)]
struct Shared {
    process: PidFd,
    pid: i32,
    channel: AsyncFd<OwnedFd>,
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
}

#[derive(Debug)]
struct Waiting {
    forked: Option<oneshot::Sender<Result<PidFd, String>>>,
    ended: oneshot::Sender<Ended>,
}

/// What became of a runtime that was to be a zygote.
enum Booted {
    Ready(Zygote),
    /// What its modules do because of which it must not be.
    NotToBeForked(String),
}

/// A uid of a zygote's, until the sandbox that has it is gone.
#[derive(Debug)]
pub(crate) struct UidLease {
    pub(crate) uid: u32,
    owner: Option<Arc<Zygote>>,
}

impl Drop for UidLease {
    fn drop(&mut self) {
        if let Some(zygote) = &self.owner {
            zygote.free_uids.lock().unwrap_or_else(PoisonError::into_inner).push(self.uid);
        }
    }
}

impl Zygote {
    /// Boots one. Some tens of milliseconds. Where it must not be forked because of modules that it has imported, one whose sandboxes import them. Not to be
    /// dropped half way: the launch would go on without anyone to reap what it makes.
    pub(crate) async fn boot(spawner: Spawner, spec: SandboxSpec, leaving: Leaving) -> Result<Arc<Self>, EngineError> {
        let why = match Self::boot_once(spawner.clone(), spec.clone(), leaving.clone()).await? {
            Booted::Ready(zygote) => return Ok(zygote.serve()),
            Booted::NotToBeForked(why) => why,
        };
        match Self::boot_once(spawner, spec.importing_in_sandbox(), leaving).await? {
            Booted::Ready(mut zygote) => {
                zygote.why_not_ahead = Some(why);
                Ok(zygote.serve())
            }
            Booted::NotToBeForked(why) => Err(EngineError::NotReady(format!("its runtime {why}"))),
        }
    }

    fn serve(self) -> Arc<Self> {
        tokio::spawn(Arc::clone(&self.shared).listen());
        Arc::new(self)
    }

    async fn boot_once(spawner: Spawner, spec: SandboxSpec, leaving: Leaving) -> Result<Booted, EngineError> {
        let SandboxSpec { runtime, grants, environment, .. } = spec;
        let ids = IdMap::available();
        let plan = root::plan(
            &runtime,
            &grants,
            environment.as_deref(),
            Boot { start: Start::Fork, ids, exec: false, loopback: false, memory_bytes: 0 },
        );
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .map_err(system("making a zygote's channel"))?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(system("making a zygote's channel"))?;
        let (diagnostics_read, diagnostics_write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(system("making a pipe"))?;

        let launched = {
            let runtime = Arc::clone(&runtime);
            spawner
                .run(move || {
                    let null = std::fs::File::options().read(true).write(true).open("/dev/null").map_err(system("opening /dev/null"))?;
                    let launch = Launch {
                        root: &plan,
                        ids,
                        executable: std::ffi::CString::new(runtime.executable.as_os_str().as_encoded_bytes()).unwrap_or_default(),
                        arguments: runtime.arguments(Start::Fork),
                        environment: Runtime::environment(false),
                        streams: [null.as_fd(), null.as_fd(), diagnostics_write.as_fd()],
                        channel: theirs.as_fd(),
                        purpose: Purpose::Zygote,
                        cgroup: &[],
                    };
                    launch.launch().map_err(EngineError::Launch)
                })
                .await
                .ok_or_else(|| EngineError::NotReady("the launching thread is gone".into()))??
        };
        let Launched { pidfd, pid } = launched;
        let shared = Arc::new(Shared {
            process: pidfd,
            pid,
            channel: AsyncFd::new(ours).map_err(system("watching a zygote's channel"))?,
            waiting: Mutex::new(Some(HashMap::new())),
        });
        let mut zygote = Self {
            shared,
            has_learned: false,
            why_not_ahead: None,
            ids,
            owners: Mutex::default(),
            free_uids: Mutex::new((0..ids.leasable()).rev().map(|n| FIRST_UID + n).collect()),
            booted: Instant::now(),
            forks: AtomicU64::new(0),
            leaving,
        };
        let booted = tokio::time::timeout(BOOT_TIME, zygote.shared.next_report()).await;
        match booted {
            Ok(Some((ZygoteReport::Booted { has_learned }, _))) => zygote.has_learned = has_learned,
            Ok(Some((ZygoteReport::NotToBeForked { why }, _))) => {
                return Ok(Booted::NotToBeForked(String::from_utf8_lossy(&why).trim_end_matches('\0').to_owned()));
            }
            _ => {
                drop(zygote);
                return Err(EngineError::NotReady(last_words(&diagnostics_read)));
            }
        }
        Ok(Booted::Ready(zygote))
    }

    /// Forks a sandbox.
    pub(crate) async fn fork(&self, order: ForkOrder, descriptors: &[BorrowedFd<'_>]) -> Result<Forked, EngineError> {
        self.forks.fetch_add(1, Ordering::Relaxed);
        let (forked_sender, forked) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let table = waiting.as_mut().ok_or_else(|| EngineError::NotReady("the zygote is gone".into()))?;
            table.insert(order.sandbox, Waiting { forked: Some(forked_sender), ended: ended_sender });
        }
        let mut unordered = Unordered { shared: &self.shared, sandbox: Some(order.sandbox) };
        let packet = order.encode();
        let send = |channel: &OwnedFd| send_packet(channel.as_fd(), &packet, descriptors).map_err(std::io::Error::from);
        self.shared.channel.async_io(Interest::WRITABLE, send).await.map_err(system("ordering a fork"))?;
        unordered.sandbox = None;
        match forked.await {
            Ok(Ok(pidfd)) => Ok(Forked { pidfd, ended }),
            Ok(Err(why)) => Err(EngineError::NotReady(why)),
            Err(_) => Err(EngineError::NotReady("the zygote died".into())),
        }
    }

    /// Mounts of what is granted, for one sandbox: in them the granting user's files are those of the sandbox's own user. An ordinary user has one uid for
    /// all, and cannot make mounts for others: the zygote has them already.
    pub(crate) async fn grant_mounts(&self, spawner: &Spawner, spec: &SandboxSpec, uid: u32) -> Result<Vec<OwnedFd>, EngineError> {
        if spec.grants.is_empty() || self.ids != IdMap::Own {
            return Ok(Vec::new());
        }
        let owner = self.owner(spawner, uid).await;
        let exec = if spec.exec { Exec::Allowed } else { Exec::Refused };
        let mount = |grant: &Grant| grant.mount(exec, owner.as_ref().map(|owner| owner.as_fd()));
        spec.grants.iter().map(mount).collect::<Result<_, _>>().map_err(system("mounting what is granted"))
    }

    /// The namespace by which the supervisor's files are those of a sandbox's user; none where this machine makes no such namespace, and the sandbox has
    /// the access of others.
    async fn owner(&self, spawner: &Spawner, uid: u32) -> Option<Arc<OwnedFd>> {
        let owners = || self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = owners().get(&uid) {
            return Some(Arc::clone(known));
        }
        let host_uid = self.ids.host_uid(self.pid()) + (uid - FIRST_UID);
        let made = spawner.run(move || owner_namespace(host_uid)).await?.ok().map(Arc::new)?;
        owners().insert(uid, Arc::clone(&made));
        Some(made)
    }

    /// A uid for one sandbox: its own, while there are any left. An ordinary user has one for all.
    pub(crate) fn lease_uid(self: &Arc<Self>) -> Result<UidLease, EngineError> {
        if self.ids.leasable() == 1 {
            return Ok(UidLease { uid: FIRST_UID, owner: None });
        }
        let uid = self.free_uids.lock().unwrap_or_else(PoisonError::into_inner).pop();
        uid.map(|uid| UidLease { uid, owner: Some(Arc::clone(self)) })
            .ok_or_else(|| EngineError::NotReady(format!("one zygote has at most {} sandboxes at a time", self.ids.leasable())))
    }

    /// The host's uid behind one that was leased.
    pub(crate) fn host_uid(&self, leased: u32) -> u32 {
        self.ids.host_uid(self.shared.pid) + (leased - FIRST_UID)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(crate) fn forks(&self) -> u64 {
        self.forks.load(Ordering::Relaxed)
    }

    pub(crate) fn age(&self) -> Duration {
        self.booted.elapsed()
    }

    /// Its own number outside.
    pub(crate) fn pid(&self) -> i32 {
        self.shared.pid
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = kill_pidfd(self.shared.process.as_fd());
        // It ends once its sandboxes have; the wait must not hold up an async task.
        let (pid, leaver) = (self.shared.pid, self.leaving.one_more());
        std::thread::spawn(move || {
            reap(pid);
            drop(leaver);
        });
    }
}

/// A fork that has not been ordered yet: nobody will answer for it if whoever wants it gives up.
struct Unordered<'a> {
    shared: &'a Shared,
    sandbox: Option<u64>,
}

impl Drop for Unordered<'_> {
    fn drop(&mut self) {
        if let (Some(sandbox), Some(table)) = (self.sandbox, self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut()) {
            table.remove(&sandbox);
        }
    }
}

impl Shared {
    async fn next_report(&self) -> Option<(ZygoteReport, Vec<OwnedFd>)> {
        let mut packet = [0; ZygoteReport::MOST_BYTES];
        let receive = |channel: &OwnedFd| receive_packet(channel.as_fd(), &mut packet).map_err(std::io::Error::from);
        let Packet { length, descriptors, lost } = self.channel.async_io(Interest::READABLE, receive).await.ok()?;
        let report = ZygoteReport::decode(&packet[..length])?;
        // One descriptor comes with a fork, unless this process has room for no more, and none with anything else.
        let in_order = match report {
            ZygoteReport::Forked { .. } => descriptors.len() <= 1,
            _ => descriptors.is_empty() && lost == Lost::Nothing,
        };
        in_order.then_some((report, descriptors))
    }

    /// Passes reports on until the zygote is gone; then nobody waits any longer.
    async fn listen(self: Arc<Self>) {
        while let Some((report, mut descriptors)) = self.next_report().await {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(table) = waiting.as_mut() else { break };
            match report {
                ZygoteReport::Booted { .. } | ZygoteReport::NotToBeForked { .. } => {}
                ZygoteReport::Forked { sandbox } => {
                    let answer = descriptors.pop().ok_or_else(|| "the zygote sent no descriptor".to_owned());
                    if let Some(forked) = table.get_mut(&sandbox).and_then(|entry| entry.forked.take()) {
                        let _ = forked.send(answer);
                    }
                }
                ZygoteReport::ForkFailed { sandbox, step, errno } => {
                    if let Some(forked) = table.remove(&sandbox).and_then(|entry| entry.forked) {
                        let _ = forked.send(Err(format!("forking failed at step {step}: {}", std::io::Error::from_raw_os_error(errno))));
                    }
                }
                ZygoteReport::Exited(ExitReport { sandbox, wait_status, user_us, system_us, peak_resident_bytes }) => {
                    if let Some(entry) = table.remove(&sandbox) {
                        let exit = Exit::of_wait_status(wait_status);
                        let _ = entry.ended.send(Ended { exit, user_us, system_us, peak_resident_bytes });
                    }
                }
            }
        }
        let abandoned = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        for (_, entry) in abandoned.into_iter().flatten() {
            let _ = entry.ended.send(Ended::ZYGOTE_DIED);
        }
    }
}

/// What a runtime that did not boot wrote to its standard error.
pub(crate) fn last_words(pipe: &OwnedFd) -> String {
    let _ = rustix::io::ioctl_fionbio(pipe, true);
    let mut buffer = vec![0; 4096];
    let length = rustix::io::read(pipe, &mut buffer).unwrap_or(0);
    let text = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
    if text.is_empty() { "the runtime did not boot".to_owned() } else { format!("the runtime did not boot: {text}") }
}
