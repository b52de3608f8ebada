"""The value of a program: how it is found, and how it becomes JSON."""

import json
import unittest

from sandboxes import run


def value(code, **options):
    outcome = run(code, **options)
    if outcome.error:
        raise AssertionError(outcome.error["stack"])
    return outcome.value


class TheValue(unittest.TestCase):
    def test_of_a_last_expression_in_both_start_modes(self):
        for start in ("exec", "fork"):
            self.assertEqual(value("x = 20\nx + 1", start=start), 21)

    def test_of_a_last_expression_inside_blocks(self):
        self.assertEqual(value("if True:\n  with open('/dev/null') as f:\n    7"), 7)
        self.assertEqual(
            value("try:\n  1 / 0\nexcept ZeroDivisionError:\n  'no'\nfinally:\n  'not this'"), "no"
        )
        self.assertEqual(value("match 3:\n  case 4: 'four'\n  case n: n * 2"), 6)

    def test_is_null_without_an_expression_at_the_end(self):
        self.assertIsNone(value("x = 5"))
        self.assertIsNone(value(""))
        self.assertIsNone(value("# nothing"))

    def test_of_a_lone_string_is_the_string(self):
        self.assertEqual(value("'hello'"), "hello")

    def test_of_main_is_what_it_returns(self):
        self.assertEqual(value("def main():\n  return 1\n'not this'"), 1)
        self.assertEqual(value("async def main():\n  return 2"), 2)
        self.assertEqual(value("def main():\n  async def f(): return 3\n  return f()"), 3)

    def test_of_a_bare_return(self):
        code = "import math\ntotal = 0\nfor i in range(5):\n  total += i\n  if total > 3:\n    return {'total': total, 'pi': math.floor(math.pi)}\n'end'"
        self.assertEqual(value(code), {"total": 6, "pi": 3})
        self.assertEqual(
            value(
                "def f():\n  return total\ntotal = 3\nreturn f() + len([y for x in 'ab' if (y := x)]) + len(y)"
            ),
            6,
        )
        self.assertEqual(value("try:\n  return 'kept'\nexcept:\n  return 'caught'"), "kept")
        self.assertEqual(
            value(
                "from __future__ import annotations\nfrom math import *\nx: int = 4\ny: str\nreturn sqrt(x)"
            ),
            2.0,
        )
        self.assertEqual(
            value("import asyncio\nawait asyncio.sleep(0)\nreturn await asyncio.sleep(0, 'later')"),
            "later",
        )
        self.assertEqual(value("async def main():\n  return 9\nreturn main()"), 9)

    def test_names_of_a_program_with_a_return_are_global(self):
        self.assertEqual(
            value(
                "a = 1\nclass C:\n  x = a\ndef f():\n  global a\n  a += C.x\nf()\nreturn [a, f.__qualname__, C.__qualname__]"
            ),
            [2, "f", "C"],
        )

    def test_of_top_level_await(self):
        self.assertEqual(value("import asyncio\nawait asyncio.sleep(0, 'x')"), "x")
        self.assertEqual(
            value(
                "import asyncio\nlock = asyncio.Lock()\nawait lock.acquire()\nasync def main():\n  return lock.locked()"
            ),
            True,
        )
        self.assertEqual(
            value(
                "import asyncio\nawait asyncio.sleep(0)\ndef main():\n  return asyncio.run(asyncio.sleep(0, 1))"
            ),
            1,
        )

    def test_a_main_that_the_program_calls_is_not_called_again(self):
        for call in (
            "main()",
            "result = main()",
            "if __name__ == '__main__':\n  main()",
            "if __name__ == '__main__':\n  result = main()\n  print('done')",
            "def cli():\n  return main()\ncli()",
            "import threading\nt = threading.Thread(target=main)\nt.start(); t.join()\n5",
            "import sys\nprint(main())",
        ):
            outcome = run(f"def main():\n  '''Doc.'''\n  print('ran')\n  return 5\n{call}")
            self.assertEqual((outcome.value, outcome.stdout.count("ran")), (5, 1), call)
        for call in (
            "asyncio.run(main())",
            "if __name__ == '__main__':\n  asyncio.run(main())",
            "x = await main()",
            "asyncio.get_event_loop_policy().new_event_loop().run_until_complete(main())",
        ):
            outcome = run(f"import asyncio\nasync def main():\n  print('ran')\n  return 5\n{call}")
            self.assertEqual((outcome.value, outcome.stdout.count("ran")), (5, 1), call)

    def test_an_awaitable_last_expression_is_awaited(self):
        self.assertEqual(value("import asyncio\nasync def f():\n  return 4\nf()"), 4)


