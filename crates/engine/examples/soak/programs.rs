//! The programs of the soak: every way in which a run can end, and every part of a sandbox that
//! could be left over.

use std::time::Duration;

use belljar_protocol::{Bytes, Exec, Language, Millis, Network, RunRequest, StartMode, Status};

/// One run, and how it has to end.
pub struct Program {
    pub name: &'static str,
    pub request: RunRequest,
    pub cancel_after: Option<Duration>,
    pub expected: &'static [Status],
    pub artifacts: usize,
}

/// A small generator of numbers that can be repeated (`SplitMix64`).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % most
    }
}

const SUCCEEDED: &[Status] = &[Status::Succeeded];

impl Program {
    /// One of them. Plain runs are the most, as they are in life; those that take long by their
    /// nature are few.
    pub fn pick(random: &mut Random) -> Self {
        let is_python = random.below(5) < 2;
        match random.below(1000) {
            0..620 => Self::same("value", is_python, "({sum: 1 + 1})", "{'sum': 1 + 1}"),
            620..700 => Self {
                expected: &[Status::Failed],
                ..Self::same(
                    "failure",
                    is_python,
                    "throw new TypeError('no')",
                    "raise ValueError('no')",
                )
            },
            700..760 => Self {
                artifacts: 2,
                ..Self::same(
                    "artifacts",
                    is_python,
                    "const fs = require('fs'); fs.mkdirSync('outputs/deep', {recursive: true});\n\
                     fs.writeFileSync('outputs/a', 'a'.repeat(1e5)); fs.writeFileSync('outputs/deep/b', 'b'); fs.symlinkSync('/etc/passwd', 'outputs/c')",
                    "import os\nos.makedirs('outputs/deep')\nopen('outputs/a', 'w').write('a' * 100000)\nopen('outputs/deep/b', 'w').write('b')\n\
                     os.symlink('/etc/passwd', 'outputs/c')",
                )
            },
            760..820 => {
                let mut program =
                    Self::same("cancelled", is_python, "for (;;);", "while True: pass");
                program.expected = &[Status::Cancelled];
                // From before there is a sandbox to well into its run.
                program.cancel_after = Some(Duration::from_micros(random.below(12_000)));
                program
            }
            820..860 => {
                let flood_js = "for (;;) require('fs').writeSync(1, 'x'.repeat(65536))";
                let mut program = Self::same(
                    "output flood",
                    is_python,
                    flood_js,
                    "import os\nwhile True: os.write(1, b'x' * 65536)",
                );
                program.request.limits.output_bytes = Bytes(256 << 10);
                program.expected = &[Status::OutputExceeded];
                program
            }
            860..880 => {
                let hoard = "const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1))";
                let mut program = Self::same(
                    "memory",
                    is_python,
                    hoard,
                    "all = []\nwhile True: all.append(b'x' * (1 << 20))",
                );
                program.request.limits.memory_bytes = Bytes(64 << 20);
                program.expected = &[Status::MemoryExceeded];
                program
            }
            880..900 => {
                let mut program = Self::same(
                    "timeout",
                    is_python,
                    "setTimeout(() => {}, 60000)",
                    "import time\ntime.sleep(60)",
                );
                program.request.limits.timeout_ms = Millis(80);
                program.expected = &[Status::TimedOut];
                program
            }
            900..910 => {
                let mut program =
                    Self::same("CPU time", is_python, "for (;;);", "while True: pass");
                program.request.limits.cpu_ms = Millis(100);
                program.expected = &[Status::CpuExceeded];
                program
            }
            910..930 => Self {
                expected: &[Status::Crashed],
                ..Self::same("crash", is_python, "process.abort()", "import os\nos.abort()")
            },
            930..950 => Self::same(
                "threads",
                is_python,
                "const {Worker} = require('worker_threads');\n\
                 new Promise((resolve) => new Worker('require(\"worker_threads\").parentPort.postMessage(1)', {eval: true}).on('message', resolve))",
                "import threading\nthreads = [threading.Thread(target=print, args=(n,)) for n in range(4)]\n[t.start() for t in threads]\n\
                 [t.join() for t in threads]\n1",
            ),
            950..965 => {
                let mut program = Self::same(
                    "processes",
                    is_python,
                    // One that ends, and one that would outlive its parent.
                    "const cp = require('child_process'); cp.spawn('/bin/sleep', ['60'], {detached: true, stdio: 'ignore'}).unref();\n\
                     cp.execFileSync('/bin/echo', ['x']).toString()",
                    "import subprocess\nsubprocess.Popen(['/bin/sleep', '60'], start_new_session=True)\n\
                     subprocess.run(['/bin/echo', 'x'], capture_output=True, text=True).stdout",
                );
                program.request.policy.exec = Exec::Granted;
                program
            }
            965..980 => {
                let mut program = Self::same(
                    "loopback",
                    is_python,
                    "const net = require('net'); new Promise((resolve) => { const server = net.createServer((c) => c.end('x'));\n\
                     server.listen(0, '127.0.0.1', () => net.connect(server.address().port).on('data', () => { server.close(); resolve(1) })) })",
                    "import socket\nserver = socket.create_server(('127.0.0.1', 0))\nclient = socket.create_connection(server.getsockname())\n1",
                );
                program.request.policy.network = Network::Loopback;
                program
            }
            980..990 => {
                let mut program = Self::same("a process of its own", is_python, "1 + 1", "1 + 1");
                program.request.start = StartMode::Exec;
                program
            }
            _ => {
                let mut program = Self::same("refused", is_python, "1", "1");
                program.request.policy.fs.read = vec!["/does/not/exist".into()];
                program.expected = &[Status::Refused];
                program
            }
        }
    }

    fn same(name: &'static str, is_python: bool, javascript: &str, python: &str) -> Self {
        let (language, code) =
            if is_python { (Language::Python, python) } else { (Language::JavaScript, javascript) };
        let mut request = RunRequest::new(language, code);
        request.start = StartMode::Fork;
        Self { name, request, cancel_after: None, expected: SUCCEEDED, artifacts: 0 }
    }
}
