//! One execution of one program in one sandbox: activation, events, outcome.

use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use belljar_channel::SandboxMessage;
use belljar_channel::stage::{self, Active, Parked, Violation};
use belljar_jail::has_unreceived;
use belljar_protocol::{
    Denial, Event, EventKind, LeftFile, LogEntry, LogLevel, Outcome, RichResult, RunError, RunId, RunRequest, SandboxInfo, Status, Stream,
    Timestamp, Usage,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant as Moment;

use crate::activation::activation;
use crate::artifacts::{self, ArtifactFile, ArtifactRoom, Halt};
use crate::calls::Calls;
use crate::decision::{Decision, Exit, Facts, Stop, decide};
use crate::engine::{Inner, until_cancelled};
use crate::environment::EnvironmentSource;
use crate::error::EngineError;
use crate::fences::{Unfenced, unfenced};
use crate::granted::GrantedSpace;
use crate::home::Home;
use crate::left_behind::{self, Known, LeftBehind, LeftFiles};
use crate::logs::{Entry, LogAssembler};
use crate::pace::Pace;
use crate::pipes::{Outgoing, Piece, feed};
use crate::report::{self, Ending, Settled};
use crate::sandbox::Sandbox;
use crate::watch::{connections, most_connections, sample, until_cpu_limit};
use crate::zygote::Ended;

/// Rich results and denials beyond these numbers are counted against the output and otherwise ignored.
const MOST_RESULTS: usize = 1000;
const MOST_DENIALS: usize = 100;
/// Notes of one run.
const MAX_NOTES: usize = 32;
/// Rounds of reading, 64 KB of each stream, before timers are looked at again: a sandbox can write faster than it is read.
const ROUNDS: usize = 2;
/// Reads of the control channel in a round, 64 KB each.
const CONTROL_READS: usize = 2;
/// A longer report is parsed off the async threads: at 100 MB a second this takes 3 ms.
const LARGE_REPORT_BYTES: usize = 256 << 10;
/// A longer program is looked through for fences off the async threads: at 10 MB a second, the worst that there is, this
/// takes 6 ms.
const QUICK_PROGRAM_BYTES: usize = 64 << 10;
/// What a rich result counts as output at the least.
const LEAST_RESULT_BYTES: u64 = 24;

/// How long calls have to end by themselves once their program has.
const CALL_END_TIME: Duration = Duration::from_millis(200);

/// Something that happened in a run.
#[derive(Debug)]
pub enum RunEvent {
    /// Bytes that the program wrote, as they came.
    Output {
        /// To which stream.
        stream: Stream,
        /// What.
        bytes: Vec<u8>,
    },
    /// An event of the protocol.
    Event(Event),
}

/// A run under way.
#[derive(Debug)]
pub struct Run {
    pub(crate) id: RunId,
    pub(crate) events: mpsc::UnboundedReceiver<RunEvent>,
    pub(crate) finished: tokio::task::JoinHandle<Finished>,
    pub(crate) cancel: watch::Sender<bool>,
}

/// Cancels a run from elsewhere.
#[derive(Clone, Debug)]
pub struct RunCanceller(watch::Sender<bool>);

impl RunCanceller {
    /// Ends the run, at once and completely. Its outcome is `cancelled`, unless it has ended already.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub outcome: Outcome,
    /// The files that it left, open.
    pub artifacts: Vec<ArtifactFile>,
}

impl Run {
    /// Its id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The next event, `None` after the last. Events that are not taken wait; what they can hold together is bounded by the run's output limit.
    pub async fn next_event(&mut self) -> Option<RunEvent> {
        self.events.recv().await
    }

    /// A handle to cancel it.
    pub fn canceller(&self) -> RunCanceller {
        RunCanceller(self.cancel.clone())
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If the task that supervises it has panicked, which is a defect of the engine.
    pub async fn finished(self) -> Finished {
        // `cancel` lives until here: a run whose handle is dropped is cancelled.
        self.finished.await.expect("the supervising task does not panic")
    }
}

/// Numbers events and passes them on.
pub(crate) struct Emitter {
    sender: mpsc::UnboundedSender<RunEvent>,
    seq: u64,
}

impl Emitter {
    pub(crate) fn new(sender: mpsc::UnboundedSender<RunEvent>) -> Self {
        Self { sender, seq: 0 }
    }

    pub(crate) fn emit(&mut self, kind: EventKind) {
        self.emit_at(Timestamp::now(), kind);
    }

    /// Emits an event that happened at this time.
    fn emit_at(&mut self, timestamp: Timestamp, kind: EventKind) {
        // Nobody has to listen.
        let _ = self.sender.send(RunEvent::Event(Event { seq: self.seq, timestamp, kind }));
        self.seq += 1;
    }

    fn output(&self, stream: Stream, bytes: &[u8]) {
        let _ = self.sender.send(RunEvent::Output { stream, bytes: bytes.to_vec() });
    }
}

/// What of the host a run has to do with.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) calls: Calls,
    /// Who made its environment.
    pub(crate) environments: Option<Arc<dyn EnvironmentSource>>,
    /// Who says how many bytes of artifacts there is room for.
    pub(crate) room: Option<Arc<dyn ArtifactRoom>>,
    /// What becomes of files that the program left elsewhere than in `outputs/`.
    pub(crate) left_files: LeftFiles,
}

/// Runs a program in a parked sandbox. The sandbox is gone afterwards.
pub(crate) async fn execute(
    engine: &Arc<Inner>,
    sandbox: Sandbox,
    id: RunId,
    request: &RunRequest,
    Host { calls, environments, room, left_files }: Host,
    emitter: Emitter,
    cancelled: watch::Receiver<bool>,
) -> Finished {
    let info = engine.sandbox_info(&sandbox.spec.runtime, sandbox.spec.environment.as_deref(), sandbox.start);
    let execution = Execution {
        engine,
        request,
        id,
        emitter,
        info,
        log: LogAssembler::new(),
        logs: Vec::new(),
        results: Vec::new(),
        denied: Vec::new(),
        notes: Vec::new(),
        settled: None,
        output_bytes: 0,
        pieces: Pieces::new(),
        large: None,
        outgoing: Outgoing::default(),
        calls,
        calls_opened: 0,
        environments,
        room,
        left_files,
        granted: None,
        ending: None,
        missing: None,
        left_behind: Vec::new(),
        is_begun: false,
        control_open: true,
        stdout_open: true,
        stderr_open: true,
    };
    execution.run(sandbox, cancelled).await
}

/// Buffers of one run.
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

/// A report that takes time to parse. Nothing after it is heard before that is done.
#[derive(Debug)]
enum Large {
    Result(Vec<u8>),
    Settled(Vec<u8>),
    Finished(Vec<u8>),
}

struct Execution<'a> {
    engine: &'a Arc<Inner>,
    request: &'a RunRequest,
    id: RunId,
    emitter: Emitter,
    info: SandboxInfo,
    log: LogAssembler,
    logs: Vec<LogEntry>,
    results: Vec<RichResult>,
    denied: Vec<Denial>,
    notes: Vec<String>,
    /// The result that was there while something was still open.
    settled: Option<Settled>,
    output_bytes: u64,
    pieces: Pieces,
    large: Option<Large>,
    outgoing: Outgoing,
    calls: Calls,
    /// Calls that were opened since this was last asked.
    calls_opened: u32,
    environments: Option<Arc<dyn EnvironmentSource>>,
    room: Option<Arc<dyn ArtifactRoom>>,
    left_files: LeftFiles,
    granted: Option<GrantedSpace>,
    ending: Option<Ending>,
    /// Why files that the program left are not handed back.
    missing: Option<String>,
    /// The files that the program left and that are not handed back.
    left_behind: Vec<LeftFile>,
    /// Whether it has been seen that the sandbox has taken its activation.
    is_begun: bool,
    control_open: bool,
    stdout_open: bool,
    stderr_open: bool,
}

