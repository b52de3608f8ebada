//! Sandboxes of one engine at the same time: forks of one zygote share nothing that can be heard,
//! guessed or hit. Each test is an engine of its own in a process of its own, so that its
//! leftovers can be identified.

use std::collections::HashMap;
use std::future::Future;
use std::process::Command;
use std::time::Duration;

use belljar_engine::{Engine, EngineConfig, Run, RunEvent};
use belljar_protocol::{Bytes, Language, Millis, Outcome, RunRequest, StartMode, Status};
use belljar_test_support::{control_groups, eventually, eventually_async, is_root, processes};
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
        command
            .args([&format!("siblings::{name}"), "--exact", "--nocapture"])
            .env(INNER, name)
            .env("BELLJAR_SECURITY_DEGRADED", degraded);
        let mut child = leftovers::spawn(command.env("TMPDIR", folder.path().join("tmp")));
        let status = child.wait().unwrap();
        leftovers::forget(child.id());
        assert!(status.success(), "{name} failed: what it said is above");
        leftovers::assert_none(child.id(), folder.path());
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
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

/// Waits until a program has written this line.
async fn until_written(run: &mut Run, line: &str) {
    let mut written = String::new();
    while !written.lines().any(|written| written == line) {
        match run.next_event().await {
            Some(RunEvent::Output { bytes, .. }) => {
                written.push_str(&String::from_utf8_lossy(&bytes));
            }
            Some(RunEvent::Event(_)) => {}
            None => panic!("it ended and has not written {line}, but {written}"),
        }
    }
}

/// Runs the second program while the first, which has written `ready`, still lives.
async fn run_next_to(engine: &Engine, first: RunRequest, second: RunRequest) -> Outcome {
    let mut running = engine.run(first);
    until_written(&mut running, "ready").await;
    let outcome = run(engine, second).await;
    running.canceller().cancel();
    assert_eq!(running.finished().await.outcome.status, Status::Cancelled);
    outcome
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

/// OpenSSL detects a fork by the process id, and every sandbox is process 1 of its namespace:
/// without a new seed, all forks of a zygote would draw the same bytes. Tested with forked and
/// parked sandboxes, at the same time and one after another.
#[test]
fn forks_share_no_randomness() {
    with_engine("forks_share_no_randomness", 2, |engine| async move {
        for (language, code) in
            [(Language::JavaScript, RANDOM_IN_JAVASCRIPT), (Language::Python, RANDOM_IN_PYTHON)]
        {
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

/// One listens in every way that it can, the other tries to reach it. A folder that both may write
/// tells when.
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
open(f'{meeting}/listening', 'w').close()
end = time.monotonic() + 200
while not os.path.exists(f'{meeting}/tried') and time.monotonic() < end:
    time.sleep(0.01)
heard = select.select([stream, datagram], [], [], 0.05)[0]
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
        let (heard, reported) = (value(&outcomes[0]), value(&outcomes[1]));
        assert_eq!(
            (&heard["waited"], &heard["heard"]),
            (&"done: True".into(), &"done: 0".into()),
            "{heard}"
        );
        assert_eq!(reported["listening"], "done: True");
        for way in ["stream", "datagram"] {
            assert!(
                ["EPERM", "ECONNREFUSED"].contains(&reported[way].as_str().unwrap_or_default()),
                "{way}: {reported}"
            );
        }
        assert_eq!(
            (&reported["signals"], &reported["processes"], &reported["shared memory"]),
            (&"done: []".into(), &"done: ['1']".into(), &"done: []".into())
        );
    });
}

/// A signal to "my own process group" goes by the group alone, whatever namespaces its members are
/// in: each sandbox leads one of its own.
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
            let waits = "open(f'{meeting}/ready', 'w').close()\nattempt('reported', wait_for, 'signalled')\nattempt('felt', lambda: len(felt))";
            let signals = "attempt('ready', wait_for, 'ready')\nattempt('kill', os.kill, 0, signal.SIGUSR1)\nattempt('felt', lambda: len(felt))\n\
                           open(f'{meeting}/signalled', 'w').close()";
            let requests = [waits, signals].map(|body| {
                let mut request = request(
                    Language::Python,
                    &format!("meeting = '{meeting}'\n{prelude}\n{body}\nattempts\n"),
                );
                request.start = start;
                request.policy.fs.write = vec![meeting.clone()];
                request
            });
            let outcomes = all(&engine, requests.to_vec()).await;
            let (waited, signalled) = (value(&outcomes[0]), value(&outcomes[1]));
            assert_eq!(
                (&signalled["ready"], &signalled["felt"]),
                (&"done: True".into(), &"done: 1".into()),
                "{start:?}: {signalled}"
            );
            assert_eq!(
                (&waited["reported"], &waited["felt"]),
                (&"done: True".into(), &"done: 0".into()),
                "{start:?}: {waited}"
            );
            for reported in [waited, signalled] {
                assert_eq!(reported["group"], "done: (True, True)", "{start:?}");
            }
        }
    });
}

