"""Runs one process to its end within a time limit, and leaves nothing of its process group."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# The number of bytes that are read of a stream: enough for an outcome with its logs and result.
KEPT_OUTPUT_BYTES = 64 << 20


@dataclass(frozen=True)
class Ended:
    """The end of a process. `code` is negative for a signal, and None after a timeout."""

    code: int | None
    seconds: float
    stdout: str
    stderr: str

    def tail(self) -> str:
        """Returns the last lines of both streams, which show why the process failed."""
        return (self.stdout[-1500:] + "\n" + self.stderr[-2500:]).strip()


def answer_to_signals() -> None:
    """Restores SIGINT and SIGQUIT, which a shell ignores in background jobs, and which every test
    would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def run_to_end(
    command: list[str], *, cwd: Path, env: dict[str, str] | None, seconds: float
) -> Ended:
    # Files and not pipes, because a detached grandchild could keep a pipe open and block the
    # reader.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        in_time = _ends_within(process.pid, seconds)
        took = time.monotonic() - started
        # The process is not reaped yet, so no other group has this id.
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        return Ended(code if in_time else None, took, _text(out), _text(err))


def _ends_within(pid: int, seconds: float) -> bool:
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def _text(file) -> str:
    file.seek(0)
    return file.read(KEPT_OUTPUT_BYTES).decode("utf-8", "replace")
