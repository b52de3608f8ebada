"""Streams, log levels, exits, threads, processes, the environment and denials."""

import os
import re
import subprocess
import sys
import unittest

from sandboxes import PYTHON, run

DEBUG, INFO, WARN, ERROR = range(4)


class Output(unittest.TestCase):
    def entries(self, code, **options):
        return run(code, **options).annotations

    def test_one_print_is_one_entry(self):
        outcome = run("print('a\\nb')\nprint('c')\nprint('d', 'e\\nf')")
        self.assertEqual(outcome.stdout, "a\nb\nc\nd e\nf\n")
        self.assertEqual(outcome.annotations, [(1, INFO, 4), (1, INFO, 6)])

    def test_bytes_are_lines(self):
        self.assertEqual(self.entries("import sys\nsys.stdout.buffer.write(b'a\\nb\\n')"), [])

    def test_a_large_entry_is_whole(self):
        outcome = run("print('x\\n' * 20_000, end='')\nprint('y' * 200_000)")
        self.assertEqual(outcome.annotations, [(1, INFO, 40_000)])
        self.assertEqual(len(outcome.stdout), 240_001)

    def test_levels_of_logging(self):
        code = (
            "import logging, sys\nlogging.basicConfig(level=0, format='%(message)s'{to})\n"
            "logging.debug('1234')\nlogging.info('12345')\nlogging.warning('123456')\nlogging.error('1234567')\nlogging.critical('12345678')"
        )
        expected = [(DEBUG, 5), (INFO, 6), (WARN, 7), (ERROR, 8), (ERROR, 9)]
        self.assertEqual(
            self.entries(code.format(to="")),
            [(2, level, size) for level, size in expected if level != ERROR],
        )
        self.assertEqual(
            self.entries(code.format(to=", stream=sys.stdout")),
            [(1, level, size) for level, size in expected if level != INFO],
        )
        self.assertEqual(
            self.entries("import logging\nlogging.warning('x')", start="fork"), [(2, WARN, 15)]
        )
        self.assertEqual(
            self.entries("import logging\nlogging.getLogger().warning('x')")[0][:2], (2, WARN)
        )

    def test_levels_of_warnings(self):
        outcome = run("import warnings\nwarnings.warn('careful')")
        self.assertIn("UserWarning: careful", outcome.stderr)
        self.assertEqual([a[:2] for a in outcome.annotations], [(2, WARN)])

    def test_streams_are_as_in_python(self):
        outcome = run(
            "import sys\n[sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.isatty(), sys.stdout.encoding, sys.stderr.errors, sys.stdout.name, sys.stdout.mode, sys.stdin.read()]",
            stdin="é\n".encode(),
        )
        self.assertEqual(
            outcome.value, [1, 2, False, "utf-8", "backslashreplace", "<stdout>", "w", "é\n"]
        )
        outcome = run(
            "import contextlib, io\nbuffer = io.StringIO()\nwith contextlib.redirect_stdout(buffer):\n  print('in')\nprint('out')\nbuffer.getvalue()"
        )
        self.assertEqual((outcome.value, outcome.stdout), ("in\n", "out\n"))
        self.assertEqual(
            run("import sys\nprint('no newline', end='')\nsys.stderr.write('x')").stderr, "x"
        )
        self.assertEqual(run("print('no newline', end='')").stdout, "no newline")
        self.assertEqual(run("print(input())", stdin=b"line\n").stdout, "line\n")

    def test_a_full_non_blocking_pipe_loses_nothing(self):
        self.assertEqual(
            len(run("import os\nos.set_blocking(1, False)\nprint('x' * 3_000_000)").stdout),
            3_000_001,
        )