/// Programs that exhaust their limits, or are killed, do not affect a sibling.
#[test]
fn a_bomb_in_one_sandbox_does_not_touch_its_sibling() {
    with_engine("a_bomb_in_one_sandbox_does_not_touch_its_sibling", 0, |engine| async move {
        let quiet = engine.run(request(
            Language::Python,
            "import time\nfor _ in range(150): time.sleep(0.01)\n'untouched'",
        ));
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
            assert_eq!(
                outcome.logs.first().map(|entry| entry.message.as_str()),
                Some("armed"),
                "{outcome:?}"
            );
        }
        assert_eq!(value(&quiet.finished().await.outcome), "untouched");
    });
}

fn descriptors() -> usize {
    processes::descriptors(std::process::id())
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
            (
                Language::Python,
                "import os\nos.makedirs('outputs', exist_ok=True)\nopen('outputs/x', 'w').write('x')",
            ),
        ];
        let round = || async {
            all(
                &engine,
                programs.iter().map(|(language, code)| request(*language, code)).collect(),
            )
            .await;
            // A run whose handle is dropped is cancelled.
            drop(engine.run(request(Language::Python, "while True: pass")));
        };
        round().await;
        let settled = settled_descriptors().await;
        for _ in 0..10 {
            round().await;
        }
        eventually_async("no process is left besides two zygotes", async || {
            processes::descendants(std::process::id()).len() == 2
        })
        .await;
        eventually_async(&format!("no more than {settled} descriptors"), async || {
            descriptors() <= settled
        })
        .await;
    });
}

/// A group that holds pages of files stays until sixteen younger ones do. With the engine all of
/// them go, and the kernel frees them.
#[test]
fn an_engine_keeps_few_groups_for_the_pages_that_its_runs_have_read() {
    const RUNS: usize = 40;
    if !limits_available() {
        return;
    }
    let before = dead_groups();
    with_engine(
        "an_engine_keeps_few_groups_for_the_pages_that_its_runs_have_read",
        0,
        |engine| async move {
            let folder = tempfile::tempdir().unwrap();
            let mut most = 0;
            for number in 0..RUNS {
                let path = cold_file(folder.path(), number);
                let path = path.to_str().unwrap();
                let mut read =
                    request(Language::Python, &format!("len(open('{path}', 'rb').read())"));
                read.policy.fs.read.push(folder.path().to_str().unwrap().to_owned());
                assert_eq!(value(&run(&engine, read).await), 200_000);
                most = most.max(memory_groups());
            }
            assert!(
                most > 2 || is_in_memory(folder.path()),
                "no page was charged to a run: {most} groups"
            );
            assert!(most <= 16 + 8, "{most} groups are kept");
        },
    );
    if std::env::var(INNER).is_err() {
        // Others come and go meanwhile; each run left one before.
        eventually("the kernel frees dead groups", || dead_groups() <= before + RUNS as u64 / 2);
    }
}

/// Groups of this process's sandboxes that count memory.
fn memory_groups() -> usize {
    let is_of_memory = |path: &&std::path::PathBuf| path.join("memory.stat").exists();
    let sandboxes = |group: &std::path::PathBuf| {
        std::fs::read_dir(group).unwrap().flatten().filter(|entry| entry.path().is_dir()).count()
    };
    control_groups::of_belljar(std::process::id()).iter().filter(is_of_memory).map(sandboxes).sum()
}

/// Returns the number of descriptors when only the two zygotes are left, and what is being taken
/// down is gone.
async fn settled_descriptors() -> usize {
    eventually_async("no process is left besides two zygotes", async || {
        processes::descendants(std::process::id()).len() <= 2
    })
    .await;
    let mut fewest = usize::MAX;
    for _ in 0..10 {
        fewest = fewest.min(descriptors());
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
                assert_eq!(
                    value(&run(&engine, request(language, code)).await).to_string(),
                    expected
                );
            }
        }
    });
}

const IN_PYTHON: &str = include_str!("prelude.py");
const WAIT: &str = "print('ready', flush=True)\n__import__('time').sleep(200)\n";

