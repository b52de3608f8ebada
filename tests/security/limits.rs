//! Bombs: each limit is the kernel's, and the outcome names the one that was met.

use std::time::Duration;

use crate::run::{Attack, Outcome, limits_available};

fn says(outcome: &Outcome, first: &str) {
    assert_eq!(
        outcome.logged().first(),
        Some(&first),
        "the attack did not begin: {}",
        outcome.json
    );
}

/// Without control groups memory is only sampled, and doctor says so; a bomb that is quicker than
/// the samples takes what it wants.
#[test]
fn memory_bombs_in_javascript_end_as_memory_exceeded() {
    if !limits_available() {
        return;
    }
    for (number, bomb) in [
        "const held = []; for (;;) held.push(new Array(10000).fill({}).map((_, n) => ({ n })));",
        "const held = []; for (;;) held.push(new Uint8Array(1 << 20).fill(1));",
        "const held = []; for (;;) held.push(Buffer.alloc(4 << 20, 'x'));",
        "let text = 'x'; const held = []; for (;;) { text = Buffer.alloc(1 << 20, 'y').toString('latin1'); held.push(text); }",
        "const held = new Map(); for (let n = 0; ; n++) held.set(n, new Map([[n, String(n)]]));",
        "const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536 }); for (;;) { memory.grow(16); new Uint8Array(memory.buffer).fill(1, -(1 << 20)); }",
        "for (let n = 0; ; n++) fs.writeFileSync(`/tmp/${n}`, Buffer.alloc(4 << 20, 1));",
        "const workers = []; const { Worker } = require('node:worker_threads'); for (let n = 0; n < 8; n++) workers.push(new Worker('const held = []; for (;;) held.push(new Uint8Array(1 << 20).fill(1))', { eval: true })); await new Promise(() => {});",
    ]
    .iter()
    .enumerate()
    {
        let start = ["fork", "exec"][number % 2];
        let outcome = Attack::javascript(&format!("console.log('armed');\n{bomb}"))
            .start(start)
            .with(["--memory", "64M", "--disk", "1G", "--cpu", "200s", "--timeout", "250s"])
            .run();
        outcome.must_be("memory_exceeded");
        says(&outcome, "armed");
        assert_eq!(outcome.exit, Some(137));
        assert!(outcome.json["usage"]["peak_memory_bytes"].as_u64().is_some_and(|peak| (32 << 20..=65 << 20).contains(&peak)), "{}", outcome.json);
    }
}

#[test]
fn memory_bombs_in_python_end_as_memory_exceeded() {
    if !limits_available() {
        return;
    }
    for (number, bomb) in [
        "held = []\nwhile True: held.append(bytearray(1 << 20))",
        "held = []\nwhile True: held.append([object() for _ in range(1000)])",
        "import mmap\nheld = []\nwhile True:\n    held.append(mmap.mmap(-1, 8 << 20))\n    held[-1].write(b'x' * (8 << 20))",
        "fd = os.memfd_create('x')\nwhile True: os.write(fd, b'x' * (1 << 20))",
        "for n in range(10**9): open(f'/dev/shm/{n}', 'wb').write(b'x' * (4 << 20))",
        "x = 'x' * (1 << 30)",
        "try:\n    held = [bytearray(1 << 20) for _ in range(1000)]\nexcept BaseException:\n    pass\nfinally:\n    print('survived', flush=True)",
        "held = []\nwhile True:\n    read, write = os.pipe(); held.append(read); os.set_blocking(write, False)\n    libc.fcntl(write, 1031, 1 << 20)\n    try: os.write(write, b'x' * (1 << 16))\n    except OSError: pass\n    os.close(write)\n    if len(held) > 200: held2 = [bytearray(1 << 20) for _ in range(1000)]",
        "children = [os.fork() for _ in range(3)]\nheld = [bytearray(1 << 20) for _ in range(40)]\nimport time; time.sleep(60)",
    ]
    .iter()
    .enumerate()
    {
        let start = ["exec", "fork"][number % 2];
        let outcome = Attack::python(&format!("print('armed', flush=True)\n{bomb}"))
            .start(start)
            .with(["--exec", "--memory", "64M", "--disk", "1G", "--cpu", "200s", "--timeout", "250s"])
            .run();
        outcome.must_be("memory_exceeded");
        says(&outcome, "armed");
        assert!(outcome.json["usage"]["peak_memory_bytes"].as_u64().is_some_and(|peak| peak <= 65 << 20), "{}", outcome.json);
    }
}

