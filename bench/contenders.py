"""The contenders that are measured, and the way in which each runs a program in a fresh sandbox."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import programs
from peers import Peers
from programs import Dialect, Program

# The limits of every contender that supports limits.
HEAP_MEGABYTES = 256
CPU_SECONDS = 2
# V8 reserves 512 MB of address space for code, which RLIMIT_DATA counts although none of it is
# used.
V8_CODE_RANGE_MEGABYTES = 512


class NoAnswer(Exception):
    """The contender returned no result. The message says what it did instead."""


class Client(Protocol):
    """A client of a contender, which requests one run after the other."""

    def run(self, program: Program, seconds: float) -> str:
        """Returns the output of the program in a fresh sandbox. Raises NoAnswer if there is none in
        time."""

    def hold(self) -> None:
        """Starts one more sandbox and keeps it idle."""

    def process_ids(self) -> list[int]:
        """Returns the running processes that this client started, without their descendants."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Contender:
    name: str
    language: str
    isolates: str
    limits: str
    connect: Callable[[], Client]
    # True if the contender can hold an idle sandbox, so that its memory can be measured.
    holds: bool = True


class ProcessClient:
    """A fresh process for each run, timed from its start to the end of its output."""

    def __init__(self, command: Callable[[Program], list[str]]) -> None:
        self.command = command
        self.idle: list[subprocess.Popen] = []

    def run(self, program: Program, seconds: float) -> str:
        # posix_spawn and a bare pipe: subprocess costs a millisecond of its own.
        command = self.command(program)
        read_end, write_end = os.pipe()
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, write_end, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions, setpgroup=0)
        os.close(write_end)
        try:
            output = _read_to_end(read_end, seconds)
        except TimeoutError:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise NoAnswer(f"it still ran after {seconds:.0f} s") from None
        finally:
            os.close(read_end)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != 0:
            raise NoAnswer(
                f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            )
        return output.decode().strip()

    def hold(self) -> None:
        process = subprocess.Popen(
            self.command(programs.IDLE),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.idle.append(process)
        if b"idle" not in process.stdout.readline():
            raise NoAnswer("it ended instead of being idle")

    def process_ids(self) -> list[int]:
        return [process.pid for process in self.idle]

    def close(self) -> None:
        for process in self.idle:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()


class HostClient:
    """A warm process that creates a fresh sandbox for each request. It reads requests and writes
    answers as lines."""

    def __init__(self, command: list[str], dialect: Dialect) -> None:
        self.command = command
        self.dialect = dialect
        self.host: subprocess.Popen | None = None

    def run(self, program: Program, seconds: float) -> str:
        return self._ask({"operation": "run", "code": self.dialect(program)}, seconds)

    def hold(self) -> None:
        self._ask({"operation": "hold"}, 30)

    def process_ids(self) -> list[int]:
        return [self.host.pid] if self.host else []

    def close(self) -> None:
        if self.host:
            os.killpg(self.host.pid, signal.SIGKILL)
            self.host.wait()
            self.host.stdin.close()
            self.host.stdout.close()
            self.host = None

    def _ask(self, request: dict, seconds: float) -> str:
        if self.host is None:
            self.host = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                bufsize=0,
            )
        self.host.stdin.write(json.dumps(request).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self.host.stdout], [], [], seconds)[0]:
                self.close()
                raise NoAnswer(f"no answer after {seconds:.0f} s")
            more = os.read(self.host.stdout.fileno(), 65536)
            if not more:
                self.close()
                raise NoAnswer("it took its host process with it")
            line += more
        answer = json.loads(line)
        if "error" in answer:
            raise NoAnswer(answer["error"].splitlines()[0][:120])
        return answer["output"]


def _read_to_end(descriptor: int, seconds: float) -> bytes:
    chunks = []
    while True:
        if not select.select([descriptor], [], [], seconds)[0]:
            raise TimeoutError
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