/// A name without a file, one in a folder that both write, and the counts of sockets: each sandbox
/// has its own.
#[test]
fn siblings_see_no_socket_of_each_other_and_take_no_name_from_each_other() {
    with_engine(
        "siblings_see_no_socket_of_each_other_and_take_no_name_from_each_other",
        0,
        |engine| async move {
            let host = tempfile::tempdir().unwrap();
            let shared = host.path().to_str().unwrap().to_owned();
            crate::run::open_to_all(host.path());
            let binds = |path: &str| {
                format!(
                "{IN_PYTHON}\nimport socket\n{}",
                r"
held = [socket.socket(socket.AF_UNIX) for _ in range(40)]
attempt('name', held[0].bind, '\0taken')
attempt('path', held[1].bind, 'PATH')
attempt('listed', lambda: sorted(line.split()[-1] for line in open('/proc/self/net/unix') if 'taken' in line))
attempt('counted', lambda: open('/proc/self/net/sockstat').readline().strip())
"
                .replace("PATH", path)
            )
            };
            let request = |code: String| {
                let mut request = request(Language::Python, &code);
                request.policy.fs.write = vec![shared.clone()];
                request
            };
            let first = request(format!(
                "{}\nassert attempts['name'] == 'done: None', attempts\n{WAIT}",
                binds(&format!("{shared}/taken-1"))
            ));
            let second = request(format!("{}\nattempts", binds(&format!("{shared}/taken-2"))));
            let reported = value(&run_next_to(&engine, first, second).await);
            assert_eq!(
                (&reported["name"], &reported["path"]),
                (&"done: None".into(), &"done: None".into()),
                "{reported}"
            );
            assert_eq!(
                reported["listed"],
                format!("done: ['{shared}/taken-2', '@taken']"),
                "{reported}"
            );
            // The supervisor's sockets count where they were made.
            assert_eq!(reported["counted"], "done: sockets: used 40", "{reported}");
            assert!(host.path().join("taken-1").exists());
        },
    );
}

/// A network namespace serves one sandbox after another, as making one is dear. One leaves its
/// sockets behind, in messages to themselves that are never received, under names that the
/// next one wants.
#[test]
fn what_a_sandbox_leaves_in_its_network_is_not_there_for_the_next() {
    with_engine(
        "what_a_sandbox_leaves_in_its_network_is_not_there_for_the_next",
        0,
        |engine| async move {
            let looks = format!(
                "{IN_PYTHON}\nimport socket\n{}",
                r"
attempt('network', lambda: os.readlink('/proc/self/ns/net'))
attempt('listed', lambda: open('/proc/self/net/unix').read().splitlines()[1:])
attempt('counted', lambda: open('/proc/self/net/sockstat').readline().strip())
held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
attempt('name', held.bind, '\0wanted')
attempts
"
            );
            let leaves = format!(
                "{IN_PYTHON}\nimport array, socket\n{}",
                r"
for index in range(8):
    left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.bind('\0wanted' if index == 0 else f'\0left {index}')
    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.connect(left.getsockname())
    # Each holds itself and the other, in its own queue.
    attempt(f'sent {index}', other.sendmsg, [b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [left.fileno(), other.fileno()]))])
attempts
"
            );
            let mut networks = HashMap::new();
            for _ in 0..6 {
                let left = value(&run(&engine, request(Language::Python, &leaves)).await);
                assert!((0..8).all(|index| left[format!("sent {index}")] == "done: 1"), "{left}");
                for _ in 0..2 {
                    let reported = value(&run(&engine, request(Language::Python, &looks)).await);
                    assert_eq!(
                        (&reported["listed"], &reported["counted"], &reported["name"]),
                        (&"done: []".into(), &"done: sockets: used 0".into(), &"done: None".into()),
                        "{reported}"
                    );
                    *networks
                        .entry(reported["network"].as_str().unwrap().to_owned())
                        .or_insert(0) += 1;
                }
            }
            // They do serve more than one.
            assert!(
                networks.keys().all(|network| network.starts_with("done: net:["))
                    && networks.len() < 12,
                "{networks:?}"
            );
        },
    );
}

/// Exhausts each resource that the kernel counts per user, and reports what the program is refused
/// and what its sibling still gets.
const TAKES: &str = r"
def all_of(make, most=200000):
    held.append([])
    while len(held[-1]) < most:
        try:
            held[-1].append(make())
        except OSError as error:
            return len(held[-1]), errno.errorcode[error.errno]
    return most, 'no end'
held = []
def inotify():
    made = libc.inotify_init1(0)
    if made < 0:
        raise OSError(ctypes.get_errno(), 'inotify_init1')
    return made
try:
    watcher = inotify()
