//! Tools: programs that we trust and that work on what we do not, such as an installer that unpacks other people's archives. Each runs in a jail of its
//! own, with nothing of the host but what it is given, and under limits.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, OsStr};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use belljar_jail::{Confinement, FIRST_UID, GrantPlan, HOME, IdMap, Launch, Purpose, ResourceLimits, WritableSpace, kill_pidfd, reap};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

pub use belljar_jail::ToolNetwork;

use crate::decision::Exit;
use crate::engine::Inner;
use crate::error::{EngineError, system};
use crate::groups::{GroupLimits, Internet};
use crate::root;
use crate::sandbox::TAKE_DOWN_TIME;

/// How often a tool's use of its folders is looked at.
const CHECK_EVERY: Duration = Duration::from_millis(500);
const UNWATCHED: &str = "it could not be watched";
/// Of the lines that a tool writes, the longest that is told.
const MOST_LINE_BYTES: usize = 4096;

/// What may be done with a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderAccess {
    /// Read.
    Read,
    /// Written too.
    Write,
}

/// A folder of the host that a tool is given.
#[derive(Clone, Debug)]
pub struct ToolFolder {
    /// Where it is outside: canonical, without links.
    pub outside: PathBuf,
    /// Where it is inside: absolute.
    pub inside: PathBuf,
    /// What may be done with it.
    pub access: FolderAccess,
}

/// What a tool may use.
#[derive(Clone, Copy, Debug)]
pub struct ToolLimits {
    /// Wall time.
    pub time: Duration,
    /// Memory of all its processes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u32,
    /// What it may write outside of its folders.
    pub scratch_bytes: u64,
    /// The largest file that it may write.
    pub file_bytes: u64,
}

/// A tool to run.
#[derive(Clone)]
pub struct Tool {
    /// The program, as a path outside that is seen at the same place inside.
    pub program: PathBuf,
    /// Its arguments, without the program.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub variables: BTreeMap<String, String>,
    /// Host paths that are seen at the same places, read-only; the program among them.
    pub shows: Vec<PathBuf>,
    /// Folders that it is given.
    pub folders: Vec<ToolFolder>,
    /// Small files that are made for it, by path inside.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// What it reaches.
    pub network: ToolNetwork,
    /// What it may use.
    pub limits: ToolLimits,
}

/// Its variables and files by name only: logins are in them.
impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("variables", &self.variables.keys())
            .field("files", &self.files.iter().map(|(path, _)| path).collect::<Vec<_>>())
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// How a tool ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolEnd {
    /// By itself, with this code.
    Exited(i32),
    /// It was stopped: why, for people.
    Stopped(String),
}

/// What is asked every half second whether the tool may go on; the answer is why not. Asked off the async threads, as it may take its time, and dropped only
/// once the tool is gone: what it holds is there for as long as the tool is.
pub type Check = Box<dyn FnMut() -> Option<String> + Send>;

impl Tool {
    fn group_limits(&self) -> GroupLimits {
        let internet = if self.network == ToolNetwork::Host { Internet::Sockets } else { Internet::None };
        GroupLimits { memory_bytes: self.limits.memory_bytes, processes: self.limits.processes, internet }
    }
}