#[test]
fn fork_and_thread_bombs_meet_the_limit_on_processes_and_the_machine_keeps_running() {
    if !limits_available() {
        return;
    }
    let threads = r#"
import threading
stop = threading.Event()
def start():
    count = 0
    try:
        while count < 500:
            threading.Thread(target=stop.wait, daemon=True).start()
            count += 1
    except RuntimeError:
        pass
    return count
attempt("threads", lambda: 8 < start() < 20)
stop.set()
"#;
    Attack::python(threads).with(["--processes", "20"]).in_both_starts(|outcome| {
        outcome.attempts(&[("threads", "done: True")]);
        assert!(outcome.json["usage"]["processes"].as_u64().is_some_and(|count| count <= 20));
    });
    let forks = r#"
import time
def breed():
    born = 0
    while born < 500:
        try:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            born += 1
        except OSError as error:
            return f"{errno.errorcode[error.errno]} after {5 < born < 20}"
    return born
attempt("forks", breed)
"#;
    Attack::python(forks).with(["--exec", "--processes", "20"]).in_both_starts(|outcome| {
        outcome.attempts(&[("forks", "done: EAGAIN after True")]);
    });
    // Every child breeds too.
    Attack::python(
        "print('armed', flush=True)\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    )
    .with(["--exec", "--processes", "30", "--cpu", "250s"])
    .within(2000)
    .in_both_starts(|outcome| {
        outcome.must_be("timed_out");
        says(outcome, "armed");
    });
    Attack::javascript(
        r"
        console.log('armed');
        const { spawn } = require('node:child_process');
        let failed = 0, started = 0;
        for (let n = 0; n < 100; n++) {
          const child = spawn('/bin/sh', ['-c', 'sleep 60']);
          child.on('error', () => {});
          child.pid ? started++ : failed++;
        }
        attempt('bounded', () => failed > 0 && started < 40);
        process.exitCode = 0;
        setImmediate(() => process.exit(0));
        ",
    )
    .with(["--exec", "--processes", "40", "--settled", "--memory", "512M"])
    .in_both_starts(|outcome| {
        outcome.attempts(&[("bounded", "done: true")]);
    });
}

#[test]
fn the_disk_is_bounded_in_bytes_files_and_descriptors() {
    let body = r#"
def fill():
    written = 0
    with open("/tmp/big", "wb", buffering=0) as file:
        while written < 64 << 20:
            written += file.write(b"x" * 65536)
attempt("fill", fill)
os.unlink("/tmp/big")
def sparse():
    with open("/tmp/sparse", "wb") as file:
        file.truncate(1 << 40)
    return os.stat("/tmp/sparse").st_size
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
attempt("sparse", sparse)
attempt("fallocate", lambda: os.posix_fallocate(os.open("/tmp/allocated", os.O_CREAT | os.O_RDWR), 0, 1 << 30))
for place in ("/tmp", "/home/user", "/dev/shm"):
    attempt(f"rest of {place}", lambda: open(f"{place}/rest", "wb", buffering=0).write(b"x" * (9 << 20)) > 8 << 20)
    os.unlink(f"{place}/rest")
def files():
    count = 0
    try:
        while count < 100000:
            os.close(os.open(f"/home/user/{count}", os.O_CREAT))
            count += 1
    except OSError as error:
        return f"{errno.errorcode[error.errno]} after {50 < count < 200}"
attempt("files", files)
def descriptors():
    held = []
    try:
        while len(held) < 10000:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return f"{errno.errorcode[error.errno]} after {len(held) < 64}"
    finally:
        for fd in held:
            os.close(fd)
attempt("descriptors", descriptors)
"#;
    Attack::python(body)
        .with(["--disk", "8M", "--max-files", "150", "--open-files", "64"])
        .in_both_starts(|outcome| {
            outcome.attempts(&[
                ("fill", "ENOSPC|EFBIG"),
                ("sparse", "EFBIG"),
                ("fallocate", "EFBIG|ENOSPC"),
                ("rest of /tmp", "done: False|ENOSPC|EFBIG"),
                ("rest of /home/user", "done: False|ENOSPC|EFBIG"),
                ("rest of /dev/shm", "done: False|ENOSPC|EFBIG"),
                ("files", "done: ENOSPC after True"),
                ("descriptors", "done: EMFILE after True"),
            ]);
        });
    let body = r"
        attempt('fill', () => { for (let n = 0; n < 100; n++) fs.writeFileSync(`fill${n}`, Buffer.alloc(1 << 20)); });
        for (const name of fs.readdirSync('.')) if (name.startsWith('fill')) fs.unlinkSync(name);
        attempt('files', () => { for (let n = 0; n < 100000; n++) fs.closeSync(fs.openSync(`/tmp/${n}`, 'w')); });
        attempt('descriptors', () => { for (let n = 0; n < 100000; n++) fs.openSync('/dev/null'); });
    ";
    Attack::javascript(body)
        .with(["--disk", "8M", "--max-files", "150", "--open-files", "64"])
        .in_both_starts(|outcome| {
            outcome.attempts(&[("fill", "ENOSPC"), ("files", "ENOSPC"), ("descriptors", "EMFILE")]);
        });
}

#[test]
fn output_bombs_end_as_output_exceeded() {
    for (number, bomb) in [
        "while True: os.write(1, b'x' * 65536)",
        "while True: os.write(2, b'y\\n' * 1000)",
        "while True: print('z' * 100)",
        "import belljar\nwhile True: belljar.display('x' * 10000)",
        "import threading\n[threading.Thread(target=lambda: [os.write(1, b'x' * 4096) for _ in iter(int, 1)]).start() for _ in range(4)]",
    ]
    .iter()
    .enumerate()
    {
        let attack = Attack::python(&format!("print('armed', flush=True)\n{bomb}")).start(["fork", "exec"][number % 2]);
        let mut running = attack.with(["--output-limit", "256K"]).spawn_kept();
        let mut most = 0;
        while !running.has_ended() {
            most = most.max(running.peak_memory());
            std::thread::sleep(Duration::from_millis(5));
        }
        let outcome = running.outcome();
        outcome.must_be("output_exceeded");
        says(&outcome, "armed");
        assert_eq!(outcome.exit, Some(153));
        assert!(outcome.json.to_string().len() < 4 << 20);
        assert!(most < 128 << 20, "belljar held {} MB", most >> 20);
        crate::leftovers::assert_no_process(outcome.belljar);
    }
    for bomb in [
        "for (;;) console.log('x'.repeat(10000));",
        "for (;;) fs.writeSync(2, 'y'.repeat(10000));",
        "for (;;) belljar.display('x'.repeat(10000));",
    ] {
        Attack::javascript(&format!("console.log('armed');\n{bomb}"))
            .with(["--output-limit", "256K"])
            .in_both_starts(|outcome| {
                outcome.must_be("output_exceeded");
                says(outcome, "armed");
            });
    }
    // A result that is too large is the program's own failure.
    Attack::verbatim("js", "console.log('armed'); return 'x'.repeat(3e6)")
        .with(["--result-limit", "1M"])
        .in_both_starts(|outcome| {
            outcome.must_be("failed");
            says(outcome, "armed");
            assert!(outcome.json["value"].is_null());
        });
}

#[test]
fn endless_loops_meet_the_cpu_limit_whatever_they_catch() {
    for (number, bomb) in [
        "for (;;);",
        "const spin = () => queueMicrotask(spin); spin(); await new Promise(() => {});",
        "const spin = () => process.nextTick(spin); spin(); await new Promise(() => {});",
        "for (const signal of ['SIGXCPU', 'SIGTERM', 'SIGINT']) process.on(signal, () => {}); for (;;);",
        "/^(a+)+$/.test('a'.repeat(60) + 'b');",
        "new (require('node:worker_threads').Worker)('for (;;);', { eval: true }); await new Promise(() => {});",
        "await new Promise(() => setInterval(() => { const end = Date.now() + 1000; while (Date.now() < end); }, 1));",
    ]
    .iter()
    .enumerate()
    {
        let attack = Attack::javascript(&format!("console.log('armed');\n{bomb}")).start(["fork", "exec"][number % 2]);
        let outcome = attack.with_cpu(400).run();
        outcome.must_be("cpu_exceeded");
        says(&outcome, "armed");
        assert_eq!(outcome.exit, Some(152));
    }
    for (number, bomb) in [
        "while True: pass",
        "import signal\nfor number_ in range(1, 65):\n    try: signal.signal(number_, lambda *a: None)\n    except (OSError, ValueError): pass\nwhile True: pass",
        "import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')",
        "import threading\nfor _ in range(4): threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "for _ in range(4):\n    if os.fork() == 0:\n        while True: pass\nimport time; time.sleep(200)",
        "9 ** 9 ** 9",
    ]
    .iter()
    .enumerate()
    {
        let attack = Attack::python(&format!("print('armed', flush=True)\n{bomb}")).start(["exec", "fork"][number % 2]).with(["--exec"]);
        let outcome = attack.with_cpu(400).run();
        // Without control groups only the first process is seen, and under an exec grant that is
        // the init: the kernel's own limit on each process (a signal that can be caught, then one
        // that cannot) or the wall clock ends the rest.
        if !limits_available() && ["timed_out", "crashed"].contains(&outcome.status()) {
            says(&outcome, "armed");
            continue;
        }
        outcome.must_be("cpu_exceeded");
        says(&outcome, "armed");
    }
}

#[test]
fn sleepers_meet_the_wall_clock_whatever_they_ignore() {
    Attack::javascript("console.log('armed'); for (const s of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(s, () => {}); await new Promise(r => setTimeout(r, 1e8));")
        .within(700)
        .in_both_starts(|outcome| {
            outcome.must_be("timed_out");
            says(outcome, "armed");
            assert_eq!(outcome.exit, Some(124));
            assert!(outcome.json["usage"]["wall_ms"].as_f64().is_some_and(|ms| ms >= 700.0));
        });
    Attack::python("import signal, time\nprint('armed', flush=True)\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nos.close(0)\ntime.sleep(1e6)")
        .within(700)
        .in_both_starts(|outcome| {
            outcome.must_be("timed_out");
            says(outcome, "armed");
        });
}

#[test]
fn a_program_cannot_stop_or_kill_itself_into_another_outcome() {
    Attack::python("import signal\nprint('armed', flush=True)\nfor number_ in (signal.SIGSTOP, signal.SIGKILL):\n    os.kill(-1, number_) if False else libc.kill(os.getpid(), int(number_))\nattempt('alive', lambda: True)")
        .within(1500)
        .in_both_starts(|outcome| {
            says(outcome, "armed");
            assert!(["succeeded", "crashed", "timed_out"].contains(&outcome.status()), "{}", outcome.json);
        });
}