except OSError:
    watcher = -1 # all sandboxes of an ordinary user share what that user has
os.makedirs('/tmp/watched')
def watch():
    folder = f'/tmp/watched/{len(held[-1])}'
    os.mkdir(folder)
    if libc.inotify_add_watch(watcher, folder.encode(), 2) < 0:
        raise OSError(ctypes.get_errno(), 'inotify_add_watch')
def timer():
    made = ctypes.c_int()
    if libc.timer_create(1, None, ctypes.byref(made)) < 0:
        raise OSError(ctypes.get_errno(), 'timer_create')
";

/// A sandbox's user is its own, and so is what the kernel counts for a user; the owner of them all
/// has enough for many.
#[test]
fn one_sandbox_takes_its_own_share_of_what_is_counted_for_a_user() {
    with_engine(
        "one_sandbox_takes_its_own_share_of_what_is_counted_for_a_user",
        0,
        |engine| async move {
            let takes = format!(
                "{IN_PYTHON}\n{TAKES}\nattempt('instances', all_of, inotify)\nattempt('watches', all_of, watch)\nattempt('timers', all_of, timer)\n"
            );
            let first = request(
                Language::Python,
                &format!("{takes}\nassert len(attempts) == 3, attempts\n{WAIT}"),
            );
            let second = request(Language::Python, &format!("{takes}\nattempts"));
            let reported = value(&run_next_to(&engine, first, second).await);
            if is_root() {
                // Besides the one that watches; the sibling has what it would have alone.
                assert_eq!(reported["instances"], "done: (7, 'EMFILE')", "{reported}");
                assert_eq!(reported["watches"], "done: (1024, 'ENOSPC')", "{reported}");
                assert_eq!(reported["timers"], "done: (1024, 'EAGAIN')", "{reported}");
            } else {
                // All are one user, outside and inside: there is a limit for all together.
                for kind in ["instances", "watches", "timers"] {
                    assert!(
                        reported[kind]
                            .as_str()
                            .is_some_and(|reported| !reported.contains("no end")),
                        "{reported}"
                    );
                }
            }
        },
    );
}

/// One uses up what the kernel counts by user, the other then needs a little of it. Each has a user
/// of its own, also with a grant: the granted folder is mounted for each so that it belongs to that
/// user.
#[test]
fn sandboxes_with_grants_have_users_and_counts_of_their_own() {
    with_engine(
        "sandboxes_with_grants_have_users_and_counts_of_their_own",
        0,
        |engine| async move {
            let host = tempfile::tempdir().unwrap();
            let meeting = host.path().to_str().unwrap().to_owned();
            crate::run::open_to_all(host.path());
            let prelude = format!(
                "meeting = '{meeting}'\n{}{}",
                include_str!("prelude.py"),
                r"
import fcntl, time
held = []
def wait_for(name):
    end = time.monotonic() + 200
    while not os.path.exists(f'{meeting}/{name}') and time.monotonic() < end:
        time.sleep(0.01)
    return os.path.exists(f'{meeting}/{name}')
def timers(most):
    for count in range(most):
        timer = ctypes.c_void_p()
        ctypes.set_errno(0)
        if libc.timer_create(0, None, ctypes.byref(timer)) != 0:
            return (count, errno.errorcode[ctypes.get_errno()])
    return (most, 'enough')
def pipes(count, size):
    for _ in range(count):
        held.extend(os.pipe())
        fcntl.fcntl(held[-1], 1031, size)
    return fcntl.fcntl(held[-1], 1032)
attempt('uid', os.getuid)
"
            );
            let takes = r"
attempt('timers', timers, 1000000)
attempt('pipes', pipes, 64, 1 << 20)
open(f'{meeting}/taken', 'w').close()
attempt('waited', wait_for, 'tried')
attempts";
            let needs = r"
attempt('taken', wait_for, 'taken')
attempt('timers', timers, 8)
attempt('pipe', lambda: fcntl.fcntl(os.pipe()[0], 1032))
open(f'{meeting}/tried', 'w').close()
attempts";
            let requests = [takes, needs].map(|body| {
                let mut request = request(Language::Python, &format!("{prelude}\n{body}\n"));
                request.policy.fs.write = vec![meeting.clone()];
                request
            });
            let outcomes = all(&engine, requests.to_vec()).await;
            let (taker, needer) = (value(&outcomes[0]), value(&outcomes[1]));
            assert!(
                taker["timers"].as_str().unwrap().contains("EAGAIN"),
                "it met the user's limit: {taker}"
            );
            assert_eq!(
                (&taker["waited"], &needer["taken"]),
                (&"done: True".into(), &"done: True".into()),
                "{taker} {needer}"
            );
            if is_root() {
                assert_ne!(taker["uid"], needer["uid"]);
                assert_eq!(needer["timers"], "done: (8, 'enough')", "{taker} {needer}");
                assert_eq!(needer["pipe"], "done: 65536", "{needer}");
            } else {
                // An ordinary user has one id for all of its sandboxes, as the documentation says.
                assert_eq!(taker["uid"], needer["uid"]);
            }
        },
    );
}