/// The files that a run left.
struct Collected {
    found: Vec<ArtifactFile>,
    /// Why files are not among them, for people.
    missing: Option<String>,
    left_behind: LeftBehind,
}

/// Why the supervising loop ended.
enum Over {
    Stopped(Stop),
    Reported,
    Ended(Ended),
}

impl Execution<'_> {
    async fn run(mut self, sandbox: Sandbox, mut cancelled: watch::Receiver<bool>) -> Finished {
        let limits = self.request.limits;
        let program = self.request.files.iter().find(|file| file.path == self.request.entry);
        let unfenced = match program {
            Some(file) if file.content.len() > QUICK_PROGRAM_BYTES => {
                let (content, language) = (file.content.clone(), self.request.language);
                tokio::task::spawn_blocking(move || unfenced(&content, language)).await.ok().flatten()
            }
            program => program.and_then(|file| unfenced(&file.content, self.request.language)),
        };
        if let Some(Unfenced { note, .. }) = &unfenced {
            self.notes.push(note.clone());
        }
        match activation(&self.id, self.request, unfenced.as_ref().map(|unfenced| &*unfenced.code), sandbox.spec.task) {
            Ok(activation) => self.outgoing = Outgoing::new(activation),
            Err(error) => {
                self.engine.take_down(sandbox.body, Some(sandbox.ended));
                return refused(self.id, self.info, self.emitter, &error);
            }
        }
        self.granted = GrantedSpace::open(&sandbox.spec.grants.writable_opened(), sandbox.home.as_fd(), &limits);
        self.emitter.emit(EventKind::Started { sandbox: self.info.clone() });
        let started = Instant::now();
        let has_spoken = sandbox.has_spoken();
        let mut sandbox = sandbox.activate(stage::Limits { result_bytes: limits.result_bytes.0, output_bytes: limits.output_bytes.0 });
        let over = if has_spoken {
            self.violated(&Parked::VIOLATION);
            Over::Reported
        } else {
            self.supervise(&mut sandbox, started, &mut cancelled).await
        };

        if let Some(granted) = &mut self.granted {
            granted.note_written(&sandbox.body.processes());
        }
        // The reason is recorded in `over`; now the sandbox may go.
        sandbox.body.kill();
        let wall = started.elapsed();
        self.end_calls(&over).await;
        let (mut stop, mut ended) = match over {
            Over::Stopped(stop) => (Some(stop), None),
            Over::Reported => (None, None),
            Over::Ended(ended) => (None, Some(ended)),
        };
        let files_wanted = artifacts::any(&sandbox.home, &self.request.outputs) || left_behind::may_be(&sandbox.home, self.request);
        // Where nothing depends on it, nobody waits for the process to be gone: the program has said its last.
        if ended.is_none() && (stop.is_some() || files_wanted || sandbox.spec.exec || self.granted.is_some()) {
            ended = tokio::time::timeout(crate::sandbox::TAKE_DOWN_TIME, &mut sandbox.ended).await.ok().and_then(Result::ok);
        }
        if let (None, Some(granted)) = (stop, &mut self.granted) {
            stop = granted.last_look().await.err();
        }
        self.drain_all(&mut sandbox).await;
        if stop.is_none() && self.output_bytes > limits.output_bytes.0 {
            stop = Some(Stop::OutputExceeded);
        }

        let (usage, oom_kills) = self.usage(&sandbox, ended, wall);
        let found = match stop {
            // It was to end at once.
            Some(Stop::Cancelled) => Vec::new(),
            _ if !files_wanted => Vec::new(),
            _ => self.artifacts(&sandbox.home, &mut cancelled).await.unwrap_or_else(|cancelled| {
                stop = Some(cancelled);
                Vec::new()
            }),
        };
        let exit = ended.map_or(Exit::Unknown, |ended| ended.exit);
        let ending = self.ending.take();
        let cpu_us = ((usage.cpu_user_ms + usage.cpu_system_ms) * 1000.0) as u64;
        let settled = self.settled.take();
        let decision = decide(Facts { stop, oom_kills, cpu_us, ending, settled, exit }, &limits);
        let waits = if ended.is_none() { Some(sandbox.ended) } else { None };
        self.engine.take_down(sandbox.body, waits);
        self.finish(decision, usage, found)
    }

    async fn supervise(&mut self, sandbox: &mut Sandbox<Active>, started: Instant, cancelled: &mut watch::Receiver<bool>) -> Over {
        let limits = self.request.limits;
        let mut deadline = pin!(tokio::time::sleep_until((started + Duration::from_millis(limits.timeout_ms.0)).into()));
        let mut check = pin!(tokio::time::sleep(until_cpu_limit(limits.cpu_ms.0 * 1000, processors())));
        // An empty input ends at once: dropping the descriptor is its end.
        let null = || std::fs::File::open("/dev/null").map(OwnedFd::from);
        let stdin = (!self.request.stdin.is_empty()).then(|| sandbox.stdin.try_clone().and_then(AsyncFd::new).ok()).flatten();
        if let Ok(null) = null() {
            sandbox.stdin = null;
        }
        let mut stdin = stdin;
        let mut input = &self.request.stdin.clone()[..];
        if *cancelled.borrow() {
            return Over::Stopped(Stop::Cancelled);
        }
        let mut pace = Pace::new();
        // Until when the sandbox is left alone.
        let mut rest: Option<Moment> = None;
        loop {
            // Usually all of it goes at once.
            self.outgoing.advance(&sandbox.control);
            tokio::select! {
                biased;
                changed = cancelled.changed() => {
                    // A dropped handle cancels as well.
                    if changed.is_err() || *cancelled.borrow() {
                        return Over::Stopped(Stop::Cancelled);
                    }
                }
                // Before whatever the sandbox can keep ready for ever.
                () = &mut deadline => return Over::Stopped(Stop::TimedOut),
                () = &mut check => {
                    match self.check(sandbox).await {
                        Ok(next) => check.as_mut().reset(tokio::time::Instant::now() + next),
                        Err(stop) => return Over::Stopped(stop),
                    }
                }
                () = tokio::time::sleep_until(rest.unwrap_or_else(Moment::now)), if rest.is_some() => rest = None,
                guard = sandbox.control.ready(self.outgoing.interest()), if self.control_open && rest.is_none() => {
                    match guard {
                        Ok(mut guard) => guard.retain_ready(),
                        Err(_) => self.control_open = false,
                    }
                    pace.spend(|| self.drain(sandbox));
                }
                guard = sandbox.stdout.readable(), if self.stdout_open && rest.is_none() => {
                    if let Ok(mut guard) = guard { guard.retain_ready(); }
                    pace.spend(|| self.drain(sandbox));
                }
                guard = sandbox.stderr.readable(), if self.stderr_open && rest.is_none() => {
                    if let Ok(mut guard) = guard { guard.retain_ready(); }
                    pace.spend(|| self.drain(sandbox));
                }
                Some(denials) = self.calls.ended(), if !self.calls.is_empty() => self.record_denials(denials),
                closed = feed(stdin.as_ref(), &mut input), if stdin.is_some() => {
                    if closed { stdin = None; }
                }
                ended = &mut sandbox.ended => return Over::Ended(ended.unwrap_or(Ended::ZYGOTE_DIED)),
            }
            self.digest().await;
            if self.output_bytes > limits.output_bytes.0 {
                return Over::Stopped(Stop::OutputExceeded);
            }
            if self.ending.is_some() {
                return Over::Reported;
            }
            for _ in 0..std::mem::take(&mut self.calls_opened) {
                pace.spend_on_call();
            }
            if rest.is_none() {
                rest = pace.rest(|| cpu_since_activation(sandbox)).map(|pause| Moment::now() + pause);
            }
        }
    }

    /// Looks at what has been used: how long until the next look, or the limit that is exceeded.
    async fn check(&mut self, sandbox: &Sandbox<Active>) -> Result<Duration, Stop> {
        let limits = &self.request.limits;
        let (user, system) = match &sandbox.body.cgroup {
            Some(cgroup) => {
                if cgroup.memory().oom_kills > 0 {
                    return Err(Stop::MemoryExceeded);
                }
                cgroup.cpu_us()
            }
            None => {
                let Some((cpu, memory)) = sample(sandbox.body.pid) else { return Ok(Duration::from_millis(5)) };
                if memory > limits.memory_bytes.0 {
                    return Err(Stop::MemoryExceeded);
                }
                cpu
            }
        };
        if sandbox.spec.loopback && connections(sandbox.body.pid) > most_connections(limits.memory_bytes.0) {
            return Err(Stop::ConnectionsExceeded);
        }
        if let Some(granted) = &mut self.granted {
            granted.look(&sandbox.body.processes()).await?;
        }
        let used = (user + system).saturating_sub(sandbox.cpu_before.0 + sandbox.cpu_before.1);
        let left = (limits.cpu_ms.0 * 1000).checked_sub(used).ok_or(Stop::CpuExceeded)?;
        let next = until_cpu_limit(left, processors());
        // Without control groups memory has to be sampled.
        Ok(if sandbox.body.cgroup.is_none() { next.min(Duration::from_millis(5)) } else { next })
    }

    /// Takes some of what has arrived, without waiting. The pipes are read before the control channel and judged after it: an annotation is sent before the
    /// bytes that it is about are written, so it is never missed. Returns whether there may be more.
    fn drain(&mut self, sandbox: &mut Sandbox<Active>) -> bool {
        for _ in 0..ROUNDS {
            let limits = self.request.limits;
            let mut pieces = std::mem::take(&mut self.pieces);
            let stdout = pieces.stdout.take(&sandbox.stdout, &mut self.stdout_open);
            let stderr = pieces.stderr.take(&sandbox.stderr, &mut self.stderr_open);
            // Counted before results of the control channel, which may have come later.
            let kept = [stdout, stderr].map(|bytes| self.count(bytes.len()));
            let has_heard = self.drain_control(sandbox, &mut pieces.control);
            let is_empty = !has_heard && stdout.is_empty() && stderr.is_empty();
            self.output(Stream::Stdout, stdout, kept[0]);
            self.output(Stream::Stderr, stderr, kept[1]);
            self.pieces = pieces;
            if self.large.is_some() {
                return true;
            }
            // A flood may not end before its writer does.
            let is_flood = self.output_bytes > limits.output_bytes.0.saturating_mul(2).saturating_add(16 << 20);
            if is_empty || is_flood {
                return false;
            }
        }
        true
    }

    /// Takes what is left of a sandbox whose processes are gone or going.
    async fn drain_all(&mut self, sandbox: &mut Sandbox<Active>) {
        while self.drain(sandbox) {
            self.digest().await;
            tokio::task::yield_now().await;
        }
    }

    /// Returns whether anything was heard.
    fn drain_control(&mut self, sandbox: &mut Sandbox<Active>, piece: &mut Piece) -> bool {
        for read in 0..CONTROL_READS {
            if self.is_deaf() {
                return false;
            }
            let (bytes, lost) = piece.take_frames(&sandbox.control, &mut self.control_open);
            if bytes.is_empty() {
                return read > 0;
            }
            if !self.is_begun && !self.has_begun(&sandbox.control) {
                self.violated(&Parked::VIOLATION);
                return true;
            }
            let mut taken = sandbox.stage.extend(bytes, lost);
            while taken.is_ok() && !self.is_deaf() {
                match sandbox.stage.next_message(self.output_bytes) {
                    Ok(Some(message)) => self.hear(message),
                    Ok(None) => break,
                    Err(violation) => taken = Err(violation),
                }
            }
            if let Err(violation) = taken {
                self.violated(&violation);
            }
        }
        true
    }

    /// Whether the sandbox had taken its activation when it first spoke. What is said before is not the program's.
    fn has_begun(&mut self, control: &AsyncFd<OwnedFd>) -> bool {
        self.is_begun = self.outgoing.has_activated() && !has_unreceived(control.as_fd()).unwrap_or(true);
        self.is_begun
    }

    /// Whether nothing further is to be heard now.
    fn is_deaf(&self) -> bool {
        self.ending.is_some() || self.large.is_some()
    }

    /// Something in the program's process wrote to its control channel what does not belong there.
    fn violated(&mut self, violation: &Violation) {
        self.ending = Some(Ending {
            value: None,
            error: Some(RunError { name: "ProtocolError".into(), message: violation.to_string(), ..RunError::default() }),
            exit_code: None,
        });
    }

    /// Parses what takes time, off the async threads.
    async fn digest(&mut self) {
        match self.large.take() {
            None => {}
            Some(Large::Result(payload)) => {
                let result = tokio::task::spawn_blocking(move || report::rich_result(&payload)).await;
                self.keep_result(result.ok().flatten());
            }
            Some(Large::Settled(payload)) => {
                let max_bytes = self.request.limits.result_bytes.0;
                let settled = tokio::task::spawn_blocking(move || report::settled(&payload, max_bytes)).await;
                self.settled = settled.ok().flatten();
            }
            Some(Large::Finished(payload)) => {
                let most_bytes = self.request.limits.result_bytes.0;
                let ending = tokio::task::spawn_blocking(move || report::ending(&payload, most_bytes)).await;
                self.ending = Some(ending.unwrap_or_else(|_| report::ending(b"", most_bytes)));
            }
        }
    }

    fn hear(&mut self, message: SandboxMessage) {
        match message {
            SandboxMessage::Annotate(annotation) => self.log.annotate(annotation),
            SandboxMessage::Result(payload) => {
                self.output_bytes += (payload.len() as u64).max(LEAST_RESULT_BYTES);
                let fits = self.output_bytes <= self.request.limits.output_bytes.0 && self.results.len() < MOST_RESULTS;
                if !fits {
                    return;
                }
                if payload.len() > LARGE_REPORT_BYTES {
                    self.large = Some(Large::Result(payload));
                } else {
                    self.keep_result(report::rich_result(&payload));
                }
            }
            SandboxMessage::Denied(payload) if self.denied.len() < MOST_DENIALS => {
                if let Some(denial) = report::denial(&payload) {
                    self.deny(denial);
                }
            }
            SandboxMessage::Denied(_) => {}
            // One that does not listen is not answered any more: neither sockets nor words pile up.
            SandboxMessage::Call if self.outgoing.has_room() => {
                self.calls_opened += 1;
                self.outgoing.answer(self.calls.open());
            }
            SandboxMessage::Call => {}
            SandboxMessage::Note(payload) => self.note(&payload),
            SandboxMessage::Settled(payload) if payload.len() > LARGE_REPORT_BYTES => self.large = Some(Large::Settled(payload)),
            SandboxMessage::Settled(payload) => self.settled = report::settled(&payload, self.request.limits.result_bytes.0),
            SandboxMessage::Finished(payload) if payload.len() > LARGE_REPORT_BYTES => self.large = Some(Large::Finished(payload)),
            SandboxMessage::Finished(payload) => self.ending = Some(report::ending(&payload, self.request.limits.result_bytes.0)),
        }
    }

    fn note(&mut self, payload: &[u8]) {
        let Some(note) = report::note(payload) else { return };
        if self.notes.len() < MAX_NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn keep_result(&mut self, result: Option<RichResult>) {
        if let Some(result) = result {
            self.emitter.emit(EventKind::Result { result: result.clone() });
            self.results.push(result);
        }
    }

    fn deny(&mut self, denial: Denial) {
        if self.denied.len() < MOST_DENIALS && !self.denied.contains(&denial) {
            self.emitter.emit(EventKind::Denied { denial: denial.clone() });
            self.denied.push(denial);
        }
    }

    /// Hears of the calls that the program has seen the end of, and ends the others.
    async fn end_calls(&mut self, over: &Over) {
        if self.calls.is_empty() {
            return;
        }
        if !matches!(over, Over::Stopped(_)) {
            // One that has answered still has to say what it refused. Its program is gone or going, so none has a reason to take longer.
            let last_words = async {
                while let Some(denials) = self.calls.ended().await {
                    self.record_denials(denials);
                }
            };
            let _ = tokio::time::timeout(CALL_END_TIME, last_words).await;
        }
        let _ = tokio::time::timeout(crate::sandbox::TAKE_DOWN_TIME, self.calls.abort()).await;
    }

    /// What calls refused. The door is trusted; names in it are the program's.
    fn record_denials(&mut self, denials: Vec<Denial>) {
        for denial in denials {
            self.deny(report::bounded_denial(denial));
        }
    }

    /// Counts so many bytes of output; gives how many of them may be kept.
    fn count(&mut self, length: usize) -> usize {
        let room = self.request.limits.output_bytes.0.saturating_sub(self.output_bytes);
        self.output_bytes += length as u64;
        usize::try_from(room).map_or(length, |room| room.min(length))
    }

    fn output(&mut self, stream: Stream, bytes: &[u8], kept: usize) {
        let kept = &bytes[..kept];
        self.log.drop_bytes((bytes.len() - kept.len()) as u64);
        if kept.is_empty() {
            return;
        }
        self.emitter.output(stream, kept);
        let entries = self.log.push(stream, kept);
        self.record(entries);
    }

    fn record(&mut self, entries: Vec<Entry>) {
        for Entry { timestamp, level, message } in entries {
            self.emitter.emit_at(timestamp, EventKind::Log { level, message: message.clone() });
            self.logs.push(LogEntry { timestamp, level, message });
        }
    }

    fn usage(&self, sandbox: &Sandbox<Active>, ended: Option<Ended>, wall: Duration) -> (Usage, u64) {
        let by_exit = ended.map(|ended| (ended.user_us, ended.system_us));
        let since = |now: u64, before: u64| now.saturating_sub(before);
        let (user_us, system_us, memory, processes, oom_kills) = match &sandbox.body.cgroup {
            Some(cgroup) => {
                let (user, system) = cgroup.cpu_us();
                let memory = cgroup.memory();
                let processes = cgroup.peak_processes().unwrap_or(1);
                let sockets = if sandbox.spec.loopback { cgroup.peak_socket_bytes() } else { 0 };
                let peak_bytes = memory.peak_bytes.saturating_add(sockets);
                (since(user, sandbox.cpu_before.0), since(system, sandbox.cpu_before.1), peak_bytes, processes, memory.oom_kills)
            }
            None => {
                let (user, system) = by_exit.or_else(|| sample(sandbox.body.pid).map(|(cpu, _)| cpu)).unwrap_or((0, 0));
                let peak_bytes = ended.map_or(0, |ended| ended.peak_resident_bytes);
                (since(user, sandbox.cpu_before.0), since(system, sandbox.cpu_before.1), peak_bytes, 1, 0)
            }
        };
        let usage = Usage {
            wall_ms: round(wall.as_secs_f64() * 1000.0),
            cpu_user_ms: round(user_us as f64 / 1000.0),
            cpu_system_ms: round(system_us as f64 / 1000.0),
            peak_memory_bytes: memory,
            output_bytes: self.output_bytes,
            processes,
        };
        (usage, oom_kills)
    }

    /// The files that the program left. Looked for and read off the async threads, and not at all where the host has no room for them. A cancellation ends
    /// it.
    async fn artifacts(&mut self, home: &Home, cancelled: &mut watch::Receiver<bool>) -> Result<Vec<ArtifactFile>, Stop> {
        let halt = Halt::default();
        let home = home.try_clone().map_err(|error| error.to_string());
        let collected = tokio::select! {
            biased;
            () = until_cancelled(cancelled) => {
                halt.halt();
                return Err(Stop::Cancelled);
            }
            collected = self.collect(home, halt.clone()) => collected,
        };
        let Collected { found, missing, left_behind } = collected;
        self.missing = missing;
        self.left_behind = left_behind.named;
        if left_behind.more > 0 {
            self.notes.push(format!("{} more files were left behind and not kept", left_behind.more));
        }
        Ok(found)
    }

    /// The files, and what is missing of them.
    async fn collect(&self, home: Result<Home, String>, halt: Halt) -> Collected {
        let mut left_behind = LeftBehind::default();
        let (found, missing) = match self.found(home, &mut left_behind, halt).await {
            Ok(found) => found,
            Err(why) => {
                left_behind.keep_none();
                (Vec::new(), Some(format!("the artifacts could not be kept: {why}")))
            }
        };
        Collected { found, missing, left_behind }
    }

    /// The files that are handed back, and what is missing of them; or why there are none.
    async fn found(
        &self,
        home: Result<Home, String>,
        left_behind: &mut LeftBehind,
        halt: Halt,
    ) -> Result<(Vec<ArtifactFile>, Option<String>), String> {
        const PANICKED: &str = "reading them failed";
        let home = home?;
        let _reader = self.engine.readers.acquire().await.map_err(|_| PANICKED)?;
        let (named, most_bytes, halted) = (self.request.outputs.clone(), self.request.limits.disk_bytes.0, halt.clone());
        let (known, wanted) = (Known::of(self.request), self.left_files);
        let look = tokio::task::spawn_blocking(move || {
            let left = artifacts::look(&home, &named, most_bytes, &halted);
            let left_behind = left_behind::find(&home, &known, wanted, &left.names(), &halted);
            (left, left_behind)
        });
        let mut left;
        (left, *left_behind) = look.await.map_err(|_| PANICKED)?;
        if let Some(room) = &self.room {
            // The files that the program handed back come first.
            if left_behind.bytes() > 0 && room.refusal(left.bytes() + left_behind.bytes()).await.is_some() {
                left_behind.keep_none();
            }
            if left.bytes() > 0
                && left_behind.files.is_empty()
                && let Some(why) = room.refusal(left.bytes()).await
            {
                return Err(why);
            }
        }
        left.add(std::mem::take(&mut left_behind.files));
        tokio::task::spawn_blocking(move || left.read(&halt)).await.map_err(|_| PANICKED.into())
    }

    fn finish(mut self, mut decision: Decision, usage: Usage, found: Vec<ArtifactFile>) -> Finished {
        if let Some(error) = decision.ending.error.as_mut()
            && let Some(hint) = self.environments.as_ref().and_then(|source| source.hint(error))
        {
            error.message = format!("{}; {hint}", error.message);
        }
        let of_packages = self.environments.as_ref().map(|source| source.notes()).unwrap_or_default();
        self.notes.splice(..0, of_packages.into_iter().take(MAX_NOTES));
        let mut entries = self.log.finish();
        // Where everybody who asks for the outcome sees it: a file that is missing without a word looks as if the program had not written it.
        entries.extend(self.missing.take().map(|message| Entry::now(LogLevel::Warn, message)));
        self.record(entries);
        for file in &found {
            self.emitter.emit(EventKind::Artifact { artifact: file.artifact.clone() });
        }
        let outcome = Outcome {
            id: self.id,
            status: decision.status,
            value: decision.ending.value,
            error: decision.ending.error,
            exit_code: decision.ending.exit_code,
            signal: decision.signal,
            logs: self.logs,
            results: self.results,
            artifacts: found.iter().map(|file| file.artifact.clone()).collect(),
            denied: self.denied,
            notes: self.notes,
            pending: decision.pending,
            left_behind: self.left_behind,
            usage,
            sandbox: self.info,
        };
        self.emitter.emit(EventKind::Finished { outcome: Box::new(outcome.clone()) });
        Finished { outcome, artifacts: found }
    }
}

