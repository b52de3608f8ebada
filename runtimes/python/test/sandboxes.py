"""Runs a program through the real driver in a process of its own, over the double of the native
library, and reads back what the driver reported."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field

# A shell ignores SIGINT in background jobs, and their children inherit that. A handler is not
# inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = os.environ.get("BELLJAR_TEST_PYTHON", sys.executable)

POLICY = {
    "fs": {"read": [], "write": []},
    "net": [],
    "loopback": False,
    "env": {},
    "exec": False,
    "secrets": [],
    "storage": {"read": [], "write": []},
}


@dataclass
class Outcome:
    value: object
    error: object
    exit_code: object
    stdout: str
    stderr: str
    status: int
    results: list = field(default_factory=list)
    denied: list = field(default_factory=list)
    annotations: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    settled: list = field(default_factory=list)
    finished: int = 0


def run(
    code,
    *,
    start="exec",
    files=None,
    parameters=None,
    policy=None,
    limits=None,
    stdin=b"",
    timeout=60,
    arguments=(),
    calls=(),
    busy=0,
    **activation,
):
    """Runs `code` (str or bytes) and returns what the supervisor would have received. `calls` serve
    its calls, each a function of a socket, after the first `busy` calls were refused."""
    ends = [socket.socketpair() for _ in calls]
    servers = [
        threading.Thread(target=_serve, args=(serve, ours)) for serve, (ours, _) in zip(calls, ends)
    ]
    with tempfile.TemporaryDirectory() as folder:
        home = os.path.join(folder, "home")
        os.mkdir(home)
        for name, content in {"main.py": code, **(files or {})}.items():
            path = os.path.join(home, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
        case = {
            "home": home,
            "start": start,
            "record": os.path.join(folder, "record"),
            "calls": [theirs.fileno() for _, theirs in ends],
            "busy": busy,
            "activation": {
                "task": "run",
                "run": {"id": "run_1", "deadline": "2026-01-02T03:04:35.678Z", "timeout_ms": 30000},
                "language": "python",
                "entry": "main.py",
                "arguments": list(arguments),
                "parameters": {} if parameters is None else parameters,
                "env": {},
                "seed": None,
                "finish": "idle",
                "policy": {**POLICY, **(policy or {})},
                "limits": {
                    "result_bytes": 10485760,
                    "output_bytes": 1048576,
                    "memory_bytes": 268435456,
                    **(limits or {}),
                },
                **activation,
            },
        }
        case_path = os.path.join(folder, "case")
        with open(case_path, "w") as file:
            json.dump(case, file)
        process = subprocess.Popen(
            [PYTHON, "-I", "-S", "-X", "utf8", os.path.join(HERE, "sandbox_process.py"), case_path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=case["calls"],
        )  # fmt: skip
        for _, theirs in ends:
            theirs.close()
        for server in servers:
            server.start()
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout)
        finally:
            process.kill()
            for server in servers:
                server.join()
        return _outcome(
            subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr),
            case["record"],
        )


def _serve(serve, ours):
    with ours:
        try:
            serve(ours)
        except (OSError, EOFError):
            # The program is gone, or never called.
            pass


def _outcome(process, record):
    outcome = Outcome(
        None,
        None,
        None,
        process.stdout.decode(errors="replace"),
        process.stderr.decode(errors="replace"),
        process.returncode,
    )
    calls = []
    if os.path.exists(record):
        with open(record) as file:
            calls = [line.split() for line in file]
    for call, _pid, *words in calls:
        if call == "annotate":
            outcome.annotations.append(tuple(map(int, words)))
        elif call == "send":
            payload = bytes.fromhex(words[1])
            if words[0] == "9":
                outcome.notes.append(payload.decode())
                continue
            data = json.loads(payload)
            if words[0] == "10":
                outcome.settled.append(data)
            elif words[0] == "3":
                outcome.results.append(data)
            elif words[0] == "4":
                outcome.denied.append(data)
            else:
                outcome.finished += 1
                outcome.value, outcome.error, outcome.exit_code = (
                    data["value"],
                    data["error"],
                    data["exit_code"],
                )
    if not outcome.finished:
        raise AssertionError(
            f"the driver did not report (status {process.returncode}): {outcome.stderr}"
        )
    return outcome