class Ending(unittest.TestCase):
    def test_exit_codes(self):
        for code, expected in (
            ("import sys\nsys.exit(3)", 3),
            ("exit()", 0),
            ("raise SystemExit(256 + 7)", 7),
            ("quit(True)", 1),
        ):
            outcome = run(code)
            self.assertEqual(
                (outcome.exit_code, outcome.error, outcome.status), (expected, None, expected), code
            )
        outcome = run("import sys\nsys.exit('oh no')")
        self.assertEqual((outcome.exit_code, outcome.stderr), (1, "oh no\n"))
        self.assertIsNone(run("1").exit_code)
        self.assertEqual(
            run(
                "import sys\ndef main():\n  return 4\nif __name__ == '__main__':\n  sys.exit(main())"
            ).exit_code,
            4,
        )

    def test_threads_are_joined_and_exit_handlers_run(self):
        code = (
            "import atexit, threading, time\n@atexit.register\ndef last(): print('atexit')\n"
            "def work():\n  time.sleep(0.2)\n  print('thread')\nthreading.Thread(target=work).start()\nprint('main')\n1"
        )
        for start in ("exec", "fork"):
            outcome = run(code, start=start)
            self.assertEqual((outcome.stdout, outcome.value), ("main\nthread\natexit\n", 1))
        self.assertEqual(run(code, finish="settled").stdout, "main\n")

    def test_executors_and_daemons(self):
        self.assertEqual(
            run(
                "import concurrent.futures as c, time\ne = c.ThreadPoolExecutor()\ne.submit(lambda: (time.sleep(0.1), print('pool')))\n1"
            ).stdout,
            "pool\n",
        )
        self.assertEqual(
            run(
                "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n1",
                timeout=20,
            ).value,
            1,
        )

    def test_an_error_in_a_thread_is_printed_and_does_not_fail_the_run(self):
        outcome = run(
            "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start(); t.join()\n5"
        )
        self.assertEqual((outcome.value, outcome.error), (5, None))
        self.assertIn("ZeroDivisionError", outcome.stderr)
        outcome = run(
            "import asyncio\nasync def main():\n  asyncio.create_task(bad())\n  await asyncio.sleep(0.01)\n  import gc; gc.collect()\n  return 6\nasync def bad(): 1 / 0"
        )
        self.assertEqual((outcome.value, outcome.error), (6, None))
        self.assertIn("Task exception was never retrieved", outcome.stderr)

    def test_files_left_open_are_written_out_and_objects_finalized(self):
        code = "import {0}atexit, os\n{1}\natexit.register(lambda: None)\nclass D:\n  def __del__(self): print('deleted')\nd = D()\n1"
        self.assertEqual(run(code.format("", "")).stdout, "deleted\n")
        code = "import os, sys\nf = open('out.txt', 'w')\nf.write('kept')\nclass Holder: pass\nsys.holder = Holder()\nsys.holder.f = f\npid = os.getpid()\n1"
        # The working folder is deleted with the run, so a second descriptor of the same file is
        # read.
        probe = "import os, threading\nr, w = os.pipe()\nf = os.fdopen(w, 'w')\nf.write('kept')\nopen('/dev/null', 'w')\nimport builtins\nbuiltins.held = f\nos.dup2(1, w)\n1"
        self.assertEqual(run(probe).stdout, "kept")
        self.assertEqual(run(code).value, 1)

    def test_a_forked_child_has_no_voice(self):
        outcome = run(
            "import os\npid = os.fork()\nif pid:\n  os.waitpid(pid, 0)\nprint('child\\nlines' if pid == 0 else 'parent')\n[1] if pid else [2]",
            policy={"exec": True},
        )
        self.assertEqual((outcome.value, outcome.finished, outcome.annotations), ([1], 1, []))
        self.assertEqual(outcome.stdout, "child\nlines\nparent\n")
        outcome = run(
            "import os\npid = os.fork()\nif pid == 0:\n  raise ValueError('in child')\nos.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])",
            policy={"exec": True},
        )
        self.assertEqual((outcome.value, outcome.finished), (1, 1))
        self.assertIn("ValueError: in child", outcome.stderr)

    def test_multiprocessing_with_fork_and_spawn(self):
        code = (
            "import multiprocessing as m\ndef square(x): return x * x\n"
            "def main():\n  with m.get_context('{0}').Pool(2) as pool:\n    return pool.map(square, range(4))\n"
        )
        for method in ("fork", "spawn", "forkserver"):
            for start in ("exec", "fork"):
                outcome = run(code.format(method), policy={"exec": True}, start=start)
                self.assertEqual(
                    (outcome.value, outcome.error, outcome.finished),
                    ([0, 1, 4, 9], None, 1),
                    (method, outcome.stderr),
                )
        outcome = run(
            "import multiprocessing as m, time\ndef late():\n  time.sleep(0.2)\n  print('late')\nif __name__ == '__main__':\n  m.get_context('fork').Process(target=late).start()\n1",
            policy={"exec": True},
        )
        self.assertEqual(outcome.stdout, "late\n")

    def test_subprocess(self):
        self.assertEqual(
            run(
                "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(6)'], capture_output=True, text=True).stdout",
                policy={"exec": True},
            ).value,
            "6\n",
        )

    @unittest.skipUnless(
        os.geteuid() == 0
        and subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode
        == 0,
        "no PID namespaces",
    )
    def test_signals_to_oneself_as_pid_1(self):
        global PYTHON
        import sandboxes

        real, sandboxes.PYTHON = sandboxes.PYTHON, "/usr/bin/env"

        class Namespaced:
            PIPE, CompletedProcess = subprocess.PIPE, subprocess.CompletedProcess

            @staticmethod
            def Popen(command, **k):
                return subprocess.Popen(["unshare", "--pid", "--fork", real, *command[1:]], **k)

        sandboxes.subprocess = Namespaced
        try:
            self.assertEqual(
                run(
                    "import os, signal\nos.kill(1, 0)\nos.kill(1, signal.SIGCHLD)\n'survived'"
                ).value,
                "survived",
            )
            self.assertEqual(
                run(
                    "import os, signal\ngot = []\nsignal.signal(signal.SIGTERM, lambda *a: got.append(a[0]))\nos.kill(1, 15)\ngot"
                ).value,
                [15],
            )
            self.assertEqual(
                run("import os\nos.kill(1, 2)\nimport time\ntime.sleep(1)").error["name"],
                "KeyboardInterrupt",
            )
        finally:
            sandboxes.PYTHON, sandboxes.subprocess = real, subprocess


