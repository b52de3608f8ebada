"""Runs a program in a Belljar sandbox through the command-line program, and reads its outcome."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from processes import Ended, run_to_end

# Wide enough that no test of a runtime meets one by accident; what is compared is the sandbox, not its limits.
LIMITS = [
    "--memory", "2G", "--processes", "512", "--disk", "16G", "--max-files", "200000", "--open-files", "4096", "--output-limit", "64M",
]
# Belljar must end a run by itself; only if it does not is it killed, this much later.
GRACE_SECONDS = 15


class BelljarUnusable(Exception):
    """The program under test cannot be judged here; the message says why."""


@dataclass(frozen=True)
class Sandbox:
    """How a suite's programs are run: which runtime, which start, which grants."""

    belljar: Path
    runtime: str
    start: str
    reads: list[Path] = field(default_factory=list)
    writes: list[Path] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    def run(self, program: Path, parameters: dict[str, str], seconds: int) -> SandboxRun:
        command = [
            str(self.belljar), "run", str(program), "--json", "--runtime", self.runtime, "--start", self.start,
            "--loopback", "--exec", *LIMITS, "--timeout", f"{seconds}s", "--cpu", f"{seconds * 4}s",
        ]
        for path in self.reads:
            command += ["--read", str(path)]
        for path in self.writes:
            command += ["--write", str(path)]
        for name, value in self.env.items():
            command += ["--env", f"{name}={value}"]
        for name, value in parameters.items():
            command += ["--param", f"{name}={value}"]
        # The caller's own environment is Belljar's (its home, its cache), and never the program's.
        ended = run_to_end(command, cwd=program.parent, env=None, seconds=seconds + GRACE_SECONDS)
        return SandboxRun(ended, _outcome(ended))


@dataclass(frozen=True)
class SandboxRun:
    ended: Ended
    outcome: dict | None

    @property
    def status(self) -> str:
        """The outcome's status, or `no outcome` where Belljar printed none."""
        return self.outcome["status"] if self.outcome else "no outcome"

    @property
    def seconds(self) -> float:
        return round(self.ended.seconds, 2)

    def logs(self) -> str:
        return "\n".join(entry["message"] for entry in self.outcome["logs"]) if self.outcome else ""

    def why(self) -> str:
        """What a person needs to see why it did not succeed."""
        if not self.outcome:
            return f"belljar printed no outcome; exit code {self.ended.code}\n{self.ended.tail()}"
        error = self.outcome.get("error")
        lines = [f"outcome {self.status}"]
        if error:
            lines.append(f"{error.get('name')}: {error.get('message')}\n{error.get('stack') or ''}"[:2000])
        lines += [json.dumps(denied) for denied in self.outcome.get("denied", [])[:5]]
        return "\n".join([*lines, self.logs()[-2500:]])


def _outcome(ended: Ended) -> dict | None:
    try:
        outcome = json.loads(ended.stdout)
    except ValueError:
        return None
    return outcome if isinstance(outcome, dict) and "status" in outcome else None


def build_of(belljar: Path) -> str:
    """What tells one build of Belljar from another. Verdicts hold for the build that they were found with."""
    if not belljar.exists():
        raise BelljarUnusable(f"{belljar} does not exist; build it with `cargo build --release`, or name it with --belljar")
    with belljar.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def require_same_runtime(sandbox: Sandbox, run: SandboxRun, version: str) -> None:
    """A comparison means something only where both sides ran the same version, and sandboxes started as asked."""
    if not run.outcome or run.status != "succeeded":
        raise BelljarUnusable(f"the control program that does nothing did not succeed: {run.why()}")
    started = run.outcome["sandbox"]["start"]
    if started != sandbox.start:
        raise BelljarUnusable(f"`{sandbox.start}` start was asked for, but belljar used `{started}`; `belljar doctor` says why")
    used = run.outcome["sandbox"]["runtime"]
    if used.partition("@")[2] != version:
        raise BelljarUnusable(f"belljar used {used}, but plain is {version}; name a plain runtime of the same version")
