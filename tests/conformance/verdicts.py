"""What became of a test, and the files in which such verdicts are kept between runs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

PASSED, SKIPPED, FAILED, TIMED_OUT = "passed", "skipped", "failed", "timed_out"


@dataclass(frozen=True)
class Verdict:
    """How one test ended. `detail` is the reason of a skip, or the tail of what a failing test printed."""

    status: str
    seconds: float
    detail: str = ""


class VerdictFile:
    """Verdicts of one configuration, by test name, written as they come so that a stopped run resumes where it was."""

    def __init__(self, path: Path, about: dict[str, str]) -> None:
        """`about` says what was tested (versions, options). Verdicts about something else are not used."""
        self.path = path
        self.about = about
        self.verdicts: dict[str, Verdict] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["about"] == about:
                self.verdicts = {name: Verdict(**fields) for name, fields in kept["verdicts"].items()}
        self._unsaved = 0

    def record(self, name: str, verdict: Verdict) -> None:
        self.verdicts[name] = verdict
        self._unsaved += 1
        if self._unsaved >= 25:
            self.save()

    def save(self) -> None:
        content = {"about": self.about, "verdicts": {name: asdict(v) for name, v in sorted(self.verdicts.items())}}
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1) + "\n")
        partial.replace(self.path)
        self._unsaved = 0

    def count(self, status: str) -> int:
        return sum(v.status == status for v in self.verdicts.values())


def not_passed(path: Path) -> set[str]:
    """The tests that neither passed nor skipped themselves according to a file of verdicts, whatever it is about."""
    return {name for name, v in json.loads(path.read_text())["verdicts"].items() if v["status"] not in (PASSED, SKIPPED)}


def cache_directory() -> Path:
    """Where fetched sources and verdicts are kept: `$XDG_CACHE_HOME/belljar/conformance`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "belljar" / "conformance"