impl Inner {
    /// Runs a tool to its end. Lines of its output go to `lines`, and it waits where nobody takes them. The tool ends when `wanted` is dropped; this future is
    /// not to be dropped half way, as the launch would go on without anyone to reap what it makes.
    pub(crate) async fn run_tool(
        self: Arc<Self>,
        tool: Tool,
        lines: mpsc::Sender<String>,
        check: Check,
        mut wanted: oneshot::Receiver<()>,
    ) -> Result<ToolEnd, EngineError> {
        let limits = tool.limits;
        let (mut running, output) = self.start_tool(tool).await?;
        let mut output = Lines { output, pending: Vec::new(), ready: VecDeque::new(), taken_by: lines, is_open: true };
        let deadline = tokio::time::sleep(limits.time);
        let mut deadline = std::pin::pin!(deadline);
        let over = Arc::new(Notify::new());
        let mut checking = ask(check, Duration::ZERO, &over);
        let stopped = loop {
            let Some(ended) = running.ended.as_mut() else { break String::new() };
            tokio::select! {
                exit = ended => {
                    running.ended = None;
                    let exit = exit.unwrap_or(Exit::Unknown);
                    output.take().await;
                    over.notify_one();
                    let _ = checking.await;
                    if running.was_out_of_memory() {
                        return Ok(ToolEnd::Stopped(format!("it needed more than {} MB of memory", limits.memory_bytes >> 20)));
                    }
                    return Ok(match exit {
                        Exit::Code(code) => ToolEnd::Exited(code),
                        other => ToolEnd::Stopped(format!("it died: {other:?}")),
                    });
                }
                _ = &mut wanted => break "nobody waits for it any longer".to_owned(),
                () = &mut deadline => break format!("it took longer than {} s", limits.time.as_secs()),
                () = output.next() => {}
                answer = &mut checking => {
                    let (check, why) = answer.unwrap_or_else(|_| (Box::new(|| None), Some(UNWATCHED.to_owned())));
                    checking = ask(check, CHECK_EVERY, &over);
                    if let Some(why) = why {
                        break why;
                    }
                }
            }
        };
        let _ = kill_pidfd(running.process.as_fd());
        if let Some(ended) = running.ended.take() {
            let _ = tokio::time::timeout(TAKE_DOWN_TIME, ended).await;
        }
        over.notify_one();
        let _ = checking.await;
        Ok(ToolEnd::Stopped(stopped))
    }

    /// Starts it, and gives the reading end of its output. What was made for it does not stay where it cannot be started.
    async fn start_tool(self: Arc<Self>, tool: Tool) -> Result<(Running, AsyncFd<OwnedFd>), EngineError> {
        let cgroup = self.make_cgroup(self.next_sandbox(), tool.group_limits())?;
        let started = async {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(system("making a pipe"))?;
            rustix::io::ioctl_fionbio(&read, true).map_err(system("making a pipe"))?;
            let output = AsyncFd::new(read).map_err(system("watching a tool"))?;
            let entrances = cgroup.as_ref().map(belljar_jail::SandboxCgroup::entrances).transpose()?.unwrap_or_default();
            let launched = self.spawner.run(move || launch(&tool, write, &entrances)).await;
            let launched = launched.ok_or_else(|| EngineError::NotReady("the launching thread is gone".into()))??;
            Ok((launched, output))
        };
        let (launched, output) = match started.await {
            Ok(started) => started,
            Err(error) => {
                self.clear_away::<Exit>(cgroup, None, (None, None));
                return Err(error);
            }
        };
        let (sender, ended) = oneshot::channel();
        let (pid, watched) = (launched.pid, launched.pidfd.try_clone());
        tokio::spawn(async move {
            // A pidfd is readable once the process has ended. Where it cannot be watched, whoever waits for its end waits here.
            let watched = watched.and_then(|pidfd| AsyncFd::with_interest(pidfd, Interest::READABLE));
            if let Ok(watched) = watched {
                let _ = watched.readable().await;
            }
            let reaped = tokio::task::spawn_blocking(move || reap(pid)).await;
            let _ = sender.send(reaped.ok().flatten().map_or(Exit::Unknown, |reaped| Exit::of_wait_status(reaped.wait_status)));
        });
        Ok((Running { engine: self, process: launched.pidfd, cgroup, ended: Some(ended) }, output))
    }
}

/// Asks whether a tool may go on, after a while, unless it is over before that. The question comes back with the answer.
fn ask(mut check: Check, after: Duration, over: &Arc<Notify>) -> JoinHandle<(Check, Option<String>)> {
    let over = Arc::clone(over);
    tokio::spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(after) => {}
            () = over.notified() => return (check, None),
        }
        let asked = tokio::task::spawn_blocking(move || {
            let answer = check();
            (check, answer)
        });
        asked.await.unwrap_or_else(|_| (Box::new(|| None), Some(UNWATCHED.to_owned())))
    })
}

