//! The process, its signals and its Linux, as a Python program meets them.

use serde_json::json;

use crate::case::{case, check_all};

#[test]
fn signals_end_a_program_as_any_process() {
    check_all(
        "python",
        &[
            case("raise_signal", "import signal\nsignal.raise_signal(signal.SIGTERM)\n'survived'").ends("crashed", 143),
            case("os.kill", "import os, signal\nos.kill(os.getpid(), signal.SIGHUP)\n'survived'").ends("crashed", 129),
            case("pthread_kill", "import signal, threading\nsignal.pthread_kill(threading.get_ident(), signal.SIGUSR1)\n'survived'").ends("crashed", 138),
            case("an alarm", "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.05)\ntime.sleep(5)\n'survived'").ends("crashed", 142),
            case("the clock of CPU time", "import signal\nsignal.setitimer(signal.ITIMER_PROF, 0.02)\nwhile True: pass").ends("crashed", 155),
            case("a pipe without a reader", "import os, signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\nr, w = os.pipe()\nos.close(r)\nos.write(w, b'x')").ends("crashed", 141),
            case("SIGKILL", "import os\nos.kill(os.getpid(), 9)\n'survived'").ends("crashed", 137),
            case("the process group", "import os\nos.kill(0, 15)\n'survived'").ends("crashed", 143),
            case("its number, negated", "import os\nos.kill(-os.getpid(), 15)\n'survived'").ends("crashed", 143),
            case("killpg", "import os, signal\nos.killpg(os.getpgrp(), signal.SIGQUIT)\n'survived'").ends("crashed", 131),
            case("from a thread", "import signal, threading, time\nthreading.Thread(target=lambda: signal.raise_signal(signal.SIGTERM)).start()\ntime.sleep(5)").ends("crashed", 143),
            case("a default action that was put back", "import signal\nsignal.signal(signal.SIGTERM, lambda *a: None)\nsignal.signal(signal.SIGTERM, signal.SIG_DFL)\nsignal.raise_signal(signal.SIGTERM)")
                .ends("crashed", 143),
            case("a real-time signal", "import signal\nsignal.raise_signal(signal.SIGRTMIN + 3)\n'survived'").ends("crashed", 128 + 34 + 3),
            case("os.abort", "import os\nprint('before', flush=True)\nos.abort()").ends("crashed", 134).logs(&[("info", "before")]),
            case("abort of a C library", "import ctypes\nctypes.CDLL(None).abort()").ends("crashed", 134),
            case("a fault stays one", "import ctypes\nctypes.string_at(0)").ends("crashed", 139),
        ],
    );
    check_all(
        "javascript",
        &[
            case("process.kill", "process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 5000); 1").ends("crashed", 143),
            case("process.abort", "process.abort()").ends("crashed", 134),
            case("SIGINT", "process.kill(process.pid, 'SIGINT'); setTimeout(() => {}, 5000)").ends("crashed", 130),
            case("a handled one", "process.on('SIGUSR2', () => { clearInterval(i); console.log('handled') }); const i = setInterval(() => {}, 1000); process.kill(process.pid, 'SIGUSR2'); 5")
                .gives(json!(5))
                .logs(&[("info", "handled")]),
        ],
    );
}

