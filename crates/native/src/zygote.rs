//! The zygote: blocks in native code for ever, forks a sandbox whenever the supervisor asks, and reports how each ended. No program ever
//! runs in it, and of packages only those that the operator trusts.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use belljar_channel::{BootFacts, ExitReport, FailedStep, ForkOrder, Packet, ZygoteReport, receive_order, send_packet};
use belljar_jail::{
    CHANNEL, Confinement, GrantPlan, GrantPoint, InheritedDescriptors, ResourceLimits, Seal, Seals, SetupError, Stdio, Step, WritableSpace,
    confine, confine_exec_grant_init, enter_cgroup, enter_network,
};

use crate::default_actions;
use crate::heap;
use crate::machine;
use crate::networks::{Lost, Networks};
use crate::randomness;
use crate::sandbox::{fault, send_home};
use crate::scout::{self, Side};
use crate::touched;
use crate::{scratch, threads};

/// What a runtime needs done around a fork.
pub trait Runtime {
    /// In the zygote, once, before the first fork: makes all of its memory survive one.
    fn prepare(&mut self) -> Result<(), SetupError>;
    /// In the zygote, before each fork.
    fn before_fork(&mut self) {}
    /// In the zygote, after each fork.
    fn after_fork_in_zygote(&mut self) {}
    /// In the child, before anything else of the runtime's: in a sandbox its descriptors are in place, and it is not yet confined.
    fn after_fork_in_child(&mut self) -> Result<(), SetupError>;
}

/// What this process was told at boot.
pub fn facts() -> Result<BootFacts, SetupError> {
    fs::read_to_string(BootFacts::PATH)
        .ok()
        .and_then(|text| BootFacts::decode(&text))
        .ok_or(SetupError { step: Step::Report, errno: libc::ENOENT })
}

/// With `fork` start: serves as a zygote, and returns only in a forked sandbox, jailed and sealed, and in the scout, whose activation is `rehearsal`.
/// With `exec` start: seals this process.
pub fn start(runtime: &mut impl Runtime, rehearsal: &[u8]) -> Role {
    let sealed = facts()
        .and_then(|facts| if facts.forks { serve(runtime, &facts, rehearsal) } else { seal_this_process(&facts).map(|()| Role::Sandbox) });
    let result = sealed.and_then(|role| send_home().map(|()| role).map_err(at(Step::Report)));
    result.unwrap_or_else(|error| fault(CHANNEL, error))
}

/// A process that [`start`] returns in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Jailed and sealed: code of others may run.
    Sandbox,
    /// Neither: it has what a zygote has, and only code of our own may run.
    Scout,
}

fn seal_this_process(facts: &BootFacts) -> Result<(), SetupError> {
    default_actions::stand_in();
    if !facts.exec {
        answer_for(facts.memory_bytes)?;
    }
    heap::limit_is(facts.memory_bytes, facts.exec);
    Seals::compile().apply(Seal { exec: facts.exec, loopback: facts.loopback, shares_files: facts.shares_files })
}

fn seal(facts: &BootFacts, order: &ForkOrder, seals: &Seals) -> Result<(), SetupError> {
    let ready = if order.exec { confine_exec_grant_init() } else { answer_for(order.memory_bytes) };
    heap::limit_is(order.memory_bytes, order.exec);
    ready.and_then(|()| seals.apply(Seal { exec: order.exec, loopback: order.loopback, shares_files: facts.shares_files }))
}

fn answer_for(memory_bytes: u64) -> Result<(), SetupError> {
    machine::answer_for(memory_bytes).map_err(at(Step::Seccomp))
}

/// What packages have done while they were imported that must not happen once for all sandboxes.
static WHY_NOT_TO_FORK: Mutex<Option<String>> = Mutex::new(None);

/// Has `start` tell the supervisor why this zygote must not be forked, and end.
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

/// What an order makes of a child of this zygote.
fn confinement(facts: &BootFacts, order: &ForkOrder, mounts: Vec<OwnedFd>) -> Confinement {
    Confinement {
        uid: order.uid,
        may_set_groups: facts.may_set_groups,
        space: WritableSpace { disk_bytes: order.disk_bytes, files: order.files, exec: order.exec, staged: staged(facts) },
        grants: grants(facts, mounts),
        write: facts.write.clone(),
        limits: ResourceLimits { open_files: order.open_files, cpu_seconds: order.cpu_seconds, file_bytes: order.disk_bytes },
        exec: order.exec,
        loopback: order.loopback,
    }
}

/// Says why this process is not to be forked, and ends it.
fn leave_unforked(channel: BorrowedFd<'_>, text: &str) -> ! {
    let mut why = [0; ZygoteReport::WHY_BYTES];
    why.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    let _ = send_packet(channel, &ZygoteReport::NotToBeForked { why }.encode(), &[]);
    leave();
}