fn launch(tool: &Tool, output: OwnedFd, cgroup: &[OwnedFd]) -> Result<belljar_jail::Launched, EngineError> {
    let plan = root::tool_plan(tool);
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(|_| EngineError::Request("a tool's argument has a NUL".into()));
    let program = text(tool.program.as_os_str())?;
    let arguments = tool.arguments.iter().map(|argument| text(OsStr::new(argument)));
    let variables = tool.variables.iter().map(|(name, value)| text(OsStr::new(&format!("{name}={value}"))));
    let ids = IdMap::available();
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").map_err(system("opening /dev/null"))?;
    let writes = |folder: &&ToolFolder| folder.access == FolderAccess::Write;
    let confinement = Confinement {
        uid: FIRST_UID,
        may_set_groups: ids == IdMap::Own,
        space: WritableSpace { disk_bytes: tool.limits.scratch_bytes, files: 100_000, exec: true, staged: plan.staged() },
        grants: GrantPlan::default(),
        write: tool.folders.iter().filter(writes).map(|folder| folder.inside.display().to_string()).collect(),
        limits: ResourceLimits {
            open_files: 4096,
            cpu_seconds: tool.limits.time.as_secs().saturating_mul(4),
            file_bytes: tool.limits.file_bytes,
        },
        exec: true,
        loopback: false,
    };
    let launch = Launch {
        root: &plan,
        ids,
        arguments: std::iter::once(Ok(program.clone())).chain(arguments).collect::<Result<_, EngineError>>()?,
        executable: program,
        environment: variables.collect::<Result<_, EngineError>>()?,
        streams: [null.as_fd(), output.as_fd(), output.as_fd()],
        // It has nothing to say to the supervisor but what it writes.
        channel: null.as_fd(),
        purpose: Purpose::Tool { confinement, network: tool.network },
        cgroup,
    };
    launch.launch().map_err(EngineError::Launch)
}

/// The home of a tool inside.
pub const TOOL_HOME: &str = HOME;

/// A tool that runs. Dropping it ends it.
struct Running {
    engine: Arc<Inner>,
    process: belljar_jail::PidFd,
    cgroup: Option<belljar_jail::SandboxCgroup>,
    ended: Option<oneshot::Receiver<Exit>>,
}

impl Running {
    fn was_out_of_memory(&self) -> bool {
        self.cgroup.as_ref().is_some_and(|cgroup| cgroup.memory().oom_kills > 0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_pidfd(self.process.as_fd());
        self.engine.clear_away(self.cgroup.take(), self.ended.take(), (None, None));
    }
}

/// The lines of a tool's output, as they come.
struct Lines {
    output: AsyncFd<OwnedFd>,
    pending: Vec<u8>,
    /// Whole, and not taken yet. Nothing more is read before they are.
    ready: VecDeque<String>,
    taken_by: mpsc::Sender<String>,
    is_open: bool,
}

impl Lines {
    /// Waits for more, or until what there is has been taken. For ever once it is closed.
    async fn next(&mut self) {
        if !self.ready.is_empty() {
            let Ok(permit) = self.taken_by.reserve().await else { return self.ready.clear() };
            if let Some(line) = self.ready.pop_front() {
                permit.send(line);
            }
            return;
        }
        if !self.is_open {
            return std::future::pending().await;
        }
        let mut buffer = [0; 8192];
        let read = self.output.async_io(Interest::READABLE, |pipe| Ok(rustix::io::read(pipe, &mut buffer)?)).await;
        self.take_in(&buffer[..read.unwrap_or(0)]);
    }

    /// What is there already, after the tool has ended.
    async fn take(&mut self) {
        let mut buffer = [0; 8192];
        loop {
            while let Some(line) = self.ready.pop_front() {
                if self.taken_by.send(line).await.is_err() {
                    return;
                }
            }
            match rustix::io::read(self.output.get_ref(), &mut buffer) {
                Ok(read @ 1..) => self.take_in(&buffer[..read]),
                _ if self.pending.is_empty() => return,
                _ => self.take_in(&[]),
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.is_open = !bytes.is_empty();
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let room = MOST_LINE_BYTES.saturating_sub(self.pending.len());
            self.pending.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") || piece.ends_with(b"\r") {
                self.end_line();
            }
        }
        if !self.is_open {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.pending).trim_end().to_owned();
        self.pending.clear();
        if !line.is_empty() {
            self.ready.push_back(line);
        }
    }
}
