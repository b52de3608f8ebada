"""The programs that contenders run: the measured one, and those that prove that a contender
evaluates, limits and isolates.

Each is a few statements and an expression. The dialect of a contender is the way in which an
expression becomes output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Program:
    name: str
    javascript: tuple[str, str]
    python: tuple[str, str]


ADD = Program("add", ("", "1 + 1"), ("", "1 + 1"))
MULTIPLY = Program("multiply", ("", "6 * 7"), ("", "6 * 7"))
# 2 GB on the runtime's own heap, all of it touched, in pieces so large that memory runs out before
# CPU time does.
MEMORY = Program(
    "memory",
    (
        "const kept = []; for (let i = 0; i < 20; i++) kept.push(new Array(1.25e7).fill(i + 0.5));",
        "'allocated ' + kept.length",
    ),
    ("kept = [bytearray(b'x') * 100_000_000 for _ in range(20)]", "f'allocated {len(kept)}'"),
)
LOOP = Program("loop", ("for (;;) {}", "0"), ("while True: pass", "0"))
IDLE = Program(
    "idle",
    ("setTimeout(() => {}, 1e8);", "'idle'"),
    ("import threading; threading.Thread(target=threading.Event().wait).start()", "'idle'"),
)


def read_file(path: Path) -> Program:
    """Returns a program that prints a file of the host if the contender allows that."""
    return Program(
        "read_file",
        (
            "const fs = globalThis.process?.getBuiltinModule?.('fs');",
            f"fs ? fs.readFileSync({str(path)!r}, 'utf8') : 'no file system'",
        ),
        ("", f"open({str(path)!r}).read()"),
    )


Dialect = Callable[[Program], str]


def printed_javascript(program: Program) -> str:
    setup, expression = program.javascript
    return f"{setup}\nconsole.log({expression})\n"


def exported_javascript(program: Program) -> str:
    setup, expression = program.javascript
    return f"{setup}\nexport default {expression}\n"


def javascript_value(program: Program) -> str:
    setup, expression = program.javascript
    return f"{setup}\n{expression}\n"


def workerd_test(program: Program) -> str:
    setup, expression = program.javascript
    wait = "await new Promise(() => setTimeout(() => {}, 1e8));" if program is IDLE else ""
    return f"export default {{ async test() {{ {setup}\nconsole.log({expression}); {wait} }} }};\n"


def printed_python(program: Program) -> str:
    setup, expression = program.python
    return f"{setup}\nprint({expression}, flush=True)\n"


def python_value(program: Program) -> str:
    setup, expression = program.python
    return f"{setup}\n{expression}\n"