class Parameters(unittest.TestCase):
    def called(self, signature, parameters, names="locals()"):
        return value(f"def main({signature}):\n  return {names}", parameters=parameters)

    def test_go_by_name_to_a_main_that_names_them(self):
        self.assertEqual(
            self.called("city, days=3", {"city": "Oslo", "other": 1}), {"city": "Oslo", "days": 3}
        )
        self.assertEqual(self.called("**all", {"a": 1}), {"all": {"a": 1}})
        self.assertEqual(self.called("*, a", {"a": 1}), {"a": 1})

    def test_go_whole_to_a_main_that_does_not(self):
        self.assertEqual(
            self.called("parameters", {"city": "Oslo"}), {"parameters": {"city": "Oslo"}}
        )
        self.assertEqual(self.called("event=None", {"city": "Oslo"}), {"event": {"city": "Oslo"}})
        self.assertEqual(self.called("items", [1, 2]), {"items": [1, 2]})
        self.assertEqual(self.called("p, /", {"p": 1}), {"p": {"p": 1}})

    def test_that_are_none_leave_defaults(self):
        self.assertEqual(self.called("", {"a": 1}), {})
        self.assertEqual(self.called("argv=None", {}), {"argv": None})
        self.assertEqual(self.called("parameters", {}), {"parameters": {}})
        self.assertEqual(self.called("a=1, b=2", {"c": 3}), {"a": 1, "b": 2})

    def test_reach_a_decorated_main_and_one_that_is_an_object(self):
        decorated = "import functools\ndef d(f):\n  @functools.wraps(f)\n  def w(*a, **k): return f(*a, **k)\n  return w\n@d\ndef main(city): return city"
        self.assertEqual(value(decorated, parameters={"city": "Oslo"}), "Oslo")
        self.assertEqual(
            value(
                "import functools\nmain = functools.partial(lambda a, b: a + b, 1)",
                parameters={"b": 2},
            ),
            3,
        )

    def test_that_are_missing_fail_as_python_words_it(self):
        outcome = run("def main(a, b): return a", parameters={"a": 1})
        self.assertEqual(outcome.error["name"], "TypeError")
        self.assertIn("missing 1 required positional argument", outcome.error["message"])

    def test_are_in_belljar_and_yepcode(self):
        for code in (
            "import belljar\nbelljar.parameters",
            "belljar.parameters",
            "yepcode.context.parameters",
            "from yepcode import yepcode\nyepcode.context.parameters",
        ):
            self.assertEqual(value(code, parameters={"a": [1]}), {"a": [1]})


CONVERSIONS = [
    ("None", None),
    ("[True, 1, 1.5, 'a', (1, 2), {}, []]", [True, 1, 1.5, "a", [1, 2], {}, []]),
    ("2 ** 80", 2**80),
    ("[1.5] * 9000 + [float('nan'), 'x']", [1.5] * 9000 + [None, "x"]),
    ("__import__('types').SimpleNamespace(a=1)", {"a": 1}),
    ("[float('nan'), float('inf'), -float('inf')]", [None, None, None]),
    ("{'a': float('nan')}", {"a": None}),
    ("'a\\ud800b'", "a\ufffdb"),
    ("'\\U0001f600'", "\U0001f600"),
    ("{'\\ud800': 1}", {"\ufffd": 1}),
    ("{'a', 'c', 'b'}", ["a", "b", "c"]),
    ("frozenset({2, 1})", [1, 2]),
    ("range(3)", [0, 1, 2]),
    ("(x * x for x in range(3))", [0, 1, 4]),
    ("{1: 2}.keys()", [1]),
    ("{1: 'a', None: 'b', True: 'c', 1.5: 'd'}", {"1": "c", "null": "b", "1.5": "d"}),
    ("list(range(10000))", list(range(10000))),
    ("__import__('datetime').datetime(2026, 1, 2, 3, 4, 5, 6)", "2026-01-02T03:04:05.000006"),
    (
        "__import__('datetime').datetime(2026, 1, 2, tzinfo=__import__('datetime').timezone.utc)",
        "2026-01-02T00:00:00+00:00",
    ),
    ("__import__('datetime').date(2026, 1, 2)", "2026-01-02"),
    ("__import__('datetime').time(3, 4)", "03:04:00"),
    ("__import__('datetime').timedelta(minutes=1, milliseconds=5)", 60.005),
    ("__import__('decimal').Decimal('1.10')", "1.10"),
    ("__import__('fractions').Fraction(1, 3)", "1/3"),
    ("__import__('uuid').UUID(int=1)", "00000000-0000-0000-0000-000000000001"),
    ("__import__('pathlib').Path('/a/b')", "/a/b"),
    ("__import__('collections').deque([1])", [1]),
    ("__import__('collections').Counter('aab')", {"a": 2, "b": 1}),
    ("__import__('collections').ChainMap({'a': 1}, {'b': 2})", {"a": 1, "b": 2}),
    ("__import__('collections').namedtuple('P', 'x y')(1, 2)", {"x": 1, "y": 2}),
    ("__import__('array').array('d', [1.0])", [1.0]),
    ("ValueError('no')", {"name": "ValueError", "message": "no", "stack": "ValueError: no"}),
    ("__import__('enum').Enum('E', 'A B').B", 2),
    ("__import__('enum').IntEnum('E', 'A B').B", 2),
    ("__import__('dataclasses').make_dataclass('D', ['a', 'b'])(1, [2])", {"a": 1, "b": [2]}),
    ("__import__('ipaddress').ip_address('10.0.0.1')", "10.0.0.1"),
]


