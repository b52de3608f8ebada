//! The sandbox's side of its control channel: waiting for the activation, and sending reports.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

use belljar_channel::{
    Annotation, CallOpening, EXECUTION_HEADER_BYTES, ExecutionId, Packet, encode_execution_header,
    encode_header, kind, receive_packet, send_packet,
};
use belljar_jail::{CHANNEL, HOME, SetupError};
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::{scout, touched};

/// The number of the running execution, or 0 before the first and after the end of each.
static EXECUTION: AtomicU32 = AtomicU32::new(0);
/// The bytes that were written to descriptors 1 and 2.
static WRITTEN: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// Frames of threads must not mix.
static WRITER: Mutex<()> = Mutex::new(());
/// Nor the answers to their calls.
static CALLER: Mutex<()> = Mutex::new(());
/// The activated process. A child that the program has forked shares its channel, and would mix its
/// frames with those of its parent.
static ACTIVATED: AtomicI32 = AtomicI32::new(0);

fn channel() -> BorrowedFd<'static> {
    // SAFETY: the control channel is open for the life of the sandbox; if user code closes it,
    // calls fail with EBADF.
    unsafe { BorrowedFd::borrow_raw(CHANNEL) }
}

struct Channel;

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(channel(), buffer, rustix::net::RecvFlags::empty())?.0)
    }
}

