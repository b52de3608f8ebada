"""Runs one program in a plain runtime, or in a sandbox of a Belljar server."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from snippet_sources import Snippet

SECONDS = 20
OUTPUT_BYTES = 16_000_000
# Time limit for the first run of a package, in seconds: Belljar installs it then.
INSTALL_SECONDS = 300
EXTENSIONS = {"python": ".py", "javascript": ".js", "typescript": ".ts"}
# Paths of this machine that plain runtimes see because a sandbox has them as well.
SHOWN = [
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/etc/ssl",
    "/etc/passwd",
    "/etc/hosts",
    "/etc/mime.types",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/timezone",
]
# TypeScript that tsx recognizes as an ES module only by its file name.
MODULE = re.compile(
    r"""^(import[\s{*'"]|export\s|await\s|for await|(const|let|var) [^\n]*= await\s)""", re.M
)


@dataclass(frozen=True)
class Ended:
    """The end of a program (`ok`, or the name of its error), and its output."""

    end: str
    stdout: str
    stderr: str
    why: str = ""

    def equals(self, other: Ended) -> bool:
        """Compares ends and output. After an error, standard error is ignored: its stack differs."""
        is_silent = self.end != "ok" or self.stderr == other.stderr
        return (self.end, self.stdout) == (other.end, other.stdout) and is_silent


# ------------------------------------------------------------------------------------------- plain


class Plain:
    """Plain runtimes, isolated from this machine's files and network only by bubblewrap."""

    def __init__(self, node: Path, python: Path, tsx: Path, cache: Path) -> None:
        self.cache = cache
        self.commands = {
            "python": [str(python), "-s", "-B", "-u"],
            "javascript": [str(node)],
            "typescript": [str(node), str(tsx)],
        }
        roots = {python.resolve().parent.parent, node.resolve().parent.parent, tsx.parents[2]}
        self.shown = [str(root) for root in roots if not str(root).startswith("/usr")]
        self.python = python

    def run(self, snippet: Snippet) -> Ended:
        with tempfile.TemporaryDirectory(prefix="belljar-snippet-") as folder:
            name = _plain_name(snippet)
            (Path(folder) / name).write_text(snippet.code)
            jail = self._jail(folder, self._packages(snippet))
            command = [*jail, *self.commands[snippet.language], name]
            try:
                done = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    stdin=subprocess.DEVNULL,
                    timeout=SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired as late:
                written = (late.stdout or b"").decode(errors="replace")
                return Ended("timed out", normal(written), "")
        end = "ok"
        if done.returncode != 0:
            end = error_name(done.stderr, snippet.language) or f"exit {done.returncode}"
        return Ended(end, normal(done.stdout), normal(done.stderr), done.stderr[-400:])

    def install(self, snippet: Snippet) -> None:
        """Installs a program's package, once, in a folder of its own."""
        folder = self._packages(snippet)
        if folder is None or folder.exists():
            return
        folder.mkdir(parents=True)
        if snippet.language == "python":
            pip = [str(self.python), "-m", "pip", "install", "-q"]
            command = [*pip, "--target", ".", snippet.package]
        else:
            npm = ["npm", "install", "--silent", "--ignore-scripts"]
            command = [*npm, "--prefix", ".", snippet.package]
        subprocess.run(command, cwd=folder, capture_output=True, timeout=600, check=False)

    def _packages(self, snippet: Snippet) -> Path | None:
        kind = "pip" if snippet.language == "python" else "npm"
        name = re.sub(r"[^\w.@=-]", "_", snippet.package)
        return self.cache / "installed" / f"{kind}-{name}" if snippet.package else None

    def _jail(self, folder: str, packages: Path | None) -> list[str]:
        """Returns a bubblewrap command that shows only this machine's programs, all read-only."""
        jail = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
        jail += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        jail += ["--bind", folder, "/home/user"]
        for path in [*SHOWN, *self.shown]:
            jail += ["--ro-bind-try", path, path]
        if packages and (packages / "node_modules").exists():
            jail += ["--ro-bind", str(packages / "node_modules"), "/home/user/node_modules"]
        elif packages:
            jail += ["--ro-bind", str(packages), "/packages", "--setenv", "PYTHONPATH", "/packages"]
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": "/home/user",
            "LANG": "C.UTF-8",
            "TMPDIR": "/tmp",
            "USER": "user",
        }
        for name, value in env.items():
            jail += ["--setenv", name, value]
        return [*jail, "--uid", "1000", "--gid", "1000", "--chdir", "/home/user"]


def _plain_name(snippet: Snippet) -> str:
    """Returns a file name for plain runtimes. Node detects the kind of a module; tsx uses the name."""
    if snippet.language == "typescript" and MODULE.search(snippet.code):
        return "main.mts"
    return "main" + EXTENSIONS[snippet.language]


def error_name(stderr: str, language: str) -> str | None:
    if language == "python":
        # The indented lines of the last traceback are followed by the name and a message of any
        # length.
        last = stderr.rpartition("Traceback (most recent call last):")[2]
        if last == stderr and not re.search(r"^(Syntax|Indentation|Tab)Error:", stderr, re.M):
            return None
        names = re.findall(r"^((?:[^\W\d]\w*\.)*[^\W\d]\w*)(?::|$)", last, re.M)
        return names[0].rpartition(".")[2] if names else None
    # tsx reports syntax errors with this name.
    if "TransformError" in stderr:
        return "SyntaxError"
    if "[UnhandledPromiseRejection" in stderr or "\nUncaught:" in stderr:
        return "Error"
    stderr = re.sub(r"^DOMException \[(\w+)\]", r"\1", stderr, flags=re.M)
    names = re.findall(r"^(?:Uncaught )?\[?(?:\w+\.)?(\w*(?:Error|Exception))\b", stderr, re.M)
    return names[0] if names else None


# ----------------------------------------------------------------------------------------- belljar


class Server:
    """A Belljar server for this comparison only."""

    def __init__(self, belljar: Path, runtimes: dict[str, str], start: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="belljar-snippets-"))
        self.runtimes = runtimes
        self.start = start
        granted = {"policy": {"exec": True, "loopback": True}}
        (self.home / "policy.json").write_text(json.dumps(granted))
        (self.home / "belljar.toml").write_text("parked = 0\n")
        env = dict(os.environ, BELLJAR_HOME=str(self.home))
        self.log = (self.home / "log").open("w")
        self.process = subprocess.Popen(
            [belljar, "serve", "--listen", ""], env=env, stdout=self.log, stderr=self.log
        )
        while not self._is_ready():
            if self.process.poll() is not None:
                raise RuntimeError((self.home / "log").read_text())
            time.sleep(0.1)
        command = [belljar, "projects", "set", "default", "--policy", self.home / "policy.json"]
        subprocess.run(command, env=env, check=True, capture_output=True)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.home)

    def run(self, snippet: Snippet, policy: dict[str, bool]) -> Ended:
        name = "main" + EXTENSIONS[snippet.language]
        request = {
            "language": snippet.language,
            "files": [{"path": name, "content": snippet.code}],
            "entry": name,
            "wait": True,
            "policy": policy,
            "start": self.start,
            "runtime": self.runtimes[snippet.language],
            "limits": {
                "timeout_ms": SECONDS * 1000,
                "cpu_ms": SECONDS * 1000,
                "memory_bytes": 1 << 30,
                "output_bytes": OUTPUT_BYTES,
            },
        }
        if snippet.package:
            request["packages"] = [snippet.package]
            request["package_options"] = {"only": True, "minimum_release_age_days": 0}
        outcome = self._ask("POST", "/v1/runs", request)
        if "status" not in outcome or "logs" not in outcome:
            return Ended("no outcome", "", "", json.dumps(outcome)[:400])
        return _ended(outcome)

    def _ask(self, method: str, path: str, body: dict | None = None) -> dict:
        connection = http.client.HTTPConnection("localhost", timeout=INSTALL_SECONDS + SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(INSTALL_SECONDS + SECONDS)
        connection.sock.connect(str(self.home / "server.sock"))
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse().read()
        connection.close()
        return json.loads(answer)

    def _is_ready(self) -> bool:
        try:
            self._ask("GET", "/v1/usage")
        except OSError:
            return False
        return True


def _ended(outcome: dict) -> Ended:
    def written(levels: tuple[str, ...]) -> str:
        entries = (log["message"] for log in outcome["logs"] if log["level"] in levels)
        return normal("\n".join(entries))

    stdout, stderr = written(("info", "debug")), written(("warn", "error"))
    error = outcome.get("error") or {}
    end = "ok"
    if outcome["status"] in ("timed_out", "cpu_exceeded"):
        end = "timed out"
    elif outcome["status"] != "succeeded":
        end = error.get("name") or outcome["status"]
        if "signal" in outcome:
            end = f"exit {128 + outcome['signal']}"
        elif end == "ProcessExit":
            end = f"exit {outcome['exit_code']}"
    why = {key: outcome[key] for key in ("status", "error", "denied", "notes") if outcome.get(key)}
    return Ended(end, stdout, stderr, json.dumps(why)[:600])


def normal(text: str) -> str:
    """Removes what differs from run to run."""
    text = text.replace("\r", "").strip("\n")
    text = re.sub(r"\x1b\[[\d;]*m", "", text)
    text = re.sub(r"^ +at .*\bnode:internal/.*\n?", "", text, flags=re.M)
    text = re.sub(r"0x[0-9a-f]{6,}", "0x…", text)
    text = re.sub(r"(/home/user/)?main\.[cm]?[jt]s\b|/home/user/main\.py", "main", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*Z?", "TIME", text)
    text = re.sub(r"\(node:\d+\)|\bpid[ :=]+\d+", "PID", text)
    return re.sub(r"\b\d+\.?\d* ?(ms|s|seconds|milliseconds)\b", "DURATION", text)[:20_000]