class Surroundings(unittest.TestCase):
    def test_main_module(self):
        got = run(
            "import sys, os\n[__name__, os.path.basename(__file__), sys.modules['__main__'].__dict__ is globals(), [os.path.basename(sys.argv[0]), *sys.argv[1:]], sys.path[0] == os.getcwd(), __spec__, __builtins__.__name__]",
            arguments=["a", "b"],
        ).value
        self.assertEqual(
            got, ["__main__", "main.py", True, ["main.py", "a", "b"], True, None, "builtins"]
        )
        self.assertEqual(
            run(
                "[name for name in dir() if not name.startswith('__') or 'bell' + 'jar' in name]"
            ).value,
            [],
        )

    def test_environment(self):
        outcome = run(
            "import os\nenv = dict(os.environ)\n[env, os.popen('echo $TOKEN $HOME').read()]",
            env={"TOKEN": "t", "LANG": "nb_NO.UTF-8"},
            policy={"exec": True},
        )
        env, echoed = outcome.value
        self.assertEqual(
            {k: v for k, v in env.items() if not k.startswith("MPL")},
            {
                "PATH": "/opt/belljar/bin:/usr/local/bin:/usr/bin:/bin",
                "HOME": "/home/user",
                "USER": "user",
                "LANG": "nb_NO.UTF-8",
                "TMPDIR": "/tmp",
                "TOKEN": "t",
            },
        )
        self.assertEqual(echoed, "t /home/user\n")

    def test_modules_of_the_run_and_of_pythonpath(self):
        files = {
            "helper.py": "x = 4",
            "lib/other.py": "y = 5",
            "pkg/__init__.py": "",
            "pkg/deep.py": "z = 6",
        }
        self.assertEqual(
            run("import helper\nfrom pkg import deep\nhelper.x + deep.z", files=files).value, 10
        )
        self.assertEqual(
            run("import other\nother.y", files=files, env={"PYTHONPATH": "lib"}).value, 5
        )

    def test_an_entry_in_a_folder(self):
        outcome = run(
            "",
            files={
                "app/run.py": "import near, os\n[near.x, os.path.basename(os.getcwd()), __name__]",
                "app/near.py": "x = 1",
            },
            entry="app/run.py",
        )
        self.assertEqual(outcome.value, [1, "home", "__main__"])

    def test_a_seed_makes_random_repeatable_and_its_absence_does_not(self):
        code = "import random, uuid\n[random.random(), random.randrange(10**9)]"
        for start in ("exec", "fork"):
            self.assertEqual(
                run(code, seed=7, start=start).value, run(code, seed=7, start=start).value
            )
            self.assertNotEqual(
                run(code, seed=7, start=start).value, run(code, seed=8, start=start).value
            )
            self.assertNotEqual(run(code, start=start).value, run(code, start=start).value)

    def test_belljar_in_the_sandbox(self):
        code = "import belljar, yepcode as y\nfrom yepcode import yepcode\n[belljar.run.id, belljar.run.timeout_ms, belljar.run.deadline, dict(belljar.env), dict(belljar.secrets), yepcode.env.TOKEN, yepcode.execution.id]"
        self.assertEqual(
            run(code, env={"TOKEN": "t"}).value,
            ["run_1", 30000, "2026-01-02T03:04:35.678000+00:00", {"TOKEN": "t"}, {}, "t", "run_1"],
        )
        error = run("belljar.storage.list()").error
        self.assertEqual(
            (error["name"], "storage is not granted; grant it with storage" in error["message"]),
            ("PermissionError", True),
        )
        outcome = run(
            "from yepcode import yepcode, logger\nlogger.info('in')\nlogger.warning('wa')\nlogger.error('er')"
        )
        self.assertEqual(
            (outcome.stdout, outcome.annotations), ("in\nwa\ner\n", [(1, WARN, 3), (1, ERROR, 3)])
        )

    def test_display(self):
        code = (
            "from belljar import display\ndisplay({'a': 1})\ndisplay('<svg></svg>')\ndisplay('text')\ndisplay(b'\\x89PNG\\r\\n\\x1a\\n..')\ndisplay('# t', type='text/markdown')\n"
            "class H:\n  def _repr_html_(self): return '<b>'\n  def __repr__(self): return 'H'\ndisplay(H())\n"
            "class B:\n  def _repr_mimebundle_(self, include=None, exclude=None): return {'image/png': 'aGk=', 'text/plain': 'x'}\ndisplay(B())"
        )
        outcome = run(code)
        self.assertIsNone(outcome.error)
        self.assertEqual(
            [(r["type"], r["data"], r["encoding"]) for r in outcome.results],
            [
                ("application/json", '{"a": 1}', "utf8"), ("image/svg+xml", "<svg></svg>", "utf8"), ("text/plain", "text", "utf8"),
                ("image/png", "iVBORw0KGgouLg==", "base64"), ("text/markdown", "# t", "utf8"), ("text/html", "<b>", "utf8"),
                ("text/plain", "H", "utf8"), ("image/png", "aGk=", "base64"), ("text/plain", "x", "utf8"),
            ],
        )  # fmt: skip

    def test_a_value_that_is_a_picture_is_displayed(self):
        outcome = run("class P:\n  def _repr_png_(self): return b'png'\nP()")
        self.assertEqual(
            (outcome.value, outcome.error, [r["type"] for r in outcome.results]),
            (None, None, ["image/png"]),
        )


