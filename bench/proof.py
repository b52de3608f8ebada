"""Proves before the measurement that each contender evaluates the programs that it gets, and tests
whether it limits and isolates them.

A contender that returns a wrong answer is not measured. The tables show how the others handle a
program that takes 2 GB, one that never ends and one that reads a file of the host, because a
sandbox without limits cannot be compared with one that has limits.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from contenders import CPU_SECONDS, Contender, NoAnswer
from programs import ADD, LOOP, MEMORY, MULTIPLY, Program, read_file

# On a busy machine a second of CPU time takes much longer than a second.
ENDLESS_SECONDS = CPU_SECONDS * 15


class DoesNotEvaluate(Exception):
    """The contender did not return the value of a program."""


@dataclass(frozen=True)
class Proof:
    memory: str
    cpu: str
    host_file: str


class HostFile:
    """A file outside every sandbox with content that no program can guess."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "host-file"
        self.content = secrets.token_hex(16)
        self.path.write_text(self.content)

    @property
    def program(self) -> Program:
        return read_file(self.path)


def prove(contender: Contender, host_file: HostFile) -> Proof:
    for program, value in ((ADD, "2"), (MULTIPLY, "42")):
        said = _attempt(contender, program, 60)
        if said != value:
            raise DoesNotEvaluate(f"{program.name} gave {said!r}, not {value}")
    taken = _attempt(contender, MEMORY, 60)
    ran = _attempt(contender, LOOP, ENDLESS_SECONDS)
    read = _attempt(contender, host_file.program, 60)
    return Proof(
        memory="NOT limited" if taken.startswith("allocated") else f"ended: {taken}",
        cpu="NOT limited" if f"after {ENDLESS_SECONDS} s" in ran else f"ended: {ran}",
        host_file="READABLE" if host_file.content in read else f"refused: {read}",
    )


def _attempt(contender: Contender, program: Program, seconds: float) -> str:
    client = contender.connect()
    try:
        return client.run(program, seconds)
    except NoAnswer as instead:
        return str(instead)
    finally:
        client.close()