#[test]
fn signals_that_a_program_handles_ignores_or_blocks_do_not_end_it() {
    check_all(
        "python",
        &[
            case(
                "handled",
                "import signal\ngot = []\nfor s in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM, signal.SIGABRT):\n    signal.signal(s, lambda n, f: got.append(n))\n    signal.raise_signal(s)\ngot",
            )
            .gives(json!([15, 10, 14, 6])),
            case("ignored", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.raise_signal(signal.SIGTERM)\n'alive'").gives(json!("alive")),
            case("waited for", "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\nsignal.raise_signal(signal.SIGUSR1)\nint(signal.sigwait([signal.SIGUSR1]))").gives(json!(10)),
            case(
                "reports about them are true",
                "import signal\n[signal.getsignal(s) is signal.SIG_DFL for s in (signal.SIGTERM, signal.SIGABRT, signal.SIGUSR1)] + [signal.signal(signal.SIGTERM, signal.SIG_IGN) is signal.SIG_DFL]",
            )
            .gives(json!([true, true, true, true])),
            case("those that end nothing", "import os, signal\nfor s in (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT, 0):\n    os.kill(os.getpid(), s)\n'alive'").gives(json!("alive")),
            case("KeyboardInterrupt", "import signal\nsignal.raise_signal(signal.SIGINT)").fails("KeyboardInterrupt", &[]),
            case(
                "of a child, where programs are granted",
                "import os, signal\npid = os.fork()\nif pid == 0:\n    signal.raise_signal(signal.SIGTERM)\n    os._exit(0)\nos.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])",
            )
            .flags(&["--exec"])
            .gives(json!(-15)),
            case("of the program, where programs are granted", "import signal\nsignal.raise_signal(signal.SIGTERM)").flags(&["--exec"]).ends("crashed", 143),
        ],
    );
}

#[test]
fn the_linux_of_a_sandbox_is_complete() {
    check_all(
        "python",
        &[
            case(
                "the time zone that a run is given",
                "import time, datetime\n[time.tzname[0], datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc).astimezone().isoformat()]",
            )
            .flags(&["--env", "TZ=Asia/Tokyo"])
            .gives(json!(["JST", "2024-01-01T09:00:00+09:00"])),
            case("ports and protocols have names", "import socket\n[socket.getservbyname('http'), socket.getservbyname('https', 'tcp'), socket.getservbyport(5432), socket.getprotobyname('tcp')]")
                .gives(json!([80, 443, "postgresql", 6])),
            case("the local time zone has a name", "import os\nzone = open('/etc/timezone').read().strip()\nos.path.islink('/etc/localtime') and os.readlink('/etc/localtime').endswith('/' + zone)")
                .gives(json!(true)),
            case("tzlocal and pytz agree", "import tzlocal, pytz\nstr(pytz.timezone(str(tzlocal.get_localzone()))) != 'local'").gives(json!(true)),
            case(
                "python and python3 are the run's own",
                "import subprocess, sys\nown = sys.version.split()[0]\n[subprocess.run([name, '-c', 'import sys; print(sys.version.split()[0])'], capture_output=True, text=True).stdout.strip() == own for name in ('python', 'python3')]",
            )
            .flags(&["--exec"])
            .gives(json!([true, true])),
            case("a child has the packages of the run", "import humanize, subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import humanize; print(humanize.ordinal(1))'], capture_output=True, text=True).stdout")
                .flags(&["--exec"])
                .gives(json!("1st\n")),
            case("flags are those of a plain start", "import sys, subprocess\n[sys.flags.isolated, sys.flags.no_site, sys.flags.ignore_environment, '-I' in subprocess._args_from_interpreter_flags()]")
                .gives(json!([0, 0, 0, false])),
            case(
                "flags have no other instances",
                "import sys\ntry:\n    type(sys.flags)()\nexcept TypeError as error:\n    said = str(error)\n[said, len(sys.flags) > 10]",
            )
            .gives(json!(["cannot create 'sys.flags' instances", true])),
        ],
    );
}

#[test]
fn joblib_works_in_one_process_and_cleanly_in_several() {
    let program = "import os\nfrom joblib import Parallel, delayed\ndef where(n):\n    return os.getpid(), n * n\n\
                   found = Parallel(n_jobs=2)(delayed(where)(n) for n in range(4))\n\
                   [[square for _, square in found], {pid for pid, _ in found} == {os.getpid()}]";
    check_all(
        "python",
        &[
            case("without other programs", program).gives(json!([[0, 1, 4, 9], true])),
            case("with them", program)
                .flags(&["--exec", "--memory", "1G"])
                .gives(json!([[0, 1, 4, 9], false]))
                .logs(&[]),
        ],
    );
}

#[test]
fn variables_of_python_count_or_are_refused() {
    check_all(
        "python",
        &[
            case("warnings", "import warnings\nwarnings.warn('w')\n1")
                .flags(&["--env", "PYTHONWARNINGS=ignore"])
                .gives(json!(1))
                .logs(&[]),
            case("warnings as errors", "import warnings\nwarnings.warn('w')")
                .flags(&["--env", "PYTHONWARNINGS=error"])
                .fails("UserWarning", &["w"]),
            case("a path", "import sys\nany(folder.endswith('vendor') for folder in sys.path)")
                .flags(&["--env", "PYTHONPATH=/home/user/vendor"])
                .gives(json!(true)),
            case("digits", "import sys\nsys.get_int_max_str_digits()")
                .flags(&["--env", "PYTHONINTMAXSTRDIGITS=900"])
                .gives(json!(900)),
            case("breakpoints", "breakpoint()\n'passed'")
                .flags(&["--env", "PYTHONBREAKPOINT=0"])
                .gives(json!("passed")),
            case("faulthandler", "import faulthandler\nfaulthandler.is_enabled()")
                .flags(&["--env", "PYTHONFAULTHANDLER=1"])
                .gives(json!(true)),
            case("unbuffered, as it is", "1")
                .flags(&[
                    "--env",
                    "PYTHONUNBUFFERED=1",
                    "--env",
                    "PYTHONUTF8=1",
                    "--env",
                    "PYTHONHASHSEED=random",
                ])
                .gives(json!(1)),
        ],
    );
}

#[test]
fn limits_are_named_where_they_are_met() {
    check_all(
        "python",
        &[
            case(
                "threads",
                "import threading, time\nfor _ in range(40):\n    threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()",
            )
            .flags(&["--processes", "20"])
            .fails("RuntimeError", &["20 processes and threads", "limits.processes", "--processes"]),
            case("open files", "held = [open('/dev/null') for _ in range(100)]")
                .flags(&["--open-files", "40"])
                .fails("OSError", &["40 files open", "limits.open_files", "--open-files"]),
            case("the disk", "open('big', 'wb').write(b'x' * (3 << 20))")
                .flags(&["--disk", "2M"])
                .fails("OSError", &["2 MB of files", "limits.disk_bytes", "--disk"]),
            case("its number of files", "for n in range(200):\n    open(f'f{n}', 'w').close()")
                .flags(&["--max-files", "50"])
                .fails("OSError", &["limits.files", "--max-files"]),
            case("the machine's own numbers", "open('/proc/meminfo')")
                .fails("FileNotFoundError", &["the run's own processes", "limits.memory_bytes"]),
        ],
    );
}

#[test]
fn paths_of_other_sandboxes_lead_to_the_runs_files() {
    check_all(
        "python",
        &[
            case("a file of the run", "open('/mnt/data/sales.csv')")
                .file("sales.csv", "a\n1\n")
                .fails("FileNotFoundError", &["among the run's files is \"sales.csv\""]),
            case("one in a folder", "open('/workspace/in.txt')")
                .file("data/in.txt", "x")
                .fails("FileNotFoundError", &["\"data/in.txt\""]),
            case("a wrong folder of its own", "open('inputs/a.json')")
                .file("a.json", "1")
                .fails("FileNotFoundError", &["\"a.json\""]),
            case("a file that is not there", "open('/mnt/data/other.csv')")
                .fails("FileNotFoundError", &["working folder", "outputs/"]),
            case("a folder", "import os\nos.listdir('/mnt/data')")
                .fails("FileNotFoundError", &["working folder"]),
            case("what is written there", "open('/mnt/data/out.csv', 'w')")
                .fails("FileNotFoundError", &["\"outputs/out.csv\"", "handed back"]),
            case("what is written elsewhere", "open('/output/r.txt', 'w')")
                .fails("FileNotFoundError", &["\"outputs/r.txt\"", "fs.write"]),
        ],
    );
}
