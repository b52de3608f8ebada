//! Storage from inside real sandboxes, JavaScript and Python, forked and exec'd: what programs move
//! through a call handler, and what hostile ones do to it.

mod handler;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use belljar_engine::{Engine, EngineConfig, Finished, Run, RunEvent, RunHost};
use belljar_protocol::{
    Bytes, EventKind, Exec, Language, Limits, Millis, Outcome, RunId, RunRequest, StartMode,
    Status, StoragePolicy,
};
use belljar_test_support::{eventually_async, processes};
use handler::{MemoryHandler, State};
use serde_json::{Value, json};
use tokio::sync::Mutex;

const STARTS: [StartMode; 2] = [StartMode::Fork, StartMode::Exec];

/// Descriptors are counted, and they are the process's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

struct Bench {
    engine: Engine,
    state: Arc<State>,
}

impl Bench {
    fn new() -> Self {
        let mut config = EngineConfig::from_env().unwrap();
        config.parked = 0;
        config.allow_degraded = true;
        Self { engine: Engine::new(config).unwrap(), state: Arc::default() }
    }

    fn request(language: Language, code: &str, start: StartMode) -> RunRequest {
        let mut request = RunRequest::new(language, code);
        request.start = start;
        request.policy.storage =
            StoragePolicy { read: vec![String::new()], write: vec!["out/".into(), "big/".into()] };
        request.limits =
            Limits { timeout_ms: Millis(120_000), cpu_ms: Millis(100_000), ..Limits::default() };
        request
    }

    fn host(&self) -> RunHost {
        let handler = MemoryHandler { state: Arc::clone(&self.state), read: "", write: "" };
        RunHost { calls: Some(Arc::new(handler)), ..RunHost::default() }
    }

    fn start(&self, request: RunRequest) -> Run {
        self.engine.run_with(request, self.host())
    }

    async fn run(&self, language: Language, code: &str, start: StartMode) -> Outcome {
        self.start(Self::request(language, code, start)).finished().await.outcome
    }

    /// Waits until all calls have ended here.
    async fn quiet(&self) {
        let state = &self.state;
        eventually_async("all calls have ended", async || {
            state.begun.load(Ordering::Relaxed) == state.ended.load(Ordering::Relaxed)
        })
        .await;
    }
}

fn descriptors() -> usize {
    processes::descriptors(std::process::id())
}

fn resident_bytes() -> u64 {
    processes::resident_bytes(std::process::id())
}

fn value(outcome: &Outcome) -> Value {
    let value = outcome
        .value
        .as_ref()
        .unwrap_or_else(|| panic!("{:?} {:?}", outcome.status, outcome.error));
    serde_json::from_str(value.get()).unwrap()
}

