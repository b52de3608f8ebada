"""Tests the description of uncaught errors, also after a program has broken its own process."""

import unittest

from sandboxes import run


class Errors(unittest.TestCase):
    def error(self, code, **options):
        outcome = run(code, **options)
        self.assertIsNotNone(outcome.error, "the program was to fail")
        self.assertNotIn("belljar_driver", outcome.error["stack"] or "")
        self.assertEqual(outcome.status, 1)
        return outcome.error

    def test_carry_name_message_and_stack_with_the_programs_lines(self):
        code = "def f(n):\n  return 1 / n\n\nclass Oh(Exception): pass\ntry:\n  f(0)\nexcept ZeroDivisionError as e:\n  raise Oh('no') from e"
        for start in ("exec", "fork"):
            error = self.error(code, start=start)
            self.assertEqual((error["name"], error["message"]), ("Oh", "no"))
            self.assertRegex(
                error["stack"],
                r'^Traceback \(most recent call last\):\n  File ".*/main.py", line 8, in <module>\n    raise Oh',
            )
            self.assertEqual(error["cause"]["name"], "ZeroDivisionError")
            self.assertIn("line 2, in f\n    return 1 / n", error["cause"]["stack"])
            self.assertNotIn("ZeroDivisionError", error["stack"])

    def test_are_not_printed(self):
        self.assertEqual(run("raise ValueError('x')").stderr, "")

    def test_cause_is_the_context_unless_suppressed(self):
        raised = "try:\n  1 / 0\nexcept Exception:\n  raise KeyError('k')"
        self.assertEqual(self.error(raised)["cause"]["name"], "ZeroDivisionError")
        self.assertNotIn("cause", self.error(raised + " from None"))
        self.assertNotIn("cause", self.error("e = ValueError()\ne.__cause__ = e\nraise e"))

    def test_causes_are_bounded(self):
        error = self.error(
            "e = ValueError(0)\nfor n in range(1, 100):\n  new = ValueError(n)\n  new.__cause__ = e\n  e = new\nraise e"
        )
        depth = 0
        while "cause" in error:
            error, depth = error["cause"], depth + 1
        self.assertEqual(depth, 5)

    def test_lines_stay_with_top_level_await_and_return(self):
        self.assertIn(
            'line 3, in <module>\n    await g()\n',
            self.error("import asyncio\nasync def g(): raise OSError('x')\nawait g()")["stack"],
        )
        stack = self.error(
            "import asyncio\nasync def main():\n  await asyncio.sleep(0)\n  raise OSError('x')"
        )["stack"]
        self.assertTrue(stack.startswith('Traceback (most recent call last):\n  File "'), stack)
        self.assertNotIn("asyncio/", stack)
        self.assertIn("line 4, in main", stack)
        self.assertIn("line 3, in <module>", self.error("if False:\n  return 1\n1 / 0")["stack"])
        called = self.error(
            "import asyncio\nasync def main():\n  raise OSError('x')\nasyncio.run(main())"
        )["stack"]
        self.assertIn("line 4, in <module>", called)
        self.assertIn("line 3, in main", called)

    def test_syntax_errors_show_the_place(self):
        error = self.error("x = 1\nif x\n  pass")
        self.assertEqual(error["name"], "SyntaxError")
        self.assertIn("main.py, line 2", error["message"])
        self.assertRegex(error["stack"], r'^  File ".*main.py", line 2\n    if x\n')
        self.assertEqual(self.error("if True:\n    x = 1\n  y = 2")["name"], "IndentationError")
        self.assertEqual(self.error("x = 1\nyield x\nreturn 2")["name"], "SyntaxError")

    def test_source_that_cannot_be_compiled_is_a_syntax_error(self):
        self.assertEqual(self.error("x = 1\0")["name"], "SyntaxError")
        self.assertEqual(self.error(b"x = '\xff'")["name"], "SyntaxError")
        self.assertEqual(self.error("# coding: nonsense\n1")["name"], "SyntaxError")
        self.assertEqual(self.error("(" * 5000 + ")" * 5000)["name"], "SyntaxError")
        self.assertEqual(self.error("-" * 200_000 + "1")["name"], "SyntaxError")

    def test_source_with_a_coding_cookie_or_a_byte_order_mark_runs(self):
        self.assertEqual(run("# coding: latin-1\n'é'".encode("latin-1")).value, "é")
        self.assertEqual(run(b"\xef\xbb\xbf'\xc3\xa9'").value, "é")
        self.assertIn(
            "'é'", self.error("# coding: latin-1\nraise ValueError('é')".encode("latin-1"))["stack"]
        )

    def test_a_chain_too_deep_for_the_tree_still_runs_or_is_refused(self):
        outcome = run("x = " + "+".join(["1"] * 20000) + "\nprint('ran')")
        self.assertTrue(
            outcome.stdout == "ran\n" or outcome.error["name"] == "SyntaxError", outcome
        )

    def test_groups_tell_their_exceptions(self):
        import sys

        if sys.version_info < (3, 11):
            self.skipTest("exception groups came with 3.11")
        stack = self.error(
            "def f(): raise KeyError('k')\ntry:\n  f()\nexcept KeyError as e:\n  raise ExceptionGroup('both', [e, ValueError('v')])"
        )["stack"]
        self.assertIn("ExceptionGroup: both (2 sub-exceptions)", stack)
        self.assertIn("ValueError: v", stack)

    def test_hostile_exceptions_are_reported_too(self):
        error = self.error(
            "class Bad(Exception):\n  def __str__(self): raise SystemExit(3)\nraise Bad()"
        )
        self.assertEqual(error["name"], "Bad")
        self.assertIn("__str__ raised SystemExit", error["message"])
        self.assertEqual(
            self.error(
                "class M(type):\n  def __getattribute__(s, n): raise KeyError(n)\nclass E(Exception, metaclass=M): pass\nraise E('x')"
            )["name"],
            "E",
        )
        self.assertLess(len(self.error("raise ValueError('x' * 10**7)")["message"]), 70_000)
        self.assertEqual(self.error("raise ValueError('\\ud800')")["message"], "\ufffd")

    def test_recursion_and_memory(self):
        error = self.error("def f(): f()\nf()")
        self.assertEqual(error["name"], "RecursionError")
        self.assertIn("Previous line repeated", error["stack"])
        code = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (400_000_000, 400_000_000))\nheld = []\nwhile True:\n  held.append('x' * 1_000_000)\n  small = [object() for _ in range(1000)]\n  held.append(small)"
        error = self.error(code)
        self.assertEqual(error["name"], "MemoryError")
        self.assertRegex(error["stack"], r"main.py\", line \d, in <module>")

    def test_keyboard_interrupt(self):
        self.assertEqual(
            self.error(
                "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time\ntime.sleep(5)"
            )["name"],
            "KeyboardInterrupt",
        )

    def test_the_programs_own_excepthook_is_called(self):
        self.assertEqual(
            run("import sys\nsys.excepthook = lambda t, e, tb: print('hook', e)\n1 / 0").stdout,
            "hook division by zero\n",
        )

    def test_a_program_that_removes_itself_has_source_lines(self):
        self.assertIn(
            "raise ValueError('gone')",
            self.error("import os\nos.remove(__file__)\nraise ValueError('gone')")["stack"],
        )


