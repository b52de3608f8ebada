//! Sandboxes of one engine at the same time: forks of one zygote share nothing that can be heard, guessed or hit. Each test is an engine of its own in a
//! process of its own, so that what it leaves can be told.

use std::collections::HashMap;
use std::future::Future;
use std::process::Command;
use std::time::Duration;

use belljar_engine::{Engine, EngineConfig};
use belljar_protocol::{Bytes, Language, Millis, Outcome, RunRequest, StartMode, Status};
use serde_json::Value;

use crate::leftovers;
use crate::resources::{cold_file, dead_groups, is_in_memory};
use crate::run::limits_available;

const INNER: &str = "BELLJAR_SECURITY_INNER";

/// Runs `body` with an engine, in a process that does nothing else, and checks what it leaves.
fn with_engine<F: Future<Output = ()>>(name: &str, parked: usize, body: impl FnOnce(Engine) -> F) {
    if std::env::var(INNER).as_deref() != Ok(name) {
        let folder = tempfile::tempdir().unwrap();
        for place in ["tmp", "work"] {
            std::fs::create_dir(folder.path().join(place)).unwrap();
        }
        let degraded = if limits_available() { "no" } else { "yes" };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([&format!("siblings::{name}"), "--exact", "--nocapture"]).env(INNER, name).env("BELLJAR_SECURITY_DEGRADED", degraded);
        let mut child = leftovers::spawn(command.env("TMPDIR", folder.path().join("tmp")));
        let status = child.wait().unwrap();
        leftovers::forget(child.id());
        assert!(status.success(), "{name} failed: what it said is above");
        leftovers::assert_none(child.id(), folder.path());
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = EngineConfig::from_env().unwrap();
        config.parked = parked;
        config.allow_degraded = std::env::var("BELLJAR_SECURITY_DEGRADED").as_deref() == Ok("yes");
        let engine = Engine::new(config).unwrap();
        body(engine.clone()).await;
        engine.shutdown().await;
    });
}

fn request(language: Language, code: &str) -> RunRequest {
    let mut request = RunRequest::new(language, code);
    request.start = StartMode::Fork;
    request.limits.timeout_ms = Millis(250_000);
    request.limits.cpu_ms = Millis(100_000);
    request
}

async fn run(engine: &Engine, request: RunRequest) -> Outcome {
    engine.run(request).finished().await.outcome
}

/// At the same time.
async fn all(engine: &Engine, requests: Vec<RunRequest>) -> Vec<Outcome> {
    let runs: Vec<_> = requests.into_iter().map(|request| engine.run(request)).collect();
    let mut outcomes = Vec::new();
    for run in runs {
        outcomes.push(run.finished().await.outcome);
    }
    outcomes
}

#[track_caller]
fn value(outcome: &Outcome) -> Value {
    assert_eq!(outcome.status, Status::Succeeded, "{outcome:?}");
    serde_json::from_str(outcome.value.as_ref().expect("a value").get()).unwrap()
}

const RANDOM_IN_JAVASCRIPT: &str = r"
const crypto = require('node:crypto');
const ecdh = crypto.createECDH('prime256v1');
({
  random: Math.random(), bytes: crypto.randomBytes(16).toString('hex'), uuid: crypto.randomUUID(), int: crypto.randomInt(2 ** 47),
  web: Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(16))).toString('hex'), webUuid: globalThis.crypto.randomUUID(),
  ecdh: ecdh.generateKeys('hex'), x25519: crypto.generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'der' }).toString('hex'),
  prime: String(crypto.generatePrimeSync(64, { bigint: true })), folder: require('node:fs').mkdtempSync('/tmp/x-'),
})";

const RANDOM_IN_PYTHON: &str = r"
import os, random, secrets, ssl, tempfile, uuid
{'random': random.random(), 'urandom': os.urandom(16).hex(), 'uuid': str(uuid.uuid4()), 'uuid1': str(uuid.uuid1()), 'secrets': secrets.token_hex(),
 'ssl': ssl.RAND_bytes(16).hex(), 'system': random.SystemRandom().random(), 'shuffled': str(random.sample(range(10**9), 4)), 'name': tempfile.mktemp()}";