/// Files that only root can access are readable and writable in each sandbox that they are granted
/// to, and files that a sandbox creates belong to root, so that the next sandbox can use them.
#[test]
fn granted_files_belong_to_each_sandboxs_own_user() {
    with_engine("granted_files_belong_to_each_sandboxs_own_user", 0, |engine| async move {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let host = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = host.path().to_str().unwrap().to_owned();
        std::fs::write(host.path().join("private"), "private").unwrap();
        for (name, mode) in [("private", 0o600), ("", 0o700)] {
            std::fs::set_permissions(host.path().join(name), std::fs::Permissions::from_mode(mode))
                .unwrap();
        }
        let code = |name: &str| {
            format!(
                "import os, time\nown = open('{path}/{name}', 'x'); os.chmod('{path}/{name}', 0o600)\nend = time.monotonic() + 200\n\
                 while len(os.listdir('{path}')) < 3 and time.monotonic() < end: time.sleep(0.01)\n\
                 [open('{path}/private').read(), os.getuid() == os.stat('{path}/private').st_uid == os.stat('{path}/{name}').st_uid, os.getuid()]"
            )
        };
        let requests = ["one", "other"].map(|name| {
            let mut request = request(Language::Python, &code(name));
            request.policy.fs.write = vec![path.clone()];
            request
        });
        let outcomes = all(&engine, requests.to_vec()).await;
        // A file system that cannot map ids, overlayfs for one, gives a sandbox the access of
        // others: none, here.
        if outcomes.iter().any(|outcome| outcome.status != Status::Succeeded) {
            assert_eq!(std::fs::read_dir(host.path()).unwrap().count(), 1, "{outcomes:?}");
            return;
        }
        let (one, other) = (value(&outcomes[0]), value(&outcomes[1]));
        assert_eq!(
            (&one[0], &one[1], &other[0], &other[1]),
            (&"private".into(), &true.into(), &"private".into(), &true.into())
        );
        assert_eq!(one[2] == other[2], !is_root(), "{one} {other}");
        for name in ["one", "other"] {
            assert_eq!(
                std::fs::metadata(host.path().join(name)).unwrap().uid(),
                rustix::process::geteuid().as_raw()
            );
        }
    });
}

/// A parked sandbox has what its grant led to when it was made. One is used only where the grant
/// leads to the same today.
#[test]
fn a_parked_sandbox_is_not_used_once_its_grant_leads_elsewhere() {
    with_engine(
        "a_parked_sandbox_is_not_used_once_its_grant_leads_elsewhere",
        2,
        |engine| async move {
            let host = tempfile::tempdir().unwrap();
            crate::run::open_to_all(host.path());
            let (link, folder) = (host.path().join("link"), host.path().join("folder"));
            for place in ["one", "two", "folder", "next"] {
                std::fs::create_dir(host.path().join(place)).unwrap();
                std::fs::write(host.path().join(place).join("name"), place).unwrap();
                crate::run::open_to_all(&host.path().join(place));
            }
            std::os::unix::fs::symlink("one", &link).unwrap();
            let granted = |path: &std::path::Path| {
                let path = path.to_str().unwrap();
                let mut request = request(Language::Python, &format!("open('{path}/name').read()"));
                request.policy.fs.read = vec![path.to_owned()];
                request
            };
            for _ in 0..3 {
                assert_eq!(value(&run(&engine, granted(&link)).await), "one");
                assert_eq!(value(&run(&engine, granted(&folder)).await), "folder");
            }
            std::fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink("two", &link).unwrap();
            std::fs::rename(&folder, host.path().join("old")).unwrap();
            std::fs::rename(host.path().join("next"), &folder).unwrap();
            for _ in 0..3 {
                assert_eq!(value(&run(&engine, granted(&link)).await), "two");
                assert_eq!(value(&run(&engine, granted(&folder)).await), "next");
            }
            std::fs::remove_file(&link).unwrap();
            let outcome = run(&engine, granted(&link)).await;
            assert_eq!(outcome.status, Status::Refused, "{outcome:?}");
        },
    );
}
