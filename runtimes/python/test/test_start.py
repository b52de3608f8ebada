"""Modules that are loaded when a program starts, and those that are loaded on first use."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from sandboxes import HERE, POLICY, PYTHON, run

# The same as driver.py, over the double. It imports nothing that a runtime would not have.
START = """
import sys
from marshal import loads
library, record, home, activation = sys.argv[1:]
sys.path.insert(0, {test!r})
from native_double import NativeDouble
sys.path[0] = library
with open(f"{{library}}/bundle.{{sys.implementation.cache_tag}}", "rb") as bundle:
    load, modules = loads(bundle.read())
exec(load, {{"modules": modules}})
from belljar_driver import boot, session
del sys.path[0]
session.live.__defaults__ = (home,)
boot.main(NativeDouble(activation, record), {{"start": "exec", "cpus": [], "rehearsal": ""}})
"""


class TheBundle(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        runtime = os.path.dirname(HERE)
        shutil.copytree(
            os.path.join(runtime, "lib"),
            os.path.join(self.folder, "lib"),
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        shutil.copy(os.path.join(runtime, "compile.py"), self.folder)
        subprocess.run(
            [PYTHON, "-I", "-S", os.path.join(self.folder, "compile.py"), self.folder], check=True
        )

    def value(self, code):
        home, record = os.path.join(self.folder, "home"), os.path.join(self.folder, "record")
        os.mkdir(home)
        with open(os.path.join(home, "main.py"), "w") as file:
            file.write(code)
        activation = {
            "task": "run", "run": {"id": "run_1", "deadline": "2026-01-02T03:04:35.678Z", "timeout_ms": 30000}, "entry": "main.py", "arguments": [], "parameters": {},
            "env": {"GRANTED": "é"}, "seed": None, "finish": "idle", "policy": POLICY, "limits": {"result_bytes": 10485760},
        }  # fmt: skip
        arguments = [os.path.join(self.folder, "lib"), record, home, json.dumps(activation)]
        process = subprocess.run(
            [PYTHON, "-I", "-S", "-X", "utf8", "-c", START.format(test=HERE), *arguments],
            capture_output=True,
            text=True,
        )
        self.assertEqual((process.returncode, process.stderr), (0, ""))
        with open(record) as file:
            finished = [line.split() for line in file if " 5 " in line][0]
        return json.loads(bytes.fromhex(finished[3]))["value"]

    def test_holds_every_module_of_a_start(self):
        package = os.path.join(self.folder, "lib", "belljar_driver")
        for name in ("boot", "session", "execution", "program", "last_line", "convert", "errors"):
            os.remove(os.path.join(package, f"{name}.py"))
        shutil.rmtree(os.path.join(package, "__pycache__"))
        self.assertEqual(self.value("1 + 1"), 2)

    def test_leaves_the_other_modules_to_be_found(self):
        self.assertEqual(
            self.value("import belljar\ndef main(a=1):\n  return [a, belljar.run.id]"), [1, "run_1"]
        )

    @unittest.skipIf(
        sys.version_info < (3, 11), "os comes from a file there, and is imported at once"
    )
    def test_os_is_the_programs_to_import(self):
        code = "import sys\nbefore = 'os' in sys.modules\nimport os\n[before, os.environ['GRANTED'], os.environb[b'USER'], 'PYTHONPATH' in os.environ, os.getcwd() == sys.path[0], os.getenv('HOME')]"
        self.assertEqual(self.value(code), [False, "é", "dXNlcg==", False, True, "/home/user"])


class TheLastLine(unittest.TestCase):
    def test_is_the_value_however_it_is_written(self):
        for code, value in {
            "f = lambda x: x\nf(\n  3,\n)  # so\n# it is\n\n": 3,
            "x = '''\n4'''\nx": "\n4",
            "x = [1,\n2\n]\nx": [1, 2],
            "y = 1; y + 1": 2,
            "1, *(2, 3)": [1, 2, 3],
            "x = 1 + \\\n2\nx": 3,
            "1 + \\\n2": 3,
            "(x := 5)": 5,
            "'''a\n1\n'''": "a\n1\n",
            "1\r\n2\r\n": 2,
            "# -*- coding: latin-1 -*-\n'a'": "a",
            "from __future__ import annotations\ndef f(a: nothing): pass\nf.__annotations__": {
                "a": "nothing"
            },
        }.items():
            self.assertEqual(run(code).value, value, code)

    def test_is_not_one_within_something_else(self):
        for code in (
            "x = '''\nprint(1)\n'''",
            "x = (\n1\n)",
            "x = 1\\\n+ 1",
            "for x in 'ab':\n  x",
            "class C:\n  5",
            "x = 5 # a\n# 5",
        ):
            self.assertEqual((run(code).value, run(code).stdout), (None, ""), code)

    def test_is_reported_with_its_place(self):
        error = run("def f():\n  1 / 0\n\nf(\n)").error
        self.assertIn("line 4, in <module>", error["stack"])
        self.assertIn("line 2, in f", error["stack"])
        self.assertIn("line 3", run("x = 1\n\nprint(").error["stack"])

    def test_is_warned_of_once(self):
        self.assertEqual(run("x = 1\nx is 1").stderr.count("SyntaxWarning"), 1)
        self.assertEqual(run("x = 1\ny = x is 1\nx").stderr.count("SyntaxWarning"), 1)