/// jail-facts, hole 1. In production's own namespaces, forked and parked ones, at the same time and after one another.
#[test]
fn forks_share_no_randomness() {
    with_engine("forks_share_no_randomness", 2, |engine| async move {
        for (language, code) in [(Language::JavaScript, RANDOM_IN_JAVASCRIPT), (Language::Python, RANDOM_IN_PYTHON)] {
            let mut outcomes = all(&engine, vec![request(language, code); 4]).await;
            for _ in 0..4 {
                outcomes.push(run(&engine, request(language, code)).await);
            }
            let mut seen: HashMap<String, usize> = HashMap::new();
            for outcome in &outcomes {
                let Value::Object(values) = value(outcome) else { panic!("{outcome:?}") };
                assert!(values.len() >= 9);
                for (kind, drawn) in values {
                    *seen.entry(format!("{kind}: {drawn}")).or_default() += 1;
                }
            }
            let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
            assert!(twice.is_empty(), "drawn more than once: {twice:?}");
        }
    });
}

/// One listens in every way that it can, the other tries to reach it. A folder that both may write tells when.
#[test]
fn siblings_cannot_reach_each_other() {
    with_engine("siblings_cannot_reach_each_other", 0, |engine| async move {
        let host = tempfile::tempdir().unwrap();
        let meeting = host.path().to_str().unwrap().to_owned();
        crate::run::open_to_all(host.path());
        let prelude = format!("{}\nmeeting = '{meeting}'\n", include_str!("prelude.py"));
        let listener = format!(
            "{prelude}{}",
            r"
import select, socket, time
stream = socket.socket(socket.AF_UNIX); stream.bind('\0stream'); stream.listen()
datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); datagram.bind('\0datagram')
netlink = socket.socket(16, 3, 0); netlink.bind((4711, 0))
open(f'{meeting}/listening', 'w').close()
end = time.monotonic() + 200
while not os.path.exists(f'{meeting}/tried') and time.monotonic() < end:
    time.sleep(0.01)
heard = select.select([stream, datagram, netlink], [], [], 0.05)[0]
attempt('heard', lambda: len(heard))
attempt('waited', lambda: os.path.exists(f'{meeting}/tried'))
attempts
"
        );
        let caller = format!(
            "{prelude}{}",
            r"
import socket, time
end = time.monotonic() + 200
while not os.path.exists(f'{meeting}/listening') and time.monotonic() < end:
    time.sleep(0.01)
attempt('listening', lambda: os.path.exists(f'{meeting}/listening'))
def connect(name, kind):
    with socket.socket(socket.AF_UNIX, kind) as client:
        client.connect(name)
        client.send(b'hello')
attempt('stream', connect, '\0stream', socket.SOCK_STREAM)
attempt('datagram', connect, '\0datagram', socket.SOCK_DGRAM)
def netlink():
    with socket.socket(16, 3, 0) as client:
        client.sendto(b'\0' * 32, (4711, 0))
attempt('netlink', netlink)
attempt('signals', lambda: [number_ for number_ in range(2, 2000) if libc.kill(number_, 0) == 0])
attempt('processes', lambda: [name for name in os.listdir('/proc') if name.isdigit()])
attempt('shared memory', lambda: os.listdir('/dev/shm'))
open(f'{meeting}/tried', 'w').close()
attempts
"
        );
        let requests = [listener, caller].map(|code| {
            let mut request = request(Language::Python, &code);
            request.policy.fs.write = vec![meeting.clone()];
            request
        });
        let outcomes = all(&engine, requests.to_vec()).await;
        let (heard, told) = (value(&outcomes[0]), value(&outcomes[1]));
        assert_eq!((&heard["waited"], &heard["heard"]), (&"done: True".into(), &"done: 0".into()), "{heard}");
        assert_eq!(told["listening"], "done: True");
        for way in ["stream", "datagram", "netlink"] {
            assert!(["EPERM", "ECONNREFUSED"].contains(&told[way].as_str().unwrap_or_default()), "{way}: {told}");
        }
        assert_eq!(
            (&told["signals"], &told["processes"], &told["shared memory"]),
            (&"done: []".into(), &"done: ['1']".into(), &"done: []".into())
        );
    });
}