class Conversions(unittest.TestCase):
    def test_each_kind_has_one(self):
        names = "[" + ", ".join(f"(lambda: {code})()" for code, _ in CONVERSIONS) + "]"
        for (code, expected), got in zip(CONVERSIONS, value(names), strict=True):
            self.assertEqual(got, expected, code)

    def test_bytes_are_base64(self):
        self.assertEqual(
            value("[b'a', bytearray(b'b'), memoryview(b'c')]"), ["YQ==", "Yg==", "Yw=="]
        )

    def refused(self, code):
        """Returns the error of a program whose last line is converted."""
        *before, last = code.split("\n")
        error = run("\n".join([*before, f"return {last}"])).error
        self.assertIsNotNone(error, code)
        return error

    def test_what_has_none_is_refused_with_its_path(self):
        for code, path in (
            ("{'items': [0, 1, 2, {'f': lambda: 1}]}", "$.items[3].f"),
            ("object()", "$"),
            ("[1j]", "$[0]"),
            ("{'a b': {object(): 3}}", '$["a b"]'),
            ("{'m': __import__('math')}", "$.m"),
        ):
            error = self.refused(code)
            self.assertEqual(error["name"], "ResultNotSerializable")
            self.assertTrue(error["message"].endswith(f" at {path}"), error["message"])
            self.assertTrue(error["stack"].startswith("ResultNotSerializable: "), error["stack"])

    def test_cycles_and_depth_are_refused(self):
        self.assertIn(
            "contains itself", self.refused("a = {'b': []}\na['b'].append(a)\na")["message"]
        )
        self.assertIn(
            "more than 100 deep",
            self.refused("a = []\nfor _ in range(100000): a = [a]\na")["message"],
        )
        self.assertEqual(value("a = []\nb = [a, a]\n[b, b]"), [[[], []], [[], []]])

    def test_a_result_over_its_limit_is_refused_before_it_is_built(self):
        for code in (
            "'x' * 500_000_000",
            "['x' * 1000] * 1_000_000",
            "iter(int, 1)",
            "[[1] * 100] * 10**7",
            "bytes(500_000_000)",
            "['x' * 100_000] * 10_000",
            "[{'a': 'x' * 9_000_000, 'b': 'x' * 9_000_000}] * 50",
        ):
            error = self.refused(
                "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1500_000_000, 1500_000_000))\n"
                + code
            )
            self.assertEqual(error["name"], "ResultTooLarge", code)
            self.assertIn("result_bytes (10485760 bytes)", error["message"])

    def test_the_limit_counts_bytes(self):
        self.assertEqual(run("'é' * 10", limits={"result_bytes": 22}).value, "é" * 10)
        self.assertEqual(
            run("return 'é' * 10", limits={"result_bytes": 21}).error["name"], "ResultTooLarge"
        )

    def test_an_error_raised_while_converting_is_the_error_of_the_run(self):
        error = self.refused("def g():\n  yield 1\n  raise KeyError('in g')\ng()")
        self.assertEqual(error["name"], "KeyError")
        self.assertIn("line 3, in g", error["stack"])


if __name__ == "__main__":
    unittest.main()
