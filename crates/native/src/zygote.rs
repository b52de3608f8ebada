//! The zygote: blocks in native code for ever, forks a sandbox for each order of the supervisor,
//! and reports the end of each. No program ever runs in it, and no packages except those that the
//! operator trusts.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use belljar_access::{Exec, Network};
use belljar_channel::{
    BootFacts, ExitReport, FailedStep, ForkOrder, Packet, ZygoteReport, receive_order, send_packet,
};
use belljar_jail::{
    CHANNEL, Confinement, GrantPlan, GrantPoint, InheritedDescriptors, Origin, ResourceLimits,
    Seals, SetupError, Stdio, Step, WritableSpace, confine, confine_exec_grant_init, enter_cgroup,
    enter_network, seccomp::HostFiles,
};

use crate::boot_facts;
use crate::default_actions;
use crate::fork_hooks::ForkHooks;
use crate::heap;
use crate::machine;
use crate::networks::{CannotReturn, Networks};
use crate::randomness;
use crate::sandbox::{fault, send_home};
use crate::scout::{self, Side};
use crate::touched;
use crate::{scratch, threads};

/// With a `fork` start, serves as a zygote, and returns only in a forked sandbox, which is jailed
/// and sealed, and in the scout, whose activation is `rehearsal`. With an `exec` start, seals this
/// process.
pub fn start(runtime: &mut impl ForkHooks, rehearsal: &[u8]) -> Role {
    let sealed = boot_facts::read().and_then(|facts| {
        if facts.forks {
            serve(runtime, &facts, rehearsal)
        } else {
            seal_this_process(&facts).map(|()| Role::Sandbox)
        }
    });
    let result = sealed.and_then(|role| send_home().map(|()| role).map_err(at(Step::Report)));
    result.unwrap_or_else(|error| fault(CHANNEL, error))
}

/// The process in which [`start`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A sandbox, which is jailed and sealed: untrusted code may run.
    Sandbox,
    /// The scout, which has the rights of a zygote: only Belljar's own code may run.
    Scout,
}

fn seal_this_process(facts: &BootFacts) -> Result<(), SetupError> {
    default_actions::replace_all();
    if facts.exec == Exec::Denied {
        answer_for(facts.memory_bytes)?;
    }
    heap::set_limit(facts.memory_bytes, facts.exec);
    compile_seals(facts).apply(facts.exec, facts.network)
}

fn seal(order: &ForkOrder, seals: &Seals) -> Result<(), SetupError> {
    let ready = match order.exec {
        Exec::Denied => answer_for(order.memory_bytes),
        Exec::Granted => confine_exec_grant_init(),
    };
    heap::set_limit(order.memory_bytes, order.exec);
    ready.and_then(|()| seals.apply(order.exec, order.network))
}

fn compile_seals(facts: &BootFacts) -> Seals {
    Seals::compile(if facts.shares_files { HostFiles::Granted } else { HostFiles::System })
}

fn answer_for(memory_bytes: u64) -> Result<(), SetupError> {
    machine::answer_for(memory_bytes).map_err(at(Step::Seccomp))
}

/// An effect of imported packages that all sandboxes must not share.
static WHY_NOT_TO_FORK: Mutex<Option<String>> = Mutex::new(None);

/// Makes `start` report to the supervisor why this zygote must not be forked, and exit.
pub fn never_fork(why: String) {
    *WHY_NOT_TO_FORK.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
}