/// Ends the process where a fork of it would share what each sandbox must have for itself.
fn leave_where_no_fork_may_be_made(channel: BorrowedFd<'_>) {
    let why_not = why_not_to_fork().or_else(|| threads::kept_across_fork().map(|thread| format!("runs a thread {thread}")));
    if let Some(why) = why_not {
        leave_unforked(channel, &why);
    }
}

fn serve(runtime: &mut impl Runtime, facts: &BootFacts, rehearsal: &[u8]) -> Result<Role, SetupError> {
    // SAFETY: the zygote channel is open for the life of the zygote.
    let channel = unsafe { BorrowedFd::borrow_raw(CHANNEL) };
    let own_pid_namespace: OwnedFd = File::open("/proc/self/ns/pid").map_err(at(Step::Descriptors))?.into();
    let children_ended = watch_children().map_err(at(Step::Descriptors))?;
    default_actions::stand_in();
    let generators = randomness::generators();
    // Set up here, once: what a generator does when it is first used would cost each child a millisecond. The children seed it anew.
    randomness::reseed(&generators)?;
    let seals = Seals::compile();
    scratch::remove();
    runtime.prepare()?;
    leave_where_no_fork_may_be_made(channel);
    let Side::Zygote(touched) = scout::send(runtime, rehearsal) else { return Ok(Role::Scout) };
    let has_learned = !touched.is_empty();
    touched.hand_on_files();
    touched.keep();
    let inherited = InheritedDescriptors::list().map_err(at(Step::Descriptors))?;

    let report = |report: ZygoteReport, descriptors: &[BorrowedFd<'_>]| {
        // A supervisor that is gone takes this process with it.
        let _ = send_packet(channel, &report.encode(), descriptors);
    };
    // After the list of what is inherited: its descriptors are the children's to close.
    let mut networks = Networks::new().map_err(at(Step::Descriptors))?;
    report(ZygoteReport::Booted { has_learned }, &[]);
    let mut sandboxes: HashMap<libc::pid_t, Forked> = HashMap::new();
    // While the supervisor gets ready to order. More are made when they are needed, and come back.
    or_leave(networks.stock());
    loop {
        let mut waiting = [poll_in(channel), poll_in(children_ended.as_fd())];
        // SAFETY: two valid entries.
        unsafe { libc::poll(waiting.as_mut_ptr(), 2, -1) };
        if waiting[1].revents != 0 {
            drain(&children_ended);
            reap(&mut sandboxes, |exit, network| {
                report(ZygoteReport::Exited(exit), &[]);
                if let Some(network) = network {
                    or_leave(networks.take_back(network));
                }
            });
        }
        if waiting[0].revents == 0 {
            continue;
        }
        let mut packet = [0; ForkOrder::MOST_BYTES];
        let Ok(Packet { length, descriptors, .. }) = receive_order(channel, &mut packet) else { leave() };
        if length == 0 {
            leave();
        }
        let Some(order) = ForkOrder::decode(&packet[..length]) else { leave() };
        let Some((stdio, mounts, cgroup)) = sort_descriptors(descriptors, usize::from(order.grants)) else { leave() };
        // A sandbox without its grants would be another than was asked for.
        if mounts.len() != facts.points.len() {
            leave();
        }
        let failed = |step: FailedStep, error: &io::Error| {
            report(ZygoteReport::ForkFailed { sandbox: order.sandbox, step: step as u8, errno: errno(error) }, &[]);
        };
        let network = match lend(&mut networks, &order) {
            Ok(network) => network,
            Err(error) => {
                failed(FailedStep::NetworkNamespace, &error);
                continue;
            }
        };
        runtime.before_fork();
        let forked = fork_into_new_pid_namespace(own_pid_namespace.as_fd());
        match forked {
            Err((step, error)) => {
                runtime.after_fork_in_zygote();
                failed(step, &error);
            }
            Ok(0) => {
                let control = stdio.control.as_raw_fd();
                // First of all, so that everything counts, and before an init is forked: what is forked later is in the group from the start.
                enter_cgroup(&cgroup).unwrap_or_else(|error| fault(control, error));
                drop(cgroup);
                network.as_ref().map_or(Ok(()), enter).unwrap_or_else(|error| fault(control, error));
                // Those of its siblings too.
                drop((network, networks, sandboxes));
                let confinement = confinement(facts, &order, mounts);
                inherited.replace(stdio).unwrap_or_else(|error| fault(control, error));
                forget_children();
                touched::copy_before_parked();
                let entered =
                    runtime.after_fork_in_child().and_then(|()| confine(&confinement, true)).and_then(|()| randomness::reseed(&generators));
                if let Err(error) = entered.and_then(|()| seal(facts, &order, &seals)) {
                    fault(CHANNEL, error);
                }
                // The numbers behind these are /dev/null by now, or something of the sandbox's own.
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

/// A sandbox that has not been reaped yet.
struct Forked {
    /// The supervisor's number for it.
    sandbox: u64,
    /// The network namespace that it has.
    network: Option<OwnedFd>,
}

/// A network namespace for a sandbox, unless it makes one with loopback for itself.
fn lend(networks: &mut Networks, order: &ForkOrder) -> io::Result<Option<OwnedFd>> {
    if order.loopback { Ok(None) } else { or_leave(networks.lease()).map(Some) }
}

fn enter(network: &OwnedFd) -> Result<(), SetupError> {
    enter_network(network.as_fd()).map_err(at(Step::OwnNamespaces))
}

/// No further sandbox is made by a zygote that is not where it should be; the supervisor gets a new one.
fn or_leave<T>(result: Result<T, Lost>) -> T {
    result.unwrap_or_else(|Lost| leave())
}

fn leave() -> ! {
    // SAFETY: ends the process, and as it is PID 1 of its namespace, every sandbox of it.
    unsafe { libc::_exit(0) }
}

fn poll_in(fd: BorrowedFd<'_>) -> libc::pollfd {
    libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

/// The sandbox's own descriptors, the mounts of what is granted to it, and the entrances of its control group.
fn sort_descriptors(mut descriptors: Vec<OwnedFd>, grants: usize) -> Option<(Stdio, Vec<OwnedFd>, Vec<OwnedFd>)> {
    let mut mounts = descriptors.split_off(descriptors.len().min(4));
    let [control, input, output, error]: [OwnedFd; 4] = descriptors.try_into().ok()?;
    let cgroup = (mounts.len() >= grants).then(|| mounts.split_off(grants))?;
    Some((Stdio { control, streams: [input, output, error] }, mounts, cgroup))
}

/// The binds that a sandbox puts over its own space: stage, target, whether it is a folder.
fn staged(facts: &BootFacts) -> Vec<(CString, CString, bool)> {
    let paths = |(stage, target, is_folder): &(String, String, bool)| {
        Some((CString::new(stage.as_str()).ok()?, CString::new(target.as_str()).ok()?, *is_folder))
    };
    facts.staged.iter().filter_map(paths).collect()
}

/// The grants of one sandbox: the mounts that came for it, each at its point.
fn grants(facts: &BootFacts, mounts: Vec<OwnedFd>) -> GrantPlan {
    let points = |places: &[(String, bool)]| {
        places.iter().map(|(path, is_folder)| GrantPoint { target: path.into(), is_folder: *is_folder }).collect::<Vec<_>>()
    };
    GrantPlan {
        mounts: points(&facts.points).into_iter().zip(mounts.into_iter().map(Arc::new)).collect(),
        kept: points(&facts.kept),
        not_executable: facts.granted.iter().map(Into::into).collect(),
    }
}

/// A second unshare of the PID namespace fails until the caller has gone back to its own.
fn fork_into_new_pid_namespace(own: BorrowedFd<'_>) -> Result<libc::pid_t, (FailedStep, io::Error)> {
    // SAFETY: changes where children are born and nothing else.
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
        // No further fork is possible; the supervisor gets a new zygote.
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

/// Written to when a child has ended.
static CHILDREN_ENDED: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note_ended_child(_signal: libc::c_int) {
    let one = 1_u64;
    // SAFETY: `write` may be called in a signal handler; errno is put back, as the interrupted code may be about to read it.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(CHILDREN_ENDED.load(Ordering::Relaxed), (&raw const one).cast(), size_of::<u64>());
        *libc::__errno_location() = errno;
    }
}

/// A descriptor that is readable when a child has ended. By a handler and not by a signalfd: Node's threads were started before and do not block the
/// signal, so that the kernel may choose one of them, and a signal without a handler is then lost.
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

/// A sandbox starts with the signal as every program expects it.
fn forget_children() {
    let _ = set_child_handler(libc::SIG_DFL);
    CHILDREN_ENDED.store(-1, Ordering::Relaxed);
}

fn set_child_handler(handler: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: all-zero is a valid action to fill in; the handler is a function of the right type, or the default.
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

fn reap(sandboxes: &mut HashMap<libc::pid_t, Forked>, mut report: impl FnMut(ExitReport, Option<OwnedFd>)) {
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
        let us = |time: libc::timeval| (time.tv_sec as u64).saturating_mul(1_000_000).saturating_add(time.tv_usec as u64);
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
