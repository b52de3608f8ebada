//! The sandbox's side of its control channel: parked, activated, reporting.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

use belljar_channel::{Annotation, CallOpening, HEADER_BYTES, Packet, encode_header, kind, receive_packet, send_packet};
use belljar_jail::{CHANNEL, HOME, SetupError};

use crate::{scout, touched};

/// After the last frame nothing more is said.
static FINISHED: AtomicBool = AtomicBool::new(false);
/// Bytes written to descriptors 1 and 2.
static WRITTEN: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// Frames of threads must not mix.
static WRITER: Mutex<()> = Mutex::new(());
/// Nor the answers to their calls.
static CALLER: Mutex<()> = Mutex::new(());
/// The process that was activated. A child that the program has forked shares its channel, and would mix its frames with those of its parent.
static ACTIVATED: AtomicI32 = AtomicI32::new(0);

fn channel() -> BorrowedFd<'static> {
    // SAFETY: the control channel is open for the life of the sandbox; if user code closes it, calls fail with EBADF.
    unsafe { BorrowedFd::borrow_raw(CHANNEL) }
}

struct Channel;

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(channel(), buffer, rustix::net::RecvFlags::empty())?.0)
    }
}

fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::net::send(channel(), bytes, rustix::net::SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// One frame to the supervisor. If it is the last and cannot be sent, because the program has closed the channel, the process ends: nothing more can come
/// of it, and its end is seen by the kernel's word alone.
pub fn send(frame_kind: u8, payload: &[u8]) -> io::Result<()> {
    let _one_at_a_time = WRITER.lock();
    if FINISHED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let sent = write_frame(frame_kind, payload);
    if frame_kind == kind::FINISHED {
        FINISHED.store(true, Ordering::Relaxed);
        if sent.is_err() {
            // SAFETY: ends the process.
            unsafe { libc::_exit(belljar_jail::Step::Report as i32) }
        }
    }
    sent
}

fn write_frame(frame_kind: u8, payload: &[u8]) -> io::Result<()> {
    if payload.len() <= 4096 {
        // One call, one wake-up of the supervisor.
        let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
        frame.extend_from_slice(&encode_header(frame_kind, payload.len()));
        frame.extend_from_slice(payload);
        return write_all(&frame);
    }
    write_all(&encode_header(frame_kind, payload.len()))?;
    write_all(payload)
}

/// The stream that was written to last.
static LAST: AtomicU8 = AtomicU8::new(0);

/// Annotations sent. Where the program has put a file in the place of its output, the supervisor gets them without the bytes that they are about, and
/// ends a run that sends it more than it can account for (10,000).
static ANNOTATED: AtomicU32 = AtomicU32::new(0);
/// From this one on, the stream is looked at first: a system call of 0.1 us.
const UNCHECKED_ANNOTATIONS: u32 = 4_000;
/// The pipes of the two streams, by inode: 0 before they are known.
static PIPES: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Notes which pipes the supervisor reads.
fn note_pipes() {
    for (pipe, fd) in PIPES.iter().zip(1..) {
        pipe.store(pipe_inode(fd), Ordering::Relaxed);
    }
}

fn pipe_inode(fd: RawFd) -> u64 {
    // SAFETY: standard output and error; where the program has closed them, the call fails with EBADF.
    let stream = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::fs::fstat(stream).map_or(0, |status| status.st_ino)
}

/// Whether an annotation of the stream is of use to the supervisor, which listens from the activation on.
fn is_read(stream: u8) -> bool {
    if ACTIVATED.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let sent = ANNOTATED.fetch_add(1, Ordering::Relaxed);
    let Some(pipe) = PIPES.get(usize::from(stream).wrapping_sub(1)) else { return false };
    sent < UNCHECKED_ANNOTATIONS || pipe.load(Ordering::Relaxed) == pipe_inode(stream.into())
}

/// Counts what is about to be written to stream 1 or 2 and tells the supervisor of an entry, and of the place where the other stream pauses for it: two
/// pipes by themselves do not say what was written first.
pub fn annotate(stream: u8, level: u8, length: u32, entry: bool) -> io::Result<()> {
    let written = |stream: u8| WRITTEN.get(usize::from(stream).wrapping_sub(1));
    let Some(own) = written(stream).filter(|_| length > 0) else { return Ok(()) };
    let last = LAST.swap(stream, Ordering::Relaxed);
    if let Some(other) = written(last).filter(|_| last != stream && is_read(last)) {
        let pause = Annotation { stream: last, level: 0, offset: other.load(Ordering::Relaxed), length: 0 };
        send(kind::ANNOTATE, &pause.encode())?;
    }
    let offset = own.fetch_add(u64::from(length), Ordering::Relaxed);
    if !entry || !is_read(stream) {
        return Ok(());
    }
    send(kind::ANNOTATE, &Annotation { stream, level: level.min(3), offset, length }.encode())
}

/// Tells the supervisor that a step of the set-up failed, on the channel `fd`, and ends.
pub fn fault(fd: RawFd, error: SetupError) -> ! {
    let text = error.to_string();
    let frame = [&encode_header(kind::FAULT, text.len())[..], text.as_bytes()].concat();
    // SAFETY: the frame is readable for its length. The process ends right after, whatever comes of it.
    unsafe {
        libc::write(fd, frame.as_ptr().cast(), frame.len());
        libc::_exit(error.step as i32)
    }
}

/// Sends the working folder's descriptor, for the supervisor to collect files by. Right after the seal: from here on code of packages may run, and the
/// supervisor takes no further descriptor.
pub fn send_home() -> io::Result<()> {
    let home = rustix::fs::open(
        HOME,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    Ok(send_packet(channel(), &encode_header(kind::HOME, 0), &[home.as_fd()])?)
}

/// Parks: says so, and blocks until the sandbox is activated. Writes the run's files on the way. Returns the activation, JSON.
pub fn receive() -> io::Result<Vec<u8>> {
    // A runtime that was started with the channel, and not forked, may have it open for the programs that it starts.
    rustix::io::fcntl_setfd(channel(), rustix::io::FdFlags::CLOEXEC)?;
    write_all(&encode_header(kind::READY, 0))?;
    // What fails from here on is told as the end of the run: a fault of the set-up is no longer listened to.
    activation().or_else(|error| fail(&error.to_string()))
}

fn activation() -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER_BYTES];
    Channel.read_exact(&mut header)?;
    touched::copy_rest();
    loop {
        let [a, b, c, d, frame_kind] = header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let mut payload = vec![0; length];
        Channel.read_exact(&mut payload)?;
        match frame_kind {
            kind::FILE => write_file(&payload)?,
            kind::ACTIVATE => {
                ACTIVATED.store(own_pid(), Ordering::Relaxed);
                note_pipes();
                return Ok(payload);
            }
            other => return Err(io::Error::other(format!("an unexpected frame of kind {other}"))),
        }
        Channel.read_exact(&mut header)?;
    }
}