class Breakage(unittest.TestCase):
    """Programs that break their own process, but must not break the report."""

    def test_modules_of_the_program_do_not_take_the_place_of_the_drivers(self):
        names = [
            "json",
            "random",
            "logging",
            "ast",
            "traceback",
            "linecache",
            "tokenize",
            "re",
            "io",
            "os",
            "types",
            "errno",
            "binascii",
            "datetime",
            "asyncio",
        ]
        files = {
            f"{name}.py": f"print('shadow {name}')\nraise SystemExit('shadow')" for name in names
        }
        for start in ("exec", "fork"):
            outcome = run("def main():\n  raise ValueError('x')", files=files, start=start)
            self.assertEqual((outcome.error["name"], outcome.stdout), ("ValueError", ""))
            self.assertIn("line 2, in main\n    raise ValueError('x')", outcome.error["stack"])
            self.assertEqual(
                run("b'x'", files={k: v for k, v in files.items()}, start=start).value, "eA=="
            )

    def test_a_program_may_import_its_own_traceback_module(self):
        outcome = run(
            "import traceback\nprint(traceback.mine)\n1 / 0",
            files={"traceback.py": "mine = 5"},
            start="exec",
        )
        self.assertEqual(outcome.stdout, "5\n")
        self.assertIn("line 3, in <module>\n    1 / 0", outcome.error["stack"])

    def test_broken_builtins_and_modules(self):
        for start in ("exec", "fork"):
            for breakage in (
                "import builtins\nfor name in list(vars(builtins)):\n  if name not in ('__import__', '__build_class__', '__name__'): builtins.__dict__[name] = None",
                "import sys\nsys.stdout = sys.stderr = None",
                "import sys\nsys.stdout.close(); sys.stderr.close()",
                "import sys\nsys.modules.clear()",
                "import sys\nsys.path.clear(); sys.meta_path.clear(); sys.path_hooks.clear()",
                "import json, os, sys, time, posix, _json\nfor m in (json, os, sys, time, posix, _json):\n  for n in list(vars(m)):\n    if not n.startswith('_'): setattr(m, n, None)",
                "import gc\ngc.disable()",
                "import sys\nsys.setrecursionlimit(60)",
                "import threading\nthreading._shutdown = None",
                "globals().clear()",
                "import os\nos.chdir('/'); os.environ.clear()",
                "import os\nos.close(0); os.closerange(30, 100)",
            ):
                self.assertEqual(
                    run(f"{breakage}\n{{'a': [1, 2.5, 'x']}}", start=start).value,
                    {"a": [1, 2.5, "x"]},
                    breakage,
                )
                outcome = run(
                    f"{breakage}\nraise {'ValueError' if 'builtins' not in breakage else '(5).__class__.__base__.__subclasses__'}",
                    start=start,
                )
                self.assertIsNotNone(outcome.error, breakage)

    def test_a_program_that_ends_the_process_itself_is_no_report(self):
        with self.assertRaises(AssertionError) as raised:
            run("import os\nos._exit(7)")
        self.assertIn("status 7", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