/// A signal to "my own process group" goes by the group alone, whatever namespaces its members are in: each sandbox leads one of its own.
#[test]
fn a_signal_to_ones_own_group_reaches_no_sibling() {
    with_engine("a_signal_to_ones_own_group_reaches_no_sibling", 0, |engine| async move {
        for start in [StartMode::Fork, StartMode::Exec] {
            let host = tempfile::tempdir().unwrap();
            let meeting = host.path().to_str().unwrap().to_owned();
            crate::run::open_to_all(host.path());
            let prelude = format!(
                "{}{}",
                include_str!("prelude.py"),
                r"
import signal, time
felt = []
signal.signal(signal.SIGUSR1, lambda *_: felt.append(1))
def wait_for(name):
    end = time.monotonic() + 200
    while not os.path.exists(f'{meeting}/{name}') and time.monotonic() < end:
        time.sleep(0.01)
    return os.path.exists(f'{meeting}/{name}')
attempt('group', lambda: (os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid()))
"
            );
            let waits = "open(f'{meeting}/ready', 'w').close()\nattempt('told', wait_for, 'signalled')\nattempt('felt', lambda: len(felt))";
            let signals = "attempt('ready', wait_for, 'ready')\nattempt('kill', os.kill, 0, signal.SIGUSR1)\nattempt('felt', lambda: len(felt))\n\
                           open(f'{meeting}/signalled', 'w').close()";
            let requests = [waits, signals].map(|body| {
                let mut request = request(Language::Python, &format!("meeting = '{meeting}'\n{prelude}\n{body}\nattempts\n"));
                request.start = start;
                request.policy.fs.write = vec![meeting.clone()];
                request
            });
            let outcomes = all(&engine, requests.to_vec()).await;
            let (waited, signalled) = (value(&outcomes[0]), value(&outcomes[1]));
            assert_eq!((&signalled["ready"], &signalled["felt"]), (&"done: True".into(), &"done: 1".into()), "{start:?}: {signalled}");
            assert_eq!((&waited["told"], &waited["felt"]), (&"done: True".into(), &"done: 0".into()), "{start:?}: {waited}");
            for told in [waited, signalled] {
                assert_eq!(told["group"], "done: (True, True)", "{start:?}");
            }
        }
    });
}

