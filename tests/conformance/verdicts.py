"""The verdict on a test, and the files in which verdicts are kept between runs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

PASSED, SKIPPED, FAILED, TIMED_OUT = "passed", "skipped", "failed", "timed_out"


@dataclass(frozen=True)
class Verdict:
    """The end of a test. `detail` is the reason of a skip, or the last output of a failed test."""

    status: str
    seconds: float
    detail: str = ""


class VerdictFile:
    """The verdicts of one configuration, by test name. Each is written at once, so that an interrupted
    run can be resumed."""

    def __init__(self, path: Path, about: dict[str, str]) -> None:
        """`about` names what was tested (versions, options). Verdicts about anything else are ignored."""
        self.path = path
        self.about = about
        self.verdicts: dict[str, Verdict] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["about"] == about:
                self.verdicts = {
                    name: Verdict(**fields) for name, fields in kept["verdicts"].items()
                }
        self._unsaved = 0

    def record(self, name: str, verdict: Verdict) -> None:
        self.verdicts[name] = verdict
        self._unsaved += 1
        if self._unsaved >= 25:
            self.save()

    def save(self) -> None:
        content = {
            "about": self.about,
            "verdicts": {name: asdict(v) for name, v in sorted(self.verdicts.items())},
        }
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1) + "\n")
        partial.replace(self.path)
        self._unsaved = 0

    def count(self, status: str) -> int:
        return sum(v.status == status for v in self.verdicts.values())


def not_passed(path: Path) -> set[str]:
    """Returns the tests that neither passed nor skipped themselves, according to a file of verdicts
    about any configuration."""
    return {
        name
        for name, v in json.loads(path.read_text())["verdicts"].items()
        if v["status"] not in (PASSED, SKIPPED)
    }


def cache_directory() -> Path:
    """Returns the folder of fetched sources and verdicts: `$XDG_CACHE_HOME/belljar/conformance`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "belljar" / "conformance"