class ProgramFiles:
    """Programs as files, one for each program and dialect, in a directory of this benchmark."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, program: Program, dialect: Dialect, suffix: str) -> Path:
        path = self.directory / dialect.__name__ / f"{program.name}{suffix}"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(dialect(program))
        return path

    def workerd_config(self, program: Program) -> Path:
        worker = self.path(program, programs.workerd_test, ".mjs")
        config = worker.with_suffix(".capnp")
        # Written once, because several clients ask for it concurrently under load.
        if not config.exists():
            config.write_text(
                'using Workerd = import "/workerd/workerd.capnp";\n'
                'const config :Workerd.Config = (services = [(name = "main", worker = ('
                f'modules = [(name = "worker", esModule = embed "{worker.name}")], compatibilityDate = "2025-01-01"))]);\n'
            )
        return config


def contenders(
    peers: Peers, node: Path, python: Path, belljar: Path | None, files: ProgramFiles
) -> Iterator[Contender]:
    yield _true()
    yield from _belljar_commands(belljar, files)
    yield from _javascript_peers(peers, node, files)
    yield from _python_peers(peers, python, files)


def _true() -> Contender:
    # The cost of the measurement itself for a contender that starts a process for each run.
    return Contender(
        "spawn of a process that prints 2",
        "none",
        "nothing",
        "none",
        lambda: ProcessClient(
            lambda program: ["/bin/echo", "42" if program is programs.MULTIPLY else "2"]
        ),
        holds=False,
    )


def _belljar_commands(belljar: Path | None, files: ProgramFiles) -> Iterator[Contender]:
    if belljar is None:
        return
    for language, dialect, suffix in (
        ("JavaScript", programs.javascript_value, ".js"),
        ("Python", programs.python_value, ".py"),
    ):

        def command(
            program: Program, dialect: Dialect = dialect, suffix: str = suffix
        ) -> list[str]:
            limits = [
                "--memory",
                f"{HEAP_MEGABYTES}M",
                "--cpu",
                f"{CPU_SECONDS}s",
                "--timeout",
                "1000s",
            ]
            return [str(belljar), "run", str(files.path(program, dialect, suffix)), *limits]

        yield Contender(
            "one-shot `belljar run FILE`",
            language,
            "kernel jail, a zygote of its own",
            "memory, CPU, time, processes, disk, files, output",
            lambda command=command: ProcessClient(command),
            holds=False,
        )


def _javascript_peers(peers: Peers, node: Path, files: ProgramFiles) -> Iterator[Contender]:
    def printed(program: Program) -> str:
        return str(files.path(program, programs.printed_javascript, ".js"))

    yield _process(
        "plain `node FILE`",
        "JavaScript",
        "nothing",
        "none",
        lambda program: [str(node), printed(program)],
    )
    heap = f"--max-old-space-size={HEAP_MEGABYTES}"
    limited = [*_prlimit(HEAP_MEGABYTES + V8_CODE_RANGE_MEGABYTES)]
    if peers.deno:
        yield _process(
            "`deno run`",
            "JavaScript",
            "permissions inside the process, denied by default",
            "heap by V8, CPU by RLIMIT_CPU",
            lambda program: [
                *_prlimit(None),
                str(peers.deno),
                "run",
                "--no-prompt",
                f"--v8-flags={heap}",
                printed(program),
            ],
        )
    if peers.workerd:
        yield _process(
            "`workerd test`",
            "JavaScript",
            "a V8 isolate with no system access, in a process of its own",
            "memory and CPU by rlimits (it has none itself)",
            lambda program: [
                *limited,
                str(peers.workerd),
                "test",
                str(files.workerd_config(program)),
            ],
        )
    if peers.bwrap:
        yield _process(
            "`bwrap` + `node`",
            "JavaScript",
            "kernel namespaces, no system call filter",
            "memory and CPU by rlimits, heap by V8",
            lambda program: [
                *limited,
                *_bwrap(peers.bwrap, [node.parent.parent, files.directory]),
                str(node),
                heap,
                printed(program),
            ],
        )
    if peers.hosts:
        sizes = [str(HEAP_MEGABYTES), str(CPU_SECONDS)]
        yield Contender(
            "isolated-vm",
            "JavaScript",
            "a V8 isolate in the host's own process, no kernel boundary, no Node APIs",
            "heap by V8, time by its own timer",
            lambda: HostClient(
                [str(node), "--no-node-snapshot", str(peers.hosts / "isolated_vm.mjs"), *sizes],
                programs.javascript_value,
            ),
        )
        yield Contender(
            "secure-exec",
            "JavaScript",
            "a V8 isolate in a shared child process, Node APIs re-made, no kernel boundary between runs",
            "heap by V8, CPU by its own timer",
            lambda: HostClient(
                [str(node), str(peers.hosts / "secure_exec.mjs"), *sizes],
                programs.exported_javascript,
            ),
        )


def _python_peers(peers: Peers, python: Path, files: ProgramFiles) -> Iterator[Contender]:
    def printed(program: Program) -> str:
        return str(files.path(program, programs.printed_python, ".py"))

    yield _process(
        "plain `python3 FILE`",
        "Python",
        "nothing",
        "none",
        lambda program: [str(python), printed(program)],
    )
    if peers.bwrap:
        yield _process(
            "`bwrap` + `python3`",
            "Python",
            "kernel namespaces, no system call filter",
            "memory and CPU by rlimits",
            lambda program: [
                *_prlimit(HEAP_MEGABYTES),
                *_bwrap(peers.bwrap, [python.parent.parent, files.directory]),
                str(python),
                printed(program),
            ],
        )


def _process(
    name: str, language: str, isolates: str, limits: str, command: Callable[[Program], list[str]]
) -> Contender:
    return Contender(name, language, isolates, limits, lambda: ProcessClient(command))


def _prlimit(data_megabytes: int | None) -> list[str]:
    data = [f"--data={data_megabytes << 20}"] if data_megabytes else []
    return [
        "/usr/bin/prlimit",
        *data,
        f"--cpu={CPU_SECONDS}",
        "--nofile=256",
        "--core=0",
        "--fsize=67108864",
    ]


def _bwrap(bwrap: Path, readable: list[Path]) -> list[str]:
    command = [
        str(bwrap),
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
        "--clearenv",
    ]
    command += ["--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"]
    for system in ("/usr", "/lib", "/lib64", "/bin"):
        path = Path(system)
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), system]
        elif path.exists():
            command += ["--ro-bind", system, system]
    for path in readable:
        if not path.is_relative_to("/usr"):
            command += ["--ro-bind", str(path), str(path)]
    return command
