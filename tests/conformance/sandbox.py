"""Runs a program in a Belljar sandbox through the command-line program, and reads its outcome."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from processes import Ended, run_to_end

# Limits that no test of a runtime exceeds by accident, because the sandbox is compared and not its
# limits.
LIMITS = [
    "--memory",
    "2G",
    "--processes",
    "512",
    "--disk",
    "16G",
    "--max-files",
    "200000",
    "--open-files",
    "4096",
    "--output-limit",
    "64M",
]
# Belljar must end a run by itself. If it does not, it is killed after this time.
GRACE_SECONDS = 15


class BelljarUnusable(Exception):
    """The program under test cannot be judged here. The message says why."""


@dataclass(frozen=True)
class Sandbox:
    """The runtime, the start mode and the grants of a suite's programs."""

    belljar: Path
    runtime: str
    start: str
    reads: list[Path] = field(default_factory=list)
    writes: list[Path] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    def run(self, program: Path, parameters: dict[str, str], seconds: int) -> SandboxRun:
        command = [
            str(self.belljar),
            "run",
            str(program),
            "--json",
            "--runtime",
            self.runtime,
            "--start",
            self.start,
            "--loopback",
            "--exec",
            *LIMITS,
            "--timeout",
            f"{seconds}s",
            "--cpu",
            f"{seconds * 4}s",
        ]
        for path in self.reads:
            command += ["--read", str(path)]
        for path in self.writes:
            command += ["--write", str(path)]
        for name, value in self.env.items():
            command += ["--env", f"{name}={value}"]
        for name, value in parameters.items():
            command += ["--param", f"{name}={value}"]
        # Belljar gets the caller's own environment (its home, its cache), and the program never
        # does.
        ended = run_to_end(command, cwd=program.parent, env=None, seconds=seconds + GRACE_SECONDS)
        return SandboxRun(ended, _outcome(ended))


@dataclass(frozen=True)
class SandboxRun:
    ended: Ended
    outcome: dict | None

    @property
    def status(self) -> str:
        """Returns the outcome's status, or `no outcome` if Belljar printed none."""
        return self.outcome["status"] if self.outcome else "no outcome"

    @property
    def seconds(self) -> float:
        return round(self.ended.seconds, 2)

    def logs(self) -> str:
        return "\n".join(entry["message"] for entry in self.outcome["logs"]) if self.outcome else ""

    def why(self) -> str:
        """Returns what shows why the run did not succeed."""
        if not self.outcome:
            return f"belljar printed no outcome; exit code {self.ended.code}\n{self.ended.tail()}"
        error = self.outcome.get("error")
        lines = [f"outcome {self.status}"]
        if error:
            lines.append(
                f"{error.get('name')}: {error.get('message')}\n{error.get('stack') or ''}"[:2000]
            )
        lines += [json.dumps(denied) for denied in self.outcome.get("denied", [])[:5]]
        return "\n".join([*lines, self.logs()[-2500:]])


def _outcome(ended: Ended) -> dict | None:
    try:
        outcome = json.loads(ended.stdout)
    except ValueError:
        return None
    return outcome if isinstance(outcome, dict) and "status" in outcome else None


def build_of(belljar: Path) -> str:
    """Returns an identity of a build of Belljar. Verdicts apply only to the build that produced
    them."""
    if not belljar.exists():
        raise BelljarUnusable(
            f"{belljar} does not exist; build it with `cargo build --release`, or name it with --belljar"
        )
    with belljar.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def require_same_runtime(sandbox: Sandbox, run: SandboxRun, version: str) -> None:
    """Checks that both sides ran the same version, and that sandboxes started in the requested way."""
    if not run.outcome or run.status != "succeeded":
        raise BelljarUnusable(f"the control program that does nothing did not succeed: {run.why()}")
    started = run.outcome["sandbox"]["start"]
    if started != sandbox.start:
        raise BelljarUnusable(
            f"`{sandbox.start}` start was asked for, but belljar used `{started}`; `belljar doctor` says why"
        )
    used = run.outcome["sandbox"]["runtime"]
    if used.partition("@")[2] != version:
        raise BelljarUnusable(
            f"belljar used {used}, but plain is {version}; name a plain runtime of the same version"
        )
