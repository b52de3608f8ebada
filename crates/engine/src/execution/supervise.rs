//! One execution of one program in one sandbox: activation, supervision, outcome.

use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use belljar_channel::stage::{self, Active, Parked, Violation};
use belljar_channel::{ExecutionId, SandboxMessage};
use belljar_jail::has_unreceived;
use belljar_protocol::{
    EventKind, Exec, LeftFile, LimitTerms, LogLevel, Outcome, RunError, RunId, RunRequest,
    SandboxInfo, Stream, Usage,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant as Moment;

use super::artifacts::ArtifactFile;
use super::calls::Calls;
use super::collect::{Collected, Collection};
use super::decision::{Decision, Facts, Stop, decide};
use super::fences::{Unfenced, unfenced};
use super::granted::GrantedSpace;
use super::host::RunHost;
use super::logs::Entry;
use super::pace::Pace;
use super::pipes::{Outgoing, Piece, feed};
use super::report::{self, Ending, Settled};
use super::run_handle::{Emitter, Finished, refused};
use super::transcript::Transcript;
use super::usage_checks::{check, first_check, usage};
use crate::activation::activation;
use crate::environment::EnvironmentSource;
use crate::process::{Ended, Exit, Launcher, TAKE_DOWN_TIME};
use crate::sandbox::{Channels, Sandbox};

/// The number of rounds of reading, 64 KB of each stream, before the timers are checked again: a
/// sandbox can write faster than the supervisor reads.
const ROUNDS: usize = 2;
/// The number of reads of the control channel per round, 64 KB each.
const CONTROL_READS: usize = 2;
/// A longer report is parsed off the async threads: at 100 MB a second this takes 3 ms.
const LARGE_REPORT_BYTES: usize = 256 << 10;
/// A longer program is searched for code fences off the async threads: at 10 MB a second, the
/// lowest speed, this takes 6 ms.
const QUICK_PROGRAM_BYTES: usize = 64 << 10;
/// The id of the only execution of a sandbox, which ends with it.
const EXECUTION: ExecutionId = ExecutionId::FIRST;
/// The time that calls have to end by themselves after their program has ended.
const CALL_END_TIME: Duration = Duration::from_millis(200);

/// A program to execute, and the parts of the host that it uses.
pub(crate) struct Job<'a> {
    pub(crate) id: RunId,
    pub(crate) request: &'a RunRequest,
    pub(crate) launcher: &'a Launcher,
    pub(crate) calls: Calls,
    pub(crate) host: RunHost,
    /// Limits the threads that read artifacts.
    pub(crate) readers: Arc<Semaphore>,
    pub(crate) emitter: Emitter,
    /// Time from which the preparation of the run is measured.
    pub(crate) accepted_at: Instant,
    pub(crate) cancelled: watch::Receiver<bool>,
}

impl<'a> Job<'a> {
    /// Returns a job without calls, packages or listeners, which is never cancelled.
    pub(crate) fn alone(launcher: &'a Launcher, request: &'a RunRequest) -> Self {
        let (sender, _events) = mpsc::unbounded_channel();
        Self {
            id: RunId::new(),
            request,
            launcher,
            calls: Calls::default(),
            host: RunHost::default(),
            readers: Arc::new(Semaphore::new(1)),
            emitter: Emitter::new(sender),
            accepted_at: Instant::now(),
            cancelled: never_cancelled(),
        }
    }
}

/// Returns the receiver of a sender that lives as long as this process.
fn never_cancelled() -> watch::Receiver<bool> {
    static NEVER: std::sync::LazyLock<watch::Sender<bool>> =
        std::sync::LazyLock::new(|| watch::channel(false).0);
    NEVER.subscribe()
}