/// CPU time that is charged to the program so far.
fn cpu_since_activation(sandbox: &Sandbox<Active>) -> Duration {
    let (user, system) = match &sandbox.body.cgroup {
        Some(cgroup) => cgroup.cpu_us(),
        None => sample(sandbox.body.pid).map_or((0, 0), |(cpu, _)| cpu),
    };
    Duration::from_micros((user + system).saturating_sub(sandbox.cpu_before.0 + sandbox.cpu_before.1))
}

/// The outcome of a run that was not started.
pub(crate) fn refused(id: RunId, sandbox: SandboxInfo, mut emitter: Emitter, error: &EngineError) -> Finished {
    not_started(
        id,
        sandbox,
        &mut emitter,
        Status::Refused,
        RunError { name: "Refused".into(), message: error.to_string(), ..RunError::default() },
    )
}

/// The outcome of a run that never reached a sandbox.
pub(crate) fn not_started(id: RunId, sandbox: SandboxInfo, emitter: &mut Emitter, status: Status, error: RunError) -> Finished {
    let outcome = Outcome::without_run(id, sandbox, status, error);
    emitter.emit(EventKind::Finished { outcome: Box::new(outcome.clone()) });
    Finished { outcome, artifacts: Vec::new() }
}

fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

fn processors() -> u64 {
    static COUNT: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, |count| count.get() as u64))
}