fn why_not_to_fork() -> Option<String> {
    WHY_NOT_TO_FORK.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn at(step: Step) -> impl Fn(io::Error) -> SetupError {
    move |error| SetupError { step, errno: errno(&error) }
}

/// The confinement of a child of this zygote, as ordered by the supervisor.
fn confinement(facts: &BootFacts, order: &ForkOrder, mounts: Vec<OwnedFd>) -> Confinement {
    Confinement {
        uid: order.uid,
        may_set_groups: facts.may_set_groups,
        space: WritableSpace {
            disk_bytes: order.disk_bytes,
            files: order.files,
            exec: order.exec,
            staged: staged(facts),
        },
        grants: grants(facts, mounts),
        write: facts.write.clone(),
        limits: ResourceLimits {
            open_files: order.open_files,
            cpu_seconds: order.cpu_seconds,
            file_bytes: order.disk_bytes,
        },
        exec: order.exec,
        network: order.network,
    }
}

/// Reports why this process must not be forked, and exits.
fn leave_unforked(channel: BorrowedFd<'_>, text: &str) -> ! {
    let mut why = [0; ZygoteReport::WHY_BYTES];
    why.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    let _ = send_packet(channel, &ZygoteReport::NotToBeForked { why }.encode(), &[]);
    leave();
}

/// Exits if a fork of this process would share something that each sandbox must have for itself.
fn leave_where_no_fork_may_be_made(channel: BorrowedFd<'_>) {
    let why_not = why_not_to_fork()
        .or_else(|| threads::kept_across_fork().map(|thread| format!("runs a thread {thread}")));
    if let Some(why) = why_not {
        leave_unforked(channel, &why);
    }
}

fn serve(
    runtime: &mut impl ForkHooks,
    facts: &BootFacts,
    rehearsal: &[u8],
) -> Result<Role, SetupError> {
    // SAFETY: the zygote channel is open for the life of the zygote.
    let channel = unsafe { BorrowedFd::borrow_raw(CHANNEL) };
    let own_pid_namespace: OwnedFd =
        File::open("/proc/self/ns/pid").map_err(at(Step::Descriptors))?.into();
    let children_ended = watch_children().map_err(at(Step::Descriptors))?;
    default_actions::replace_all();
    let generators = randomness::generators();
    // Initialized here, once, because the first use of a generator would cost each child a
    // millisecond. The children reseed it.
    randomness::reseed(&generators)?;
    let seals = compile_seals(facts);
    scratch::remove();
    runtime.prepare()?;
    leave_where_no_fork_may_be_made(channel);
    let Side::Zygote(touched) = scout::send(runtime, rehearsal) else { return Ok(Role::Scout) };
    let has_learned = !touched.is_empty();
    touched.make_forks_copy_file_pages();
    touched.keep();
    let inherited = InheritedDescriptors::list().map_err(at(Step::Descriptors))?;

    let report = |report: ZygoteReport, descriptors: &[BorrowedFd<'_>]| {
        // If the supervisor is gone, this process dies with it.
        let _ = send_packet(channel, &report.encode(), descriptors);
    };
    // After the list of inherited descriptors, so that the children close these themselves.
    let mut networks = Networks::new().map_err(at(Step::Descriptors))?;
    report(ZygoteReport::Booted { has_learned }, &[]);
    let mut sandboxes: HashMap<libc::pid_t, Forked> = HashMap::new();
    // Created while the supervisor prepares its first order. More are created on demand, and
    // reused.
    or_leave(networks.stock());
    loop {
        let [has_order, has_exit] = wait([channel, children_ended.as_fd()]);
        if has_exit {
            drain(&children_ended);
            reap(&mut sandboxes, |exit, network| {
                report(ZygoteReport::Exited(exit), &[]);
                if let Some(network) = network {
                    or_leave(networks.take_back(network));
                }
            });
        }
        if !has_order {
            continue;
        }
        let (order, stdio, mounts, cgroup) = receive_fork_order(channel, facts);
        let failed = |step: FailedStep, error: &io::Error| {
            report(
                ZygoteReport::ForkFailed {
                    sandbox: order.sandbox,
                    step: step as u8,
                    errno: errno(error),
                },
                &[],
            );
        };
        let network = match lend(&mut networks, &order) {
            Ok(network) => network,
            Err(error) => {
                failed(FailedStep::NetworkNamespace, &error);
                continue;
            }
        };
        runtime.before_fork();
        match fork_into_new_pid_namespace(own_pid_namespace.as_fd()) {
            Err((step, error)) => {
                runtime.after_fork_in_zygote();
                failed(step, &error);
            }
            Ok(0) => {
                let control = stdio.control.as_raw_fd();
                // First of all, so that everything is counted, and before an init is forked:
                // processes that are forked later are in the group from the start.
                enter_cgroup(&cgroup).unwrap_or_else(|error| fault(control, error));
                drop(cgroup);
                if let Some(network) = &network {
                    enter(network).unwrap_or_else(|error| fault(control, error));
                }
                // Including the descriptors of its siblings.
                drop((network, networks, sandboxes));
                let confinement = confinement(facts, &order, mounts);
                inherited.replace(stdio).unwrap_or_else(|error| fault(control, error));
                forget_children();
                touched::copy_before_parked();
                let entered = runtime
                    .after_fork_in_child()
                    .and_then(|()| confine(&confinement, Origin::Forked))
                    .and_then(|()| randomness::reseed(&generators));
                if let Err(error) = entered.and_then(|()| seal(&order, &seals)) {
                    fault(CHANNEL, error);
                }
                // These numbers refer to /dev/null by now, or to a descriptor of the sandbox.
                std::mem::forget((own_pid_namespace, children_ended, inherited));
                return Ok(Role::Sandbox);
            }
            Ok(pid) => {
                runtime.after_fork_in_zygote();
                drop((stdio, mounts, cgroup));
                match open_pidfd(pid) {
                    Ok(pidfd) => {
                        sandboxes.insert(pid, Forked { sandbox: order.sandbox, network });
                        report(ZygoteReport::Forked { sandbox: order.sandbox }, &[pidfd.as_fd()]);
                    }
                    Err(error) => {
                        // SAFETY: our own child, not yet waited for.
                        unsafe { libc::kill(pid, libc::SIGKILL) };
                        failed(FailedStep::PidFd, &error);
                    }
                }
            }
        }
    }
}

/// A sandbox that has not been reaped.
struct Forked {
    /// The number of the sandbox in the supervisor's orders.
    sandbox: u64,
    /// The network namespace of the sandbox.
    network: Option<OwnedFd>,
}

/// Returns a network namespace for a sandbox, unless the sandbox creates one with loopback for
/// itself.
fn lend(networks: &mut Networks, order: &ForkOrder) -> io::Result<Option<OwnedFd>> {
    match order.network {
        Network::None => or_leave(networks.lease()).map(Some),
        // The sandbox of a granted network refuses itself.
        Network::Loopback | Network::Granted => Ok(None),
    }
}

fn enter(network: &OwnedFd) -> Result<(), SetupError> {
    enter_network(network.as_fd()).map_err(at(Step::OwnNamespaces))
}

/// Exits, because a zygote in a wrong namespace must not create further sandboxes. The supervisor
/// boots a new one.
fn or_leave<T>(result: Result<T, CannotReturn>) -> T {
    result.unwrap_or_else(|CannotReturn| leave())
}

fn leave() -> ! {
    // SAFETY: ends the process, and as it is PID 1 of its namespace, every sandbox of it.
    unsafe { libc::_exit(0) }
}

/// Receives an order with its descriptors: the streams and the channel of the sandbox, the mounts
/// of its grants, and the files of its control group. Exits if the supervisor is gone or the order
/// is malformed.
fn receive_fork_order(
    channel: BorrowedFd<'_>,
    facts: &BootFacts,
) -> (ForkOrder, Stdio, Vec<OwnedFd>, Vec<OwnedFd>) {
    let mut packet = [0; ForkOrder::MAX_BYTES];
    let Ok(Packet { length, descriptors, .. }) = receive_order(channel, &mut packet) else {
        leave()
    };
    if length == 0 {
        leave();
    }
    let Some(order) = ForkOrder::decode(&packet[..length]) else { leave() };
    let Some((stdio, mounts, cgroup)) = sort_descriptors(descriptors, usize::from(order.grants))
    else {
        leave()
    };
    // A sandbox without its grants would not be the ordered one.
    if mounts.len() != facts.points.len() {
        leave();
    }
    (order, stdio, mounts, cgroup)
}

/// Waits until one of the descriptors is readable or closed. Returns which of them are.
fn wait(descriptors: [BorrowedFd<'_>; 2]) -> [bool; 2] {
    let mut waiting = descriptors.map(poll_in);
    // SAFETY: two valid entries.
    unsafe { libc::poll(waiting.as_mut_ptr(), 2, -1) };
    waiting.map(|entry| entry.revents != 0)
}

fn poll_in(fd: BorrowedFd<'_>) -> libc::pollfd {
    libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

/// The received descriptors of a sandbox: its streams and channel, the mounts of its grants, and
/// the files of its control group.
fn sort_descriptors(
    mut descriptors: Vec<OwnedFd>,
    grants: usize,
) -> Option<(Stdio, Vec<OwnedFd>, Vec<OwnedFd>)> {
    let mut mounts = descriptors.split_off(descriptors.len().min(4));
    let [control, input, output, error]: [OwnedFd; 4] = descriptors.try_into().ok()?;
    let cgroup = (mounts.len() >= grants).then(|| mounts.split_off(grants))?;
    Some((Stdio { control, streams: [input, output, error] }, mounts, cgroup))
}

/// Returns the bind mounts that a sandbox attaches over its own space: stage, target, and whether
/// it is a folder.
fn staged(facts: &BootFacts) -> Vec<(CString, CString, bool)> {
    let paths = |(stage, target, is_folder): &(String, String, bool)| {
        Some((CString::new(stage.as_str()).ok()?, CString::new(target.as_str()).ok()?, *is_folder))
    };
    facts.staged.iter().filter_map(paths).collect()
}

/// Returns the grants of a sandbox: the received mounts with their mount points.
fn grants(facts: &BootFacts, mounts: Vec<OwnedFd>) -> GrantPlan {
    let points = |places: &[(String, bool)]| {
        places
            .iter()
            .map(|(path, is_folder)| GrantPoint { target: path.into(), is_folder: *is_folder })
            .collect::<Vec<_>>()
    };
    GrantPlan {
        mounts: points(&facts.points).into_iter().zip(mounts.into_iter().map(Arc::new)).collect(),
        kept: points(&facts.kept),
        not_executable: facts.granted.iter().map(Into::into).collect(),
    }
}

/// Forks a child in a new PID namespace. A second `unshare` of the PID namespace would fail until
/// the caller has returned to its own.
fn fork_into_new_pid_namespace(
    own: BorrowedFd<'_>,
) -> Result<libc::pid_t, (FailedStep, io::Error)> {
    // SAFETY: only changes the namespace of children.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        return Err((FailedStep::PidNamespace, io::Error::last_os_error()));
    }
    // glibc's fork, so that its and OpenSSL's handlers run.
    // SAFETY: the process has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        return Ok(0);
    }
    let fork_error = io::Error::last_os_error();
    // SAFETY: a descriptor of our own PID namespace.
    let back = unsafe { libc::setns(own.as_raw_fd(), libc::CLONE_NEWPID) };
    if pid < 0 {
        return Err((FailedStep::Fork, fork_error));
    }
    if back != 0 {
        // No further fork is possible. The supervisor boots a new zygote.
        leave();
    }
    Ok(pid)
}

fn open_pidfd(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The descriptor to which the signal handler writes when a child has ended.
static CHILDREN_ENDED: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note_ended_child(_signal: libc::c_int) {
    let one = 1_u64;
    // SAFETY: `write` may be called in a signal handler. errno is restored, because the interrupted
    // code may be about to read it.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(
            CHILDREN_ENDED.load(Ordering::Relaxed),
            (&raw const one).cast(),
            size_of::<u64>(),
        );
        *libc::__errno_location() = errno;
    }
}