/// Runs a program in a parked sandbox, which ends with the run.
pub(crate) async fn execute(sandbox: Sandbox, job: Job<'_>) -> Finished {
    let Job { id, request, launcher, calls, host, readers, emitter, accepted_at, mut cancelled } =
        job;
    let limits = request.limits;
    let terms = host.terms;
    let info = sandbox.info(launcher);
    let unfenced = without_fence(request).await;
    let code = unfenced.as_ref().map(|unfenced| &*unfenced.code);
    let activation = match activation(EXECUTION, &id, request, code, sandbox.spec.task) {
        Ok(activation) => activation,
        Err(error) => return refused(id, info, emitter, &error),
    };
    let mut transcript = Transcript::new(emitter, limits.output_bytes.0);
    transcript.notes.extend(unfenced.map(|unfenced| unfenced.note));
    let granted =
        GrantedSpace::open(&sandbox.spec.grants.writable_opened(), sandbox.home.as_fd(), &limits);
    transcript.emitter.emit(EventKind::Started { sandbox: info.clone() });
    let started = Instant::now();
    let has_spoken = sandbox.has_spoken();
    let frame_limits = stage::FrameLimits {
        result_bytes: limits.result_bytes.0,
        output_bytes: limits.output_bytes.0,
    };
    let mut sandbox = sandbox.activate(EXECUTION, frame_limits);
    let mut execution = Execution {
        sandbox: &mut sandbox,
        request,
        terms,
        transcript,
        settled: None,
        ending: None,
        is_over: false,
        pieces: Pieces::new(),
        large: None,
        outgoing: Outgoing::new(activation),
        calls,
        calls_opened: 0,
        granted,
        prepared: started.duration_since(accepted_at),
        is_begun: false,
        is_open: Open { control: true, stdout: true, stderr: true },
    };
    let over = if has_spoken {
        execution.violated(&Parked::VIOLATION);
        Over::Reported
    } else {
        execution.supervise(started, &mut cancelled).await
    };
    let collection = Collection {
        request,
        left_files: host.left_files,
        room: host.room.as_deref(),
        readers: &readers,
    };
    let end = execution.end(over, started, &collection, &mut cancelled).await;
    drop(sandbox);
    finish(id, info, end, host.environments.as_deref())
}

/// Returns the program without the code fence that a model has put around it, if there is one.
async fn without_fence(request: &RunRequest) -> Option<Unfenced> {
    let program = request.files.iter().find(|file| file.path == request.entry)?;
    if program.content.len() <= QUICK_PROGRAM_BYTES {
        return unfenced(&program.content, request.language);
    }
    let (content, language) = (program.content.clone(), request.language);
    tokio::task::spawn_blocking(move || unfenced(&content, language)).await.ok().flatten()
}

/// The read buffers of one run.
#[derive(Debug, Default)]
struct Pieces {
    stdout: Piece,
    stderr: Piece,
    control: Piece,
}

impl Pieces {
    fn new() -> Self {
        Self { stdout: Piece::new(), stderr: Piece::new(), control: Piece::new() }
    }
}

/// The channels that the sandbox has not closed.
struct Open {
    control: bool,
    stdout: bool,
    stderr: bool,
}

/// A report that takes long to parse. Later messages are read only after that.
#[derive(Debug)]
enum Large {
    Result(Vec<u8>),
    Settled(Vec<u8>),
    Executed(Vec<u8>),
}

/// The reason why the supervising loop ended.
enum Over {
    Stopped(Stop),
    Reported,
    Ended(Ended),
}

/// The end of an execution.
struct End {
    decision: Decision,
    usage: Usage,
    transcript: Transcript,
    collected: Collected,
}

struct Execution<'a> {
    sandbox: &'a mut Sandbox<Active>,
    request: &'a RunRequest,
    terms: LimitTerms,
    transcript: Transcript,
    /// The result that was available while something was still open.
    settled: Option<Settled>,
    /// The reported end of the program.
    ending: Option<Ending>,
    /// Set once the sandbox has ended the conversation, or something in it has violated the
    /// protocol.
    is_over: bool,
    pieces: Pieces,
    large: Option<Large>,
    outgoing: Outgoing,
    calls: Calls,
    /// The number of calls that were opened since the last round.
    calls_opened: u32,
    granted: Option<GrantedSpace>,
    /// The time that the preparation took.
    prepared: Duration,
    /// Set once the sandbox is known to have received its activation.
    is_begun: bool,
    is_open: Open,
}

