//! One tool from its launch to its end.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use belljar_jail::{
    Confinement, FIRST_UID, GrantPlan, IdMap, Launch, Launched, Purpose, ResourceLimits,
    WritableSpace,
};
use belljar_protocol::{Exec, Network};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::output::Lines;
use super::request::{Check, FolderAccess, Tool, ToolEnd, ToolFolder};
use super::root;
use crate::error::{EngineError, system};
use crate::process::{Ended, Exit, JailedProcess, Launcher, TAKE_DOWN_TIME, pipe};

/// The interval of the checks of a tool's use of its folders.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// Runs a tool until it ends. The lines of its output are sent to `lines`, and it waits while the
/// channel is full. Dropping the other end of `wanted` ends the tool. The future itself must not be
/// dropped before it is done: the launch would continue, and nothing would reap the process.
pub(crate) async fn run(
    launcher: &Arc<Launcher>,
    tool: Tool,
    lines: mpsc::Sender<String>,
    check: Check,
    mut wanted: oneshot::Receiver<()>,
) -> Result<ToolEnd, EngineError> {
    let limits = tool.limits;
    let mut process = JailedProcess::reserve(launcher, Some(tool.group_limits()))?;
    let (read, write) = pipe()?;
    let mut output = Lines::new(read, lines)?;
    process.launch(move |entrances| launch(&tool, &write, entrances)).await?;
    let mut deadline = std::pin::pin!(tokio::time::sleep(limits.time));
    let over = Arc::new(Notify::new());
    let mut checking = ask(check, Duration::ZERO, &over);
    let stopped = loop {
        tokio::select! {
            Ended { exit, .. } = process.ended() => {
                output.take().await;
                over.notify_one();
                let _ = checking.await;
                if process.oom_kills() > 0 {
                    let megabytes = limits.memory_bytes >> 20;
                    let why = format!("it needed more than {megabytes} MB of memory");
                    return Ok(ToolEnd::Stopped(why));
                }
                return Ok(match exit {
                    Exit::Code(code) => ToolEnd::Exited(code),
                    other => ToolEnd::Stopped(format!("it was killed: {other:?}")),
                });
            }
            _ = &mut wanted => break "the caller no longer waits for it".to_owned(),
            () = &mut deadline => break format!("it took longer than {} s", limits.time.as_secs()),
            () = output.next() => {}
            answer = &mut checking => {
                let (check, why) = answer.unwrap_or_else(|_| unwatched());
                checking = ask(check, CHECK_EVERY, &over);
                if let Some(why) = why {
                    break why;
                }
            }
        }
    };
    process.kill();
    let _ = tokio::time::timeout(TAKE_DOWN_TIME, process.ended()).await;
    over.notify_one();
    let _ = checking.await;
    Ok(ToolEnd::Stopped(stopped))
}

/// Returns a check that never stops a tool, and the reason to stop it now.
fn unwatched() -> (Check, Option<String>) {
    (Box::new(|| None), Some("it could not be monitored".to_owned()))
}

/// Calls `check` after a delay, unless the tool ends before. Returns `check` with its result.
fn ask(
    mut check: Check,
    after: Duration,
    over: &Arc<Notify>,
) -> JoinHandle<(Check, Option<String>)> {
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
        asked.await.unwrap_or_else(|_| unwatched())
    })
}

fn launch(tool: &Tool, output: &OwnedFd, cgroup: &[OwnedFd]) -> Result<Launched, EngineError> {
    let plan = root::plan(tool);
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(|_| EngineError::NulByte);
    let program = text(tool.program.as_os_str())?;
    let arguments = tool.arguments.iter().map(|argument| text(OsStr::new(argument)));
    let variables =
        tool.variables.iter().map(|(name, value)| text(OsStr::new(&format!("{name}={value}"))));
    let ids = IdMap::available();
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(system("opening /dev/null"))?;
    let writes = |folder: &&ToolFolder| folder.access == FolderAccess::Write;
    let confinement = Confinement {
        uid: FIRST_UID,
        may_set_groups: ids == IdMap::Own,
        space: WritableSpace {
            disk_bytes: tool.limits.scratch_bytes,
            files: 100_000,
            exec: Exec::Granted,
            staged: plan.staged(),
        },
        grants: GrantPlan::default(),
        write: tool
            .folders
            .iter()
            .filter(writes)
            .map(|folder| folder.inside.display().to_string())
            .collect(),
        limits: ResourceLimits {
            open_files: 4096,
            cpu_seconds: tool.limits.time.as_secs().saturating_mul(4),
            file_bytes: tool.limits.file_bytes,
        },
        exec: Exec::Granted,
        network: Network::None,
    };
    let launch = Launch {
        root: &plan,
        ids,
        arguments: std::iter::once(Ok(program.clone()))
            .chain(arguments)
            .collect::<Result<_, EngineError>>()?,
        executable: program,
        environment: variables.collect::<Result<_, EngineError>>()?,
        streams: [null.as_fd(), output.as_fd(), output.as_fd()],
        // A tool reports to the supervisor only by its output.
        channel: null.as_fd(),
        purpose: Purpose::Tool { confinement, network: tool.network },
        cgroup,
    };
    launch.launch().map_err(EngineError::Launch)
}