/// Tells the supervisor that the run could not begin, and ends.
fn fail(why: &str) -> ! {
    let mut message = String::with_capacity(why.len());
    for character in why.chars() {
        match character {
            '"' | '\\' => message.extend(['\\', character]),
            // JSON has escapes for these; a message needs none of them.
            control if control.is_control() => message.push(' '),
            other => message.push(other),
        }
    }
    let report = format!(r#"{{"value":null,"error":{{"name":"SandboxError","message":"{message}","stack":""}},"exit_code":null}}"#);
    let _ = send(kind::FINISHED, report.as_bytes());
    // SAFETY: ends the process.
    unsafe { libc::_exit(belljar_jail::Step::Report as i32) }
}

/// Whether a program runs: the sandbox was activated. Also in processes that it has forked.
pub fn is_active() -> bool {
    ACTIVATED.load(Ordering::Relaxed) != 0
}

fn own_pid() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

/// Asks the supervisor for the socket of a new call, close-on-exec; `None` where too many are open. Blocks, but only for as long as the supervisor takes
/// to answer.
pub fn open_call() -> io::Result<Option<OwnedFd>> {
    if ACTIVATED.load(Ordering::Relaxed) != own_pid() {
        return Err(io::Error::other("storage works in the process of the run, not in one that it has forked"));
    }
    let _one_at_a_time = CALLER.lock();
    if FINISHED.load(Ordering::Relaxed) {
        return Err(io::Error::other("the run is over"));
    }
    send(kind::CALL, &[])?;
    let mut frame = [0; CallOpening::BYTES];
    let Packet { length, descriptors: sockets, .. } = receive_packet(channel(), &mut frame)?;
    // The supervisor sends it as one piece, and a stream socket gives no more than one piece with descriptors at a time.
    let opening = CallOpening::decode(frame).filter(|_| length == frame.len());
    match (opening, sockets.into_iter().next()) {
        (Some(CallOpening::Opened), Some(socket)) => Ok(Some(socket)),
        // What does not fit into the process's table of descriptors, the kernel drops.
        (Some(CallOpening::Opened), None) => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        (Some(CallOpening::Busy), None) => Ok(None),
        (Some(CallOpening::Refused), None) => Err(io::Error::other("storage is not available to this run")),
        _ => Err(io::Error::other("something in the program's process has used its control channel: storage cannot be reached any more")),
    }
}

/// Writes one file, whose bytes follow on the channel. They go through a small buffer: a large file must not count twice against the memory limit.
fn write_file(payload: &[u8]) -> io::Result<()> {
    let malformed = || io::Error::other("a malformed file frame");
    let (path_length, rest) = payload.split_first_chunk::<2>().ok_or_else(malformed)?;
    let (path, size) = rest.split_at_checked(usize::from(u16::from_le_bytes(*path_length))).ok_or_else(malformed)?;
    let mut left = u64::from_le_bytes(size.try_into().map_err(|_| malformed())?);
    let name = std::str::from_utf8(path).map_err(|_| malformed())?;
    let target = Path::new(HOME).join(name);
    let context = |error: io::Error| io::Error::new(error.kind(), format!("writing {name}: {error}"));
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

/// Ends the process, at once; the scout first tells what it has seen.
pub fn exit(code: i32) -> ! {
    scout::tell(code);
    // SAFETY: `_exit` takes any number.
    unsafe { libc::_exit(code) }
}

/// Tells the supervisor in words that the set-up failed, and ends.
pub fn fault_text(text: &str) -> ! {
    let _ = send(kind::FAULT, text.as_bytes());
    // SAFETY: ends the process.
    unsafe { libc::_exit(belljar_jail::Step::Report as i32) }
}