impl Execution<'_> {
    /// Feeds the sandbox and reads from it until it has ended the conversation, the process has
    /// ended, or the run has to be stopped.
    async fn supervise(&mut self, started: Instant, cancelled: &mut watch::Receiver<bool>) -> Over {
        let limits = self.request.limits;
        let mut deadline = pin!(tokio::time::sleep_until(
            (started + Duration::from_millis(limits.timeout_ms.0)).into()
        ));
        let mut due = pin!(tokio::time::sleep(first_check(&limits)));
        let mut stdin = self.open_stdin();
        let request = self.request;
        let mut input = &request.stdin[..];
        if *cancelled.borrow() {
            return Over::Stopped(Stop::Cancelled);
        }
        let mut pace = Pace::new();
        // The time until which nothing is read from the sandbox.
        let mut rest: Option<Moment> = None;
        loop {
            // Usually everything can be sent at once.
            self.outgoing.advance(&self.sandbox.channels.control);
            let Sandbox { channels: Channels { control, stdout, stderr, .. }, process, .. } =
                &mut *self.sandbox;
            tokio::select! {
                biased;
                changed = cancelled.changed() => {
                    // A dropped handle also cancels the run.
                    if changed.is_err() || *cancelled.borrow() {
                        return Over::Stopped(Stop::Cancelled);
                    }
                }
                // Before everything that the sandbox could keep ready for ever.
                () = &mut deadline => return Over::Stopped(Stop::TimedOut),
                () = &mut due => match check(self.sandbox, &limits, self.granted.as_mut()).await {
                    Ok(next) => due.as_mut().reset(Moment::now() + next),
                    Err(stop) => return Over::Stopped(stop),
                },
                () = rested(rest), if rest.is_some() => {
                    rest = None;
                }
                guard = control.ready(self.outgoing.interest()),
                    if self.is_open.control && rest.is_none() =>
                {
                    match guard {
                        Ok(mut guard) => guard.retain_ready(),
                        Err(_) => self.is_open.control = false,
                    }
                    pace.spend(|| self.drain());
                }
                guard = stdout.readable(), if self.is_open.stdout && rest.is_none() => {
                    if let Ok(mut guard) = guard { guard.retain_ready(); }
                    pace.spend(|| self.drain());
                }
                guard = stderr.readable(), if self.is_open.stderr && rest.is_none() => {
                    if let Ok(mut guard) = guard { guard.retain_ready(); }
                    pace.spend(|| self.drain());
                }
                Some(denials) = self.calls.ended(), if !self.calls.is_empty() => {
                    self.transcript.record_denials(denials);
                }
                closed = feed(stdin.as_ref(), &mut input), if stdin.is_some() => {
                    if closed { stdin = None; }
                }
                ended = process.ended() => return Over::Ended(ended),
            }
            self.digest().await;
            if self.transcript.is_exceeded() {
                return Over::Stopped(Stop::OutputExceeded);
            }
            if self.is_over {
                return Over::Reported;
            }
            for _ in 0..std::mem::take(&mut self.calls_opened) {
                pace.spend_on_call();
            }
            if rest.is_none() {
                let sandbox = &*self.sandbox;
                rest = pace.rest(|| sandbox.program_cpu()).map(|pause| Moment::now() + pause);
            }
        }
    }

    /// Returns the sandbox's standard input if there is something to write. Without input, it is
    /// closed, which the program sees as an empty input.
    fn open_stdin(&mut self) -> Option<AsyncFd<OwnedFd>> {
        let stdin = &mut self.sandbox.channels.stdin;
        let open = if self.request.stdin.is_empty() {
            None
        } else {
            stdin.try_clone().and_then(AsyncFd::new).ok()
        };
        // Replacing the descriptor closes it.
        if let Ok(null) = std::fs::File::open("/dev/null").map(OwnedFd::from) {
            *stdin = null;
        }
        open
    }

    /// Ends the sandbox, reads what it has left, and decides.
    async fn end(
        mut self,
        over: Over,
        started: Instant,
        collection: &Collection<'_>,
        cancelled: &mut watch::Receiver<bool>,
    ) -> End {
        let limits = self.request.limits;
        if let Some(granted) = &mut self.granted {
            granted.note_written(&self.sandbox.process.processes());
        }
        // The reason is recorded in `over`, so the sandbox can be killed now.
        self.sandbox.process.kill();
        let wall = started.elapsed();
        self.end_calls(&over).await;
        let (mut stop, mut ended) = match over {
            Over::Stopped(stop) => (Some(stop), None),
            Over::Reported => (None, None),
            Over::Ended(ended) => (None, Some(ended)),
        };
        let wants_files = collection.is_needed(&self.sandbox.home);
        // If nothing depends on the exit of the process, do not wait for it: the program has
        // already reported its end.
        if ended.is_none()
            && (stop.is_some()
                || wants_files
                || self.sandbox.spec.exec == Exec::Granted
                || self.granted.is_some())
        {
            ended = tokio::time::timeout(TAKE_DOWN_TIME, self.sandbox.process.ended()).await.ok();
        }
        if let (None, Some(granted)) = (stop, &mut self.granted) {
            stop = granted.last_look().await.err();
        }
        self.drain_all().await;
        if stop.is_none() && self.transcript.is_exceeded() {
            stop = Some(Stop::OutputExceeded);
        }
        let (usage, oom_kills) =
            usage(self.sandbox, ended, (self.prepared, wall), self.transcript.output_bytes);
        let mut collected = Collected::default();
        // A cancelled run ends immediately.
        if wants_files && stop != Some(Stop::Cancelled) {
            match collection.collect(&self.sandbox.home, cancelled).await {
                Some(files) => collected = files,
                None => stop = Some(Stop::Cancelled),
            }
        }
        let facts = Facts {
            stop,
            oom_kills,
            cpu_us: ((usage.cpu_user_ms + usage.cpu_system_ms) * 1000.0) as u64,
            ending: self.ending.take(),
            settled: self.settled.take(),
            exit: ended.map_or(Exit::Unknown, |ended| ended.exit),
        };
        let decision = decide(facts, &limits, &self.terms);
        End { decision, usage, transcript: self.transcript, collected }
    }

    /// Reads some of the arrived data without waiting. The pipes are read before the control
    /// channel and processed after it: an annotation is sent before the bytes that it describes are
    /// written, so it is never missed. Returns whether there may be more data.
    fn drain(&mut self) -> bool {
        for _ in 0..ROUNDS {
            let mut pieces = std::mem::take(&mut self.pieces);
            let channels = &self.sandbox.channels;
            let stdout = pieces.stdout.take(&channels.stdout, &mut self.is_open.stdout);
            let stderr = pieces.stderr.take(&channels.stderr, &mut self.is_open.stderr);
            // Counted before results on the control channel, which may have arrived later.
            let kept = [stdout, stderr].map(|bytes| self.transcript.count(bytes.len()));
            let has_heard = self.drain_control(&mut pieces.control);
            let is_empty = !has_heard && stdout.is_empty() && stderr.is_empty();
            self.transcript.output(Stream::Stdout, stdout, kept[0]);
            self.transcript.output(Stream::Stderr, stderr, kept[1]);
            self.pieces = pieces;
            if self.large.is_some() {
                return true;
            }
            if is_empty || self.transcript.is_flood() {
                return false;
            }
        }
        true
    }

    /// Reads the remaining data of a sandbox that was killed or has ended.
    async fn drain_all(&mut self) {
        while self.drain() {
            self.digest().await;
            tokio::task::yield_now().await;
        }
    }

    /// Reads the control channel. Returns whether any data arrived.
    fn drain_control(&mut self, piece: &mut Piece) -> bool {
        for read in 0..CONTROL_READS {
            if self.is_deaf() {
                return false;
            }
            let control = &self.sandbox.channels.control;
            let (bytes, lost) = piece.take_frames(control, &mut self.is_open.control);
            if bytes.is_empty() {
                return read > 0;
            }
            if !self.is_begun && !self.has_begun() {
                self.violated(&Parked::VIOLATION);
                return true;
            }
            match self.sandbox.stage.extend(bytes, lost) {
                Ok(()) => self.hear_all(),
                Err(violation) => self.violated(&violation),
            }
        }
        true
    }

    /// Processes the messages that have arrived completely.
    fn hear_all(&mut self) {
        while !self.is_deaf() {
            match self.sandbox.stage.next_message(self.transcript.output_bytes) {
                Ok(Some(message)) => self.hear(message),
                Ok(None) => break,
                Err(violation) => self.violated(&violation),
            }
        }
    }

    /// Returns whether the sandbox had received its activation when it first sent data. Data from
    /// before is not the program's.
    fn has_begun(&mut self) -> bool {
        let control = self.sandbox.channels.control.as_fd();
        self.is_begun = self.outgoing.has_activated() && !has_unreceived(control).unwrap_or(true);
        self.is_begun
    }

    /// Returns whether further messages are not processed now.
    fn is_deaf(&self) -> bool {
        self.is_over || self.large.is_some()
    }

    /// Ends the run because something in the program's process violated the protocol of the control
    /// channel.
    fn violated(&mut self, violation: &Violation) {
        self.ending = Some(Ending {
            value: None,
            error: Some(RunError::new("ProtocolError", violation.to_string())),
            exit_code: None,
        });
        self.is_over = true;
    }

    /// Parses large reports off the async threads, and processes the messages that have arrived
    /// after them.
    async fn digest(&mut self) {
        let max_bytes = self.request.limits.result_bytes.0;
        let (limits, terms) = (self.request.limits, self.terms);
        while let Some(large) = self.large.take() {
            match large {
                Large::Result(payload) => {
                    let result =
                        tokio::task::spawn_blocking(move || report::rich_result(&payload)).await;
                    self.transcript.keep_result(result.ok().flatten());
                }
                Large::Settled(payload) => {
                    let settled =
                        tokio::task::spawn_blocking(move || report::settled(&payload, max_bytes))
                            .await;
                    self.settled = settled.ok().flatten();
                }
                Large::Executed(payload) => {
                    let ending = tokio::task::spawn_blocking(move || {
                        report::ending(&payload, &limits, &terms)
                    })
                    .await;
                    self.ending =
                        Some(ending.unwrap_or_else(|_| report::ending(b"", &limits, &terms)));
                }
            }
            self.hear_all();
        }
    }

    fn hear(&mut self, message: SandboxMessage) {
        let max_bytes = self.request.limits.result_bytes.0;
        match message {
            SandboxMessage::Annotate(annotation) => self.transcript.log.annotate(annotation),
            SandboxMessage::Result(payload) => {
                if !self.transcript.count_result(&payload) {
                    return;
                }
                if payload.len() > LARGE_REPORT_BYTES {
                    self.large = Some(Large::Result(payload));
                } else {
                    self.transcript.keep_result(report::rich_result(&payload));
                }
            }
            SandboxMessage::Denied(payload) => self.transcript.report_denial(&payload),
            // A sandbox that does not read gets no further answers, so that neither sockets nor
            // messages pile up.
            SandboxMessage::Call if self.outgoing.has_room() => {
                self.calls_opened += 1;
                self.outgoing.answer(self.calls.open());
            }
            SandboxMessage::Call => {}
            SandboxMessage::Note(payload) => self.transcript.note(&payload),
            SandboxMessage::Settled(payload) if payload.len() > LARGE_REPORT_BYTES => {
                self.large = Some(Large::Settled(payload));
            }
            SandboxMessage::Settled(payload) => self.settled = report::settled(&payload, max_bytes),
            SandboxMessage::Executed(payload) if payload.len() > LARGE_REPORT_BYTES => {
                self.large = Some(Large::Executed(payload));
            }
            SandboxMessage::Executed(payload) => {
                self.ending = Some(report::ending(&payload, &self.request.limits, &self.terms));
            }
            SandboxMessage::Goodbye => self.is_over = true,
        }
    }

    /// Records the denials of calls whose end the program has seen, and aborts the others.
    async fn end_calls(&mut self, over: &Over) {
        if self.calls.is_empty() {
            return;
        }
        if !matches!(over, Over::Stopped(_)) {
            // A call that has answered still has to report what it refused. Its program is ending,
            // so none has a reason to take longer.
            let last_words = async {
                while let Some(denials) = self.calls.ended().await {
                    self.transcript.record_denials(denials);
                }
            };
            let _ = tokio::time::timeout(CALL_END_TIME, last_words).await;
        }
        let _ = tokio::time::timeout(TAKE_DOWN_TIME, self.calls.abort()).await;
    }
}