/// Returns a descriptor that is readable when a child has ended. It uses a handler instead of a
/// signalfd: the threads of Node.js were started before and do not block the signal, so the kernel
/// may choose one of them, and a signal without a handler would be lost.
fn watch_children() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    CHILDREN_ENDED.store(fd, Ordering::Relaxed);
    set_child_handler(note_ended_child as extern "C" fn(libc::c_int) as libc::sighandler_t)?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Restores the default disposition of the signal for a sandbox.
fn forget_children() {
    let _ = set_child_handler(libc::SIG_DFL);
    CHILDREN_ENDED.store(-1, Ordering::Relaxed);
}

fn set_child_handler(handler: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: all-zero is a valid action to fill in; the handler is a function of the right type,
    // or the default.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART | libc::SA_NOCLDSTOP;
        libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn drain(ended: &OwnedFd) {
    let mut count = 0_u64;
    // SAFETY: the counter is writable; the descriptor does not block.
    unsafe { libc::read(ended.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
}

fn reap(
    sandboxes: &mut HashMap<libc::pid_t, Forked>,
    mut report: impl FnMut(ExitReport, Option<OwnedFd>),
) {
    loop {
        let mut wait_status = 0;
        // SAFETY: all-zero is a valid `rusage`; both are writable.
        let (pid, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(-1, &raw mut wait_status, libc::WNOHANG, &raw mut usage), usage)
        };
        if pid <= 0 {
            return;
        }
        let us = |time: libc::timeval| {
            (time.tv_sec as u64).saturating_mul(1_000_000).saturating_add(time.tv_usec as u64)
        };
        if let Some(Forked { sandbox, network }) = sandboxes.remove(&pid) {
            let exit = ExitReport {
                sandbox,
                wait_status,
                user_us: us(usage.ru_utime),
                system_us: us(usage.ru_stime),
                peak_resident_bytes: (usage.ru_maxrss as u64).saturating_mul(1024),
            };
            report(exit, network);
        }
    }
}