class Denials(unittest.TestCase):
    def test_bytecode_is_kept_where_it_can_be_and_is_no_denial(self):
        code = (
            "import os, helper, sys\n[os.path.isdir('__pycache__'), sys.flags.dont_write_bytecode]"
        )
        outcome = run(code, files={"helper.py": "x = 1"})
        self.assertEqual((outcome.value, outcome.denied), ([True, 0], []))
        outcome = run(code, files={"helper.py": "x = 1"}, env={"PYTHONDONTWRITEBYTECODE": "1"})
        self.assertEqual(outcome.value[0], False)
        # A name that only begins like it is like any other.
        outcome = run("open('/data/__pycache__x', 'w')")
        self.assertEqual([denial["target"] for denial in outcome.denied], ["/data/__pycache__x"])

    def denied(self, code, **options):
        outcome = run(code, **options)
        return [(d["action"], d["target"], d["grant"]) for d in outcome.denied], outcome

    def test_network(self):
        denied, outcome = self.denied(
            "import urllib.request\nurllib.request.urlopen('http://api.example.invalid/x')"
        )
        self.assertEqual(
            denied, [("net.connect", "api.example.invalid:80", 'net: ["api.example.invalid:80"]')]
        )
        self.assertIn(
            "network access to api.example.invalid:80 is not granted; this version of Belljar gives programs no network, so pass the data in a file",
            outcome.error["message"],
        )
        self.assertIn("\nhint: network access", outcome.error["stack"])
        denied, _ = self.denied(
            "import socket\nfor port in (None, 443):\n  try: socket.getaddrinfo('example.invalid', port)\n  except OSError: pass"
        )
        self.assertEqual(denied, [("net.resolve", "example.invalid", 'net: ["example.invalid"]')])
        denied, _ = self.denied(
            "import socket\ntry:\n  socket.create_connection(('192.0.2.1', 81), timeout=0.05)\nexcept OSError: pass"
        )
        self.assertEqual(denied, [("net.connect", "192.0.2.1:81", 'net: ["192.0.2.1:81"]')])
        denied, _ = self.denied(
            "import socket\nsocket.getaddrinfo('localhost', 1)\nsocket.socket()",
            policy={"loopback": True},
        )
        self.assertEqual(denied, [])
        denied, _ = self.denied(
            "import socket\ns = socket.socket(socket.AF_UNIX)\na, b = socket.socketpair()\nimport asyncio\nasyncio.run(asyncio.sleep(0))"
        )
        self.assertEqual(denied, [])

    def test_exec(self):
        denied, _ = self.denied(
            "import os, subprocess\nsubprocess.run(['true'])\nsubprocess.run(['true'])\nos.system('true')\nos.getpid()"
        )
        self.assertEqual(denied, [("exec", "true", "exec: true")])
        denied, outcome = self.denied("import subprocess\nsubprocess.run(['/etc/passwd'])")
        self.assertEqual(outcome.error["name"], "PermissionError")
        self.assertIn(
            "running programs is not granted; grant it with exec: true", outcome.error["message"]
        )
        self.assertEqual(self.denied("import os\nos.system('true')", policy={"exec": True})[0], [])

    def test_files(self):
        denied, outcome = self.denied("open('/data/out.csv', 'w')")
        self.assertEqual(denied, [("fs.write", "/data/out.csv", 'fs.write: ["/data/out.csv"]')])
        self.assertIn('grant it with fs.write: ["/data/out.csv"]', outcome.error["message"])
        denied, outcome = self.denied("open('/srv/missing.csv')")
        self.assertEqual(denied, [("fs.read", "/srv/missing.csv", 'fs.read: ["/srv/missing.csv"]')])
        self.assertIn('grant it with fs.read: ["/srv/missing.csv"]', outcome.error["message"])
        # The real jail has /home/user here; this working folder is beneath /tmp, and as free.
        self.assertEqual(
            self.denied(
                "import os, tempfile\nopen('x', 'w').close()\nos.mkdir('d')\ntempfile.NamedTemporaryFile().close()\nopen('/dev/null', 'w').close()\nos.path.exists('/srv/x')"
            )[0],
            [],
        )
        self.assertEqual(self.denied("open('missing.txt')")[1].denied, [])
        self.assertNotIn("grant it", self.denied("open('missing.txt')")[1].error["message"])

    def test_are_bounded_and_change_nothing(self):
        denied, outcome = self.denied(
            "caught = 0\nfor n in range(300):\n  try: open(f'/nowhere/{n}', 'w')\n  except FileNotFoundError: caught += 1\ncaught"
        )
        self.assertEqual((len(denied), outcome.value), (100, 300))


if __name__ == "__main__":
    unittest.main()