/// What one does to itself its sibling does not feel.
#[test]
fn a_bomb_in_one_sandbox_does_not_touch_its_sibling() {
    with_engine("a_bomb_in_one_sandbox_does_not_touch_its_sibling", 0, |engine| async move {
        let quiet = engine.run(request(Language::Python, "import time\nfor _ in range(150): time.sleep(0.01)\n'untouched'"));
        let bombs = [
            "import os\nprint('armed', flush=True)\nos.kill(-1, 9) if False else None\nimport ctypes\nctypes.CDLL(None).kill(-1, 9)\nctypes.string_at(0)",
            "print('armed', flush=True)\nheld = []\nwhile True: held.append(bytearray(1 << 20))",
            "print('armed', flush=True)\nwhile True: print('x' * 1000)",
            "import ctypes\nprint('armed', flush=True)\nctypes.CDLL(None).ptrace(16, 1, 0, 0)",
        ];
        let requests = bombs.map(|bomb| {
            let mut request = request(Language::Python, bomb);
            request.limits.memory_bytes = Bytes(64 << 20);
            request
        });
        for outcome in all(&engine, requests.to_vec()).await {
            assert_ne!(outcome.status, Status::Succeeded, "{outcome:?}");
            assert_eq!(outcome.logs.first().map(|entry| entry.message.as_str()), Some("armed"), "{outcome:?}");
        }
        assert_eq!(value(&quiet.finished().await.outcome), "untouched");
    });
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Descriptors and processes after many runs of all endings are those from before.
#[test]
fn an_engine_that_has_run_much_holds_what_it_held() {
    with_engine("an_engine_that_has_run_much_holds_what_it_held", 0, |engine| async move {
        let programs = [
            (Language::Python, "6 * 7"),
            (Language::JavaScript, "6 * 7"),
            (Language::Python, "import ctypes\nctypes.string_at(0)"),
            (Language::JavaScript, "process.exit(3)"),
            (Language::Python, "import os\nos.makedirs('outputs', exist_ok=True)\nopen('outputs/x', 'w').write('x')"),
        ];
        let round = || async {
            all(&engine, programs.iter().map(|(language, code)| request(*language, code)).collect()).await;
            // A run whose handle is dropped is cancelled.
            drop(engine.run(request(Language::Python, "while True: pass")));
        };
        round().await;
        let settled = settled_descriptors().await;
        for _ in 0..10 {
            round().await;
        }
        let after = settled_descriptors().await;
        assert!(after <= settled, "{settled} descriptors before, {after} after");
        let left = leftovers::descendants(std::process::id()).len();
        assert_eq!(left, 2, "processes besides two zygotes");
    });
}

/// A group that holds pages of files stays until sixteen younger ones do. With the engine all of them go, and the
/// kernel frees them.
#[test]
fn an_engine_keeps_few_groups_for_the_pages_that_its_runs_have_read() {
    const RUNS: usize = 40;
    if !limits_available() {
        return;
    }
    let before = dead_groups();
    with_engine("an_engine_keeps_few_groups_for_the_pages_that_its_runs_have_read", 0, |engine| async move {
        let folder = tempfile::tempdir().unwrap();
        let mut most = 0;
        for number in 0..RUNS {
            let path = cold_file(folder.path(), number);
            let path = path.to_str().unwrap();
            let mut read = request(Language::Python, &format!("len(open('{path}', 'rb').read())"));
            read.policy.fs.read.push(folder.path().to_str().unwrap().to_owned());
            assert_eq!(value(&run(&engine, read).await), 200_000);
            most = most.max(memory_groups());
        }
        assert!(most > 2 || is_in_memory(folder.path()), "no page was charged to a run: {most} groups");
        assert!(most <= 16 + 8, "{most} groups are kept");
    });
    if std::env::var(INNER).is_err() {
        // Others come and go meanwhile; each run left one before.
        let started = std::time::Instant::now();
        while dead_groups() > before + RUNS as u64 / 2 {
            assert!(started.elapsed() < Duration::from_secs(20), "{} dead groups, and {before} before", dead_groups());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Groups of this process's sandboxes that count memory.
fn memory_groups() -> usize {
    let is_of_memory = |path: &&std::path::PathBuf| path.join("memory.stat").exists();
    let sandboxes = |group: &std::path::PathBuf| std::fs::read_dir(group).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    leftovers::groups(std::process::id()).iter().filter(is_of_memory).map(sandboxes).sum()
}

/// The number of descriptors once what is being taken down is gone.
async fn settled_descriptors() -> usize {
    let mut fewest = usize::MAX;
    for _ in 0..200 {
        fewest = fewest.min(descriptors());
        if leftovers::descendants(std::process::id()).len() <= 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return fewest.min(descriptors());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fewest
}

/// A parked sandbox serves one run and is gone: nothing of a program is there for the next.
#[test]
fn a_parked_sandbox_serves_once() {
    with_engine("a_parked_sandbox_serves_once", 2, |engine| async move {
        let programs = [
            (
                Language::JavaScript,
                "const fs = require('node:fs'); const before = [fs.existsSync('/tmp/left'), typeof globalThis.left, Array.prototype.left ?? null, process.env.LEFT ?? null]; fs.writeFileSync('/tmp/left', 'x'); globalThis.left = Array.prototype.left = process.env.LEFT = 'x'; before",
                r#"[false,"undefined",null,null]"#,
            ),
            (
                Language::Python,
                "import builtins, os, sys\nbefore = [os.path.exists('/tmp/left'), hasattr(builtins, 'left'), 'left' in sys.modules, 'LEFT' in os.environ]\nopen('/tmp/left', 'w').close()\nbuiltins.left = sys.modules['left'] = os.environ['LEFT'] = 'x'\nbefore",
                "[false,false,false,false]",
            ),
        ];
        for (language, code, expected) in programs {
            for _ in 0..6 {
                assert_eq!(value(&run(&engine, request(language, code)).await).to_string(), expected);
            }
        }
    });
}