/// Waits for the end of a pause.
async fn rested(until: Option<Moment>) {
    tokio::time::sleep_until(until.unwrap_or_else(Moment::now)).await;
}

/// Puts together the outcome, and emits the last events.
fn finish(
    id: RunId,
    sandbox: SandboxInfo,
    end: End,
    environments: Option<&dyn EnvironmentSource>,
) -> Finished {
    let End { mut decision, usage, mut transcript, collected } = end;
    if let Some(error) = decision.ending.error.as_mut()
        && let Some(hint) = environments.and_then(|source| source.hint(error))
    {
        error.hint = Some(hint);
    }
    let Collected { files, missing, left_behind } = collected;
    if left_behind.more > 0 {
        let note = format!("{} more files were left behind and not kept", left_behind.more);
        transcript.notes.push(note);
    }
    transcript.put_first(environments.map(EnvironmentSource::notes).unwrap_or_default());
    let mut entries = transcript.log.finish();
    // In the log, where every reader of the outcome sees it: without a message, a missing file
    // would look as if the program had not written it.
    entries.extend(missing.map(|message| Entry::now(LogLevel::Warn, message)));
    transcript.record(entries);
    for file in &files {
        transcript.emitter.emit(EventKind::Artifact { artifact: file.artifact.clone() });
    }
    let left_behind: Vec<LeftFile> = left_behind.named;
    let outcome = Outcome {
        id,
        status: decision.status,
        value: decision.ending.value,
        error: decision.ending.error,
        exit_code: decision.ending.exit_code,
        signal: decision.signal,
        logs: transcript.logs,
        results: transcript.results,
        artifacts: files.iter().map(|file: &ArtifactFile| file.artifact.clone()).collect(),
        denied: transcript.denied,
        notes: transcript.notes,
        pending: decision.pending,
        left_behind,
        usage,
        sandbox,
    };
    transcript.emitter.emit(EventKind::Finished { outcome: Box::new(outcome.clone()) });
    Finished { outcome, artifacts: files }
}