/// Writes parts of a message to the channel, if possible by a single call, so that the supervisor
/// wakes up once.
fn write_all(mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        let mut none = SendAncillaryBuffer::default();
        match rustix::net::sendmsg(channel(), parts, &mut none, SendFlags::NOSIGNAL) {
            Ok(sent) => IoSlice::advance_slices(&mut parts, sent),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Returns the id of the running execution, if one is running.
pub fn execution() -> Option<ExecutionId> {
    ExecutionId::new(EXECUTION.load(Ordering::Relaxed))
}

/// Sends a frame of an execution to the supervisor. Does nothing if this execution is not running.
pub fn send(execution: u32, frame_kind: u8, payload: &[u8]) -> io::Result<()> {
    let _one_at_a_time = WRITER.lock();
    match self::execution().filter(|running| running.number() == execution) {
        Some(running) => write_all(&mut [
            IoSlice::new(&encode_execution_header(frame_kind, running, payload.len())),
            IoSlice::new(payload),
        ]),
        None => Ok(()),
    }
}

/// Ends an execution with its report, and with it the conversation: a sandbox has one execution.
/// Does nothing if this execution is not running. If the report cannot be sent, because the program
/// has closed the channel, the process exits: it cannot report anything any more, and the
/// supervisor decides by the exit alone.
pub fn end(execution: u32, report: &[u8]) {
    let _one_at_a_time = WRITER.lock();
    let Some(running) = self::execution().filter(|running| running.number() == execution) else {
        return;
    };
    let sent = write_all(&mut [
        IoSlice::new(&encode_execution_header(kind::EXECUTED, running, report.len())),
        IoSlice::new(report),
        IoSlice::new(&encode_header(kind::GOODBYE, 0)),
    ]);
    EXECUTION.store(0, Ordering::Relaxed);
    if sent.is_err() {
        // SAFETY: ends the process.
        unsafe { libc::_exit(belljar_jail::Step::Report as i32) }
    }
}

/// Sends a frame of the running execution, if there is one.
fn send_now(frame_kind: u8, payload: &[u8]) -> io::Result<()> {
    execution().map_or(Ok(()), |running| send(running.number(), frame_kind, payload))
}

/// The stream that was written to last.
static LAST: AtomicU8 = AtomicU8::new(0);

/// The number of sent annotations. If the program has redirected its output to a file, the
/// supervisor receives annotations without the bytes that they describe, and ends a run that sends
/// more than 10,000 of them.
static ANNOTATED: AtomicU32 = AtomicU32::new(0);
/// The number of annotations from which on the stream is checked first, by a system call of 0.1 us.
const UNCHECKED_ANNOTATIONS: u32 = 4_000;
/// The inodes of the two streams' pipes, or 0 before they are known.
static PIPES: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Records the pipes that the supervisor reads.
fn note_pipes() {
    for (pipe, fd) in PIPES.iter().zip(1..) {
        pipe.store(pipe_inode(fd), Ordering::Relaxed);
    }
}

fn pipe_inode(fd: RawFd) -> u64 {
    // SAFETY: standard output and error; where the program has closed them, the call fails with
    // EBADF.
    let stream = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::fs::fstat(stream).map_or(0, |status| status.st_ino)
}

/// Returns whether the supervisor can use an annotation of the stream. It accepts annotations from
/// the activation on.
fn is_read(stream: u8) -> bool {
    if ACTIVATED.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let sent = ANNOTATED.fetch_add(1, Ordering::Relaxed);
    let Some(pipe) = PIPES.get(usize::from(stream).wrapping_sub(1)) else { return false };
    sent < UNCHECKED_ANNOTATIONS || pipe.load(Ordering::Relaxed) == pipe_inode(stream.into())
}

/// Counts bytes that are about to be written to stream 1 or 2, and tells the supervisor about an
/// entry and the point at which the other stream pauses for it: two pipes alone do not preserve the
/// order of writes.
pub fn annotate(stream: u8, level: u8, length: u32, entry: bool) -> io::Result<()> {
    let written = |stream: u8| WRITTEN.get(usize::from(stream).wrapping_sub(1));
    let Some(own) = written(stream).filter(|_| length > 0) else { return Ok(()) };
    let last = LAST.swap(stream, Ordering::Relaxed);
    if let Some(other) = written(last).filter(|_| last != stream && is_read(last)) {
        let pause =
            Annotation { stream: last, level: 0, offset: other.load(Ordering::Relaxed), length: 0 };
        send_now(kind::ANNOTATE, &pause.encode())?;
    }
    let offset = own.fetch_add(u64::from(length), Ordering::Relaxed);
    if !entry || !is_read(stream) {
        return Ok(());
    }
    send_now(kind::ANNOTATE, &Annotation { stream, level: level.min(3), offset, length }.encode())
}

/// Reports to the supervisor on the channel `fd` that a step of the set-up failed, and exits.
pub fn fault(fd: RawFd, error: SetupError) -> ! {
    let text = error.to_string();
    let frame = [&encode_header(kind::FAULT, text.len())[..], text.as_bytes()].concat();
    // SAFETY: the frame is readable for its length. The process ends right after, whatever comes of
    // it.
    unsafe {
        libc::write(fd, frame.as_ptr().cast(), frame.len());
        libc::_exit(error.step as i32)
    }
}

/// Sends the descriptor of the working folder, from which the supervisor collects files. This
/// happens right after the seal: from then on, code of packages may run, and the supervisor accepts
/// no further descriptor.
pub fn send_home() -> io::Result<()> {
    let home = rustix::fs::open(
        HOME,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    Ok(send_packet(channel(), &encode_header(kind::HOME, 0), &[home.as_fd()])?)
}

/// Parks the sandbox: reports it, and blocks until the sandbox is activated. Writes the run's files
/// and returns the activation, which is JSON. From then on, its execution is running.
pub fn receive() -> io::Result<Vec<u8>> {
    // A runtime that was started with the channel, and not forked, may have it open for the
    // programs that it starts.
    rustix::io::fcntl_setfd(channel(), rustix::io::FdFlags::CLOEXEC)?;
    write_all(&mut [IoSlice::new(&encode_header(kind::READY, 0))])?;
    // From here on, failures are reported as the end of the run: the supervisor no longer accepts
    // faults of the set-up.
    activation().or_else(|error| fail(&error.to_string()))
}

fn activation() -> io::Result<Vec<u8>> {
    let mut header = [0; EXECUTION_HEADER_BYTES];
    Channel.read_exact(&mut header)?;
    touched::copy_rest();
    loop {
        let [a, b, c, d, frame_kind, id @ ..] = header;
        // The files of an execution carry its id, too, so that a failure to write one is reported
        // as its end.
        EXECUTION.store(u32::from_le_bytes(id), Ordering::Relaxed);
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let mut payload = vec![0; length.saturating_sub(ExecutionId::BYTES)];
        Channel.read_exact(&mut payload)?;
        match frame_kind {
            kind::FILE => write_file(&payload)?,
            kind::EXECUTE => {
                ACTIVATED.store(own_pid(), Ordering::Relaxed);
                note_pipes();
                return Ok(payload);
            }
            other => return Err(io::Error::other(format!("an unexpected frame of kind {other}"))),
        }
        Channel.read_exact(&mut header)?;
    }
}

/// Reports to the supervisor that the run could not begin, and exits.
fn fail(why: &str) -> ! {
    let mut message = String::with_capacity(why.len());
    for character in why.chars() {
        match character {
            '"' | '\\' => message.extend(['\\', character]),
            // JSON would need escapes for these, and a message needs none of them.
            control if control.is_control() => message.push(' '),
            other => message.push(other),
        }
    }
    let report = format!(
        r#"{{"value":null,"error":{{"name":"SandboxError","message":"{message}","stack":""}},"exit_code":null}}"#
    );
    end(EXECUTION.load(Ordering::Relaxed), report.as_bytes());
    // SAFETY: ends the process.
    unsafe { libc::_exit(belljar_jail::Step::Report as i32) }
}

/// Returns whether a program runs, because the sandbox was activated. Also true in processes that
/// the program has forked.
pub fn is_active() -> bool {
    ACTIVATED.load(Ordering::Relaxed) != 0
}

fn own_pid() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

/// Requests the socket of a new call of an execution from the supervisor. Returns a close-on-exec
/// socket, or `None` if too many calls are open. Blocks until the supervisor answers.
pub fn open_call(execution: u32) -> io::Result<Option<OwnedFd>> {
    if ACTIVATED.load(Ordering::Relaxed) != own_pid() {
        return Err(io::Error::other(
            "storage works in the process of the run, not in one that it has forked",
        ));
    }
    let _one_at_a_time = CALLER.lock();
    if self::execution().is_none_or(|running| running.number() != execution) {
        return Err(io::Error::other("the run is over"));
    }
    send(execution, kind::CALL, &[])?;
    let mut frame = [0; CallOpening::BYTES];
    let Packet { length, descriptors: sockets, .. } = receive_packet(channel(), &mut frame)?;
    // The supervisor sends the answer in one piece, and a receive on a stream socket ends at a
    // piece with descriptors.
    let opening = CallOpening::decode(frame).filter(|_| length == frame.len());
    match (opening, sockets.into_iter().next()) {
        (Some(CallOpening::Opened), Some(socket)) => Ok(Some(socket)),
        // The kernel drops descriptors that do not fit into the process's table.
        (Some(CallOpening::Opened), None) => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        (Some(CallOpening::Busy), None) => Ok(None),
        (Some(CallOpening::Refused), None) => {
            Err(io::Error::other("storage is not available to this run"))
        }
        _ => Err(io::Error::other(
            "something in the program's process has used its control channel: storage cannot be reached any more",
        )),
    }
}

/// Writes a file whose bytes follow on the channel. They pass through a small buffer, because a
/// large file must not count twice towards the memory limit.
fn write_file(payload: &[u8]) -> io::Result<()> {
    let malformed = || io::Error::other("a malformed file frame");
    let (path_length, rest) = payload.split_first_chunk::<2>().ok_or_else(malformed)?;
    let (path, size) = rest
        .split_at_checked(usize::from(u16::from_le_bytes(*path_length)))
        .ok_or_else(malformed)?;
    let mut left = u64::from_le_bytes(size.try_into().map_err(|_| malformed())?);
    let name = std::str::from_utf8(path).map_err(|_| malformed())?;
    let target = Path::new(HOME).join(name);
    let context =
        |error: io::Error| io::Error::new(error.kind(), format!("writing {name}: {error}"));
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(context)?;
    }
    let mut file = File::create(&target).map_err(context)?;
    let mut buffer = vec![0; left.min(64 << 10) as usize];
    while left > 0 {
        let want = left.min(buffer.len() as u64) as usize;
        Channel.read_exact(&mut buffer[..want])?;
        file.write_all(&buffer[..want]).map_err(context)?;
        left -= want as u64;
    }
    Ok(())
}

/// Exits immediately. The scout first reports what it has learned.
pub fn exit(code: i32) -> ! {
    scout::report(code);
    // SAFETY: `_exit` takes any number.
    unsafe { libc::_exit(code) }
}

/// Reports to the supervisor that the set-up failed, with a text, and exits.
pub fn fault_text(text: &str) -> ! {
    let header = encode_header(kind::FAULT, text.len());
    let _ = write_all(&mut [IoSlice::new(&header), IoSlice::new(text.as_bytes())]);
    // SAFETY: ends the process.
    unsafe { libc::_exit(belljar_jail::Step::Report as i32) }
}