fn succeeded(outcome: &Outcome) -> Value {
    assert_eq!(outcome.status, Status::Succeeded, "{:?} {:?}", outcome.error, outcome.logs);
    value(outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_data_makes_its_way_out_and_back() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let bench = Bench::new();
    let javascript = r"
        const { text } = require('stream/consumers');
        const { Readable, PassThrough } = require('stream');
        async function main() {
          const storage = belljar.storage;
          const kinds = {
            text: 'grün', buffer: Buffer.from('abc'), typed: new Uint8Array([97, 98]), blob: new Blob(['a', 'b'], { type: 'text/csv' }),
            stream: Readable.from(['a', 'b']), web: new Blob(['web']).stream(), async: (async function* () { yield 'a'; yield 'b'; })(),
          };
          const back = {};
          for (const [name, data] of Object.entries(kinds)) {
            const { sizeBytes } = await storage.upload(`out/${name}`, data);
            back[name] = [sizeBytes, await text((await storage.download(`out/${name}`)).pipe(new PassThrough()))];
          }
          await storage.delete('out/web');
          return { back, names: (await storage.list('out/')).map(({ name }) => name), csv: (await storage.list('out/blob'))[0].contentType,
            missing: await storage.download('out/web').catch(({ name, code, message }) => [name, code, message]) };
        }";
    let python = r#"
import io
storage = belljar.storage
kinds = {"text": "grün", "bytes": b"abc", "view": memoryview(b"ab"), "file": io.BytesIO(b"file"), "pieces": iter(["a", b"b"])}
back = {}
for name, data in kinds.items():
    size = storage.upload(f"out/{name}", data).size_bytes
    with storage.download(f"out/{name}") as file:
        back[name] = [size, file.read().decode()]
storage.delete("out/file")
try:
    storage.download("out/file")
except FileNotFoundError as error:
    missing = [type(error).__name__, str(error)]
{"back": back, "names": [o.name for o in storage.list("out/")], "missing": missing}
"#;
    for start in STARTS {
        let outcome = bench.run(Language::JavaScript, javascript, start).await;
        let back = json!({
            "text": [5, "grün"], "buffer": [3, "abc"], "typed": [2, "ab"], "blob": [2, "ab"], "stream": [2, "ab"], "web": [3, "web"], "async": [2, "ab"],
        });
        let names = ["out/async", "out/blob", "out/buffer", "out/stream", "out/text", "out/typed"];
        let missing = ["NotFound", "ENOENT", "there is no object out/web"];
        assert_eq!(
            succeeded(&outcome),
            json!({"back": back, "names": names, "csv": "text/csv", "missing": missing}),
            "{start:?}"
        );
        bench.state.objects.lock().unwrap().clear();

        let outcome = bench.run(Language::Python, python, start).await;
        let back = json!({"text": [5, "grün"], "bytes": [3, "abc"], "view": [2, "ab"], "file": [4, "file"], "pieces": [2, "ab"]});
        let names = ["out/bytes", "out/pieces", "out/text", "out/view"];
        let missing = ["NotFound", "there is no object out/file"];
        assert_eq!(
            succeeded(&outcome),
            json!({"back": back, "names": names, "missing": missing}),
            "{start:?}"
        );
        bench.state.objects.lock().unwrap().clear();
    }
    bench.quiet().await;
    bench.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_article_works_as_it_stands() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let bench = Bench::new();
    bench.state.put("inputs/data.csv", b"a,b\n1,2\n3,4\n");
    let code = r"
        const { Transform } = require('stream');
        const csv = () => new Transform({ readableObjectMode: true, transform(chunk, _, done) {
          for (const line of String(chunk).trim().split('\n').slice(1)) this.push(line.split(','));
          done();
        } });
        async function main() {
          const stream = await yepcode.storage.download('inputs/data.csv');
          const results = [];
          return new Promise((resolve) => {
            stream.pipe(csv()).on('data', (data) => results.push(data)).on('end', async () => {
              const summary = { totalRecords: results.length };
              await yepcode.storage.upload('out/summary.json', new Blob([JSON.stringify(summary, null, 2)], { type: 'application/json' }));
              resolve(summary);
            });
          });
        }
        module.exports = { main };";
    let outcome = bench.run(Language::JavaScript, code, StartMode::Fork).await;
    assert_eq!(succeeded(&outcome), json!({"totalRecords": 2}));
    let stored = bench.state.get("out/summary.json").unwrap();
    assert_eq!(
        (stored.content_type.as_str(), stored.content.as_slice()),
        ("application/json", &b"{\n  \"totalRecords\": 2\n}"[..])
    );
    bench.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_stream_without_being_held_anywhere() {
    const SIZE: usize = 200 << 20;
    let _alone = ONE_AT_A_TIME.lock().await;
    let bench = Bench::new();
    let javascript = format!(
        r"
        async function main() {{
          const block = Buffer.alloc(1 << 20, 'x');
          async function* blocks() {{ for (let n = 0; n < {SIZE}; n += block.length) yield block; }}
          let began = performance.now();
          const stored = await belljar.storage.upload('big/js', blocks());
          const up = performance.now() - began;
          began = performance.now();
          let size = 0;
          for await (const part of await belljar.storage.download('big/{SIZE}')) size += part.length;
          return {{ stored: stored.sizeBytes, size, up, down: performance.now() - began }};
        }}"
    );
    let python = format!(
        r#"
import time
block = b"x" * (1 << 20)
def blocks():
    for _ in range({SIZE} // len(block)):
        yield block
began = time.perf_counter()
stored = belljar.storage.upload("big/python", blocks())
up = time.perf_counter() - began
began = time.perf_counter()
size = 0
with belljar.storage.download("big/{SIZE}") as file:
    while part := file.read(1 << 20):
        size += len(part)
{{"stored": stored.size_bytes, "size": size, "up": up * 1000, "down": (time.perf_counter() - began) * 1000}}
"#
    );
    for (language, code, name) in
        [(Language::JavaScript, &javascript, "big/js"), (Language::Python, &python, "big/python")]
    {
        for start in STARTS {
            let mut request = Bench::request(language, code, start);
            request.limits.memory_bytes = Bytes(128 << 20);
            let before = resident_bytes();
            let run = tokio::spawn(bench.start(request).finished());
            let mut most = before;
            while !run.is_finished() {
                most = most.max(resident_bytes());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let outcome = run.await.unwrap().outcome;
            let value = succeeded(&outcome);
            let counted = bench.state.counted.lock().unwrap().remove(name).unwrap();
            assert_eq!(
                (counted, &value["stored"], &value["size"]),
                (SIZE, &json!(SIZE), &json!(SIZE))
            );
            assert!(
                most - before < 24 << 20,
                "{language} {start:?}: the supervisor grew by {} MB",
                (most - before) >> 20
            );
            let rate = |ms: &Value| (SIZE >> 20) as f64 / (ms.as_f64().unwrap() / 1000.0);
            println!(
                "{language} {start:?}: up {:.0} MB/s, down {:.0} MB/s; peak {} MB; supervisor + {} KB",
                rate(&value["up"]),
                rate(&value["down"]),
                outcome.usage.peak_memory_bytes >> 20,
                (most - before) >> 10,
            );
        }
    }
    bench.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_off_is_not_stored() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let bench = Bench::new();
    let programs = [
        (
            Language::JavaScript,
            "belljar.storage.upload('out/a', (async function* () { yield 'x'.repeat(200000); throw new Error('torn'); })())",
        ),
        (
            Language::JavaScript,
            "belljar.storage.upload('out/a', (async function* () { yield 'x'.repeat(200000); process.exit(0); })())",
        ),
        (
            Language::JavaScript,
            "belljar.storage.upload('out/a', (async function* () { yield 'x'.repeat(200000); process.kill(process.pid, 'SIGKILL'); })())",
        ),
        (
            Language::Python,
            "def source():\n  yield 'x' * 400000\n  raise ValueError('torn')\nbelljar.storage.upload('out/a', source())",
        ),
        (
            Language::Python,
            "import os\ndef source():\n  yield 'x' * 400000\n  os._exit(0)\nbelljar.storage.upload('out/a', source())",
        ),
    ];
    for (number, (language, code)) in programs.into_iter().enumerate() {
        bench.state.received.store(0, Ordering::Relaxed);
        bench.run(language, code, STARTS[number % 2]).await;
        bench.quiet().await;
        assert!(
            bench.state.received.load(Ordering::Relaxed) >= 200_000,
            "{code}: nothing was sent"
        );
        assert_eq!(bench.state.get("out/a"), None, "{code}");
    }
    bench.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_an_error_and_a_denial() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let bench = Bench::new();
    let programs = [
        (
            Language::JavaScript,
            "Promise.all([1, 2].map(() => belljar.storage.upload('secret/a', Buffer.alloc(5 << 20)).catch(({ name, code, message }) => [name, code, message])))",
            json!([
                "NotGranted",
                "EACCES",
                "write of secret/a is not granted; grant it with storage.write: [\"secret/a\"]"
            ]),
        ),
        (
            Language::Python,
            "seen = []\nfor _ in range(2):\n  try:\n    belljar.storage.upload('secret/a', bytes(5 << 20))\n  except PermissionError as error:\n    seen.append([type(error).__name__, error.errno, str(error)])\nseen",
            json!([
                "NotGranted",
                13,
                "write of secret/a is not granted; grant it with storage.write: [\"secret/a\"]"
            ]),
        ),
    ];
    for (language, code, error) in programs {
        for start in STARTS {
            let mut host = bench.host();
            host.calls = Some(Arc::new(MemoryHandler {
                state: Arc::clone(&bench.state),
                read: "",
                write: "out/",
            }));
            let mut run = bench.engine.run_with(Bench::request(language, code, start), host);
            let mut denied_events = 0;
            while let Some(event) = run.next_event().await {
                denied_events += usize::from(matches!(
                    event,
                    RunEvent::Event(event) if matches!(event.kind, EventKind::Denied { .. })
                ));
            }
            let outcome = run.finished().await.outcome;
            assert_eq!(succeeded(&outcome), json!([error, error]));
            // Two equal denials are reported once.
            assert_eq!((outcome.denied.len(), denied_events), (1, 1), "{language} {start:?}");
            assert_eq!(
                (outcome.denied[0].action.as_str(), outcome.denied[0].target.as_str()),
                ("storage.write", "secret/a")
            );
        }
    }
    bench.engine.shutdown().await;
}

/// A Python library that forges calls.
const FORGE: &str = r#"
import array, os, socket, struct, sys, time
channel = socket.socket(fileno=os.dup(3))
CALL = struct.pack("<IBI", 4, 7, 1)
def answer():
    data, sockets, _, _ = socket.recv_fds(channel, 6, 4)
    return data[5], [socket.socket(fileno=number) for number in sockets]
"#;

async fn forged(bench: &Bench, body: &str, start: StartMode) -> (Outcome, usize) {
    let before = descriptors();
    let run = tokio::spawn(
        bench.start(Bench::request(Language::Python, &format!("{FORGE}{body}"), start)).finished(),
    );
    let mut most = before;
    while !run.is_finished() {
        most = most.max(descriptors());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (run.await.unwrap().outcome, most - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_calls_is_bounded_and_ends() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for start in STARTS {
        let bench = Bench::new();
        // A first run boots what later ones need.
        succeeded(&bench.run(Language::Python, "1", start).await);
        let quiet = descriptors();
        // The sandbox does not read the answers.
        let body = "for _ in range(100):\n  os.write(3, CALL * 1000)\n'done'";
        let (outcome, more) = forged(&bench, body, start).await;
        assert_eq!(succeeded(&outcome), "done");
        assert!(more < 200, "{start:?}: the supervisor held {more} descriptors more");
        assert!(bench.state.max_open.load(Ordering::Relaxed) <= 17);
        bench.quiet().await;
        // The sandbox reads the answers and keeps the sockets.
        let body = "
got = []
kinds = set()
for _ in range(1000):
    os.write(3, CALL)
    kind, sockets = answer()
    kinds.add((kind, len(sockets)))
    got += sockets
held = len(got)
for one in got:
    one.close()
# Its own calls still work.
while True:
    os.write(3, CALL)
    kind, sockets = answer()
    if kind == 0:
        break
    time.sleep(0.001)
sockets[0].close()
belljar.storage.upload('out/after', 'x')
[held, sorted(kinds)]";
        let (outcome, more) = forged(&bench, body, start).await;
        assert_eq!(succeeded(&outcome), json!([16, [[0, 1], [1, 0]]]));
        assert!(more < 200, "{start:?}: the supervisor held {more} descriptors more");
        assert!(bench.state.get("out/after").is_some());
        bench.quiet().await;
        eventually_async("no descriptors are left over", async || descriptors() <= quiet).await;
        bench.engine.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_without_end_does_not_stop_the_clock() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let bench = Bench::new();
    let pour = "
import threading
blob = CALL * 12000
def pour():
    while True:
        os.write(3, blob)
for _ in range(3):
    threading.Thread(target=pour, daemon=True).start()
pour()";
    let mut request = Bench::request(Language::Python, &format!("{FORGE}{pour}"), StartMode::Fork);
    request.limits.timeout_ms = Millis(1500);
    let before = resident_bytes();
    let began = Instant::now();
    let outcome = bench.start(request).finished().await.outcome;
    // Interleaved writes of threads may break a frame: then the run has failed instead.
    assert!([Status::TimedOut, Status::Failed].contains(&outcome.status), "{:?}", outcome.error);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(resident_bytes().saturating_sub(before) < 64 << 20);
    bench.quiet().await;
    bench.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_say_nothing_or_nonsense_end_with_their_run() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let bench = Bench::new();
    let bodies = [
        // Half a request.
        r"say(b'\x20\x00')",
        r#"say(b'\x20\x00\x00\x00{"op"')"#,
        // Nothing, and everything at once.
        "say(b'')",
        r"say(b'\xff' * 100000)",
        // The sandbox does not read the body of a download.
        r#"j = b'{"op":"download","name":"big/1000000000"}'; say(struct.pack('<I', len(j)) + j); time.sleep(0.2)"#,
    ];
    let say = "
def say(data):
    global kept
    os.write(3, CALL)
    kept = answer()
    try:
        kept[1][0].sendall(data)
    except OSError:
        # The other side has heard enough.
        pass
";
    for (number, body) in bodies.into_iter().enumerate() {
        let (outcome, _) =
            forged(&bench, &format!("{say}{body}\n'done'"), STARTS[number % 2]).await;
        assert_eq!(succeeded(&outcome), "done", "{body}");
        bench.quiet().await;
    }
    assert!(bench.state.begun.load(Ordering::Relaxed) >= 5);
    bench.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_leaves_neither_object_nor_descriptor() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let bench = Bench::new();
    let javascript = "belljar.storage.upload('out/a', (async function* () { for (;;) { yield Buffer.alloc(10000); await new Promise(setImmediate); } })())";
    let python = "belljar.storage.upload('out/a', iter(lambda: bytes(10000), None))";
    for (language, code) in [(Language::JavaScript, javascript), (Language::Python, python)] {
        for start in STARTS {
            succeeded(&bench.run(language, "1", start).await);
            let quiet = descriptors();
            bench.state.received.store(0, Ordering::Relaxed);
            let run = bench.start(Bench::request(language, code, start));
            let canceller = run.canceller();
            let state = Arc::clone(&bench.state);
            let finished = tokio::spawn(run.finished());
            eventually_async("the upload has begun", async || {
                state.received.load(Ordering::Relaxed) > 1 << 20
            })
            .await;
            canceller.cancel();
            let Finished { outcome, .. } = finished.await.unwrap();
            assert_eq!(outcome.status, Status::Cancelled);
            // Immediately and not eventually: a caller that knows that a run has ended relies on
            // it.
            assert_eq!(state.begun.load(Ordering::Relaxed), state.ended.load(Ordering::Relaxed));
            assert_eq!(bench.state.get("out/a"), None);
            eventually_async("no descriptors are left over", async || descriptors() <= quiet).await;
        }
    }
    bench.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_handler_or_a_grant_nobody_answers() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let bench = Bench::new();
    let outcome = bench
        .engine
        .run(Bench::request(Language::Python, "1", StartMode::Auto))
        .finished()
        .await
        .outcome;
    assert_eq!(outcome.status, Status::Refused);
    let error = outcome.error.unwrap();
    assert_eq!(error.message, "policy.storage: storage is only available on a server");
    assert!(error.hint.is_some_and(|hint| hint.contains("belljar serve")));
    // A handler is nothing to a run that names no storage.
    let mut request = Bench::request(
        Language::Python,
        &format!("{FORGE}os.write(3, CALL)\nkind, sockets = answer()\n[kind, len(sockets)]"),
        StartMode::Fork,
    );
    request.policy.storage = StoragePolicy::default();
    assert_eq!(succeeded(&bench.start(request).finished().await.outcome), json!([2, 0]));
    assert_eq!(bench.state.begun.load(Ordering::Relaxed), 0);
    // The id is the host's to choose.
    let id = RunId::new();
    let host = RunHost { id: Some(id.clone()), ..RunHost::default() };
    let finished =
        bench.engine.run_with(RunRequest::new(Language::Python, "1"), host).finished().await;
    assert_eq!(finished.outcome.id, id);
    bench.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_of_a_program_get_no_calls_of_its() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let bench = Bench::new();
    let forked = r#"
import os
read, write = os.pipe()
if os.fork() == 0:
    try:
        belljar.storage.upload("out/child", "x")
    except OSError as error:
        os.write(write, str(error).encode())
    os._exit(0)
os.wait()
belljar.storage.upload("out/parent", "x")
os.read(read, 1000).decode()
"#;
    let mut request = Bench::request(Language::Python, forked, StartMode::Fork);
    request.policy.exec = Exec::Granted;
    let said = succeeded(&bench.start(request).finished().await.outcome);
    assert_eq!(said, "storage works in the process of the run, not in one that it has forked");
    assert!(bench.state.get("out/child").is_none() && bench.state.get("out/parent").is_some());

    bench.state.put("a", b"x");
    let inherited = r#"
import os, subprocess
held = belljar.storage.download("a")
before = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False).stdout
["socket:" in before, any("socket:" in os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if n not in "0123" and os.path.lexists(f"/proc/self/fd/{n}"))]
"#;
    let mut request = Bench::request(Language::Python, inherited, StartMode::Exec);
    request.policy.exec = Exec::Granted;
    assert_eq!(succeeded(&bench.start(request).finished().await.outcome), json!([false, true]));
    bench.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_are_open_at_a_time_take_turns() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let bench = Bench::new();
    let javascript = "Promise.all(Array.from({ length: 60 }, (_, n) => belljar.storage.upload(`out/${n}`, 'x'.repeat(300000)))).then((all) => all.length)";
    let python = "
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(40) as pool:
    made = list(pool.map(lambda n: belljar.storage.upload(f'out/{n}', 'x' * 300000), range(60)))
len(made)";
    for (language, code) in [(Language::JavaScript, javascript), (Language::Python, python)] {
        for start in STARTS {
            assert_eq!(succeeded(&bench.run(language, code, start).await), 60);
            assert_eq!(std::mem::take(&mut *bench.state.objects.lock().unwrap()).len(), 60);
        }
    }
    assert!(bench.state.max_open.load(Ordering::Relaxed) <= 17);
    bench.engine.shutdown().await;
}
