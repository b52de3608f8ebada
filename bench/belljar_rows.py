"""Belljar's own rows, which `belljar bench --json` measures from inside, because another process
could not time them without adding its own cost.

It is run several times among the rounds of the peers, and each row is the median of these passes.
The format that is read:

    {"rows": [
      {"name": "parked", "language": "JavaScript", "unit": "ms", "runs": 500, "p50": 0.8, "p95": 1.1, "p99": 1.6},
      {"name": "throughput", "language": "JavaScript", "unit": "runs/s", "value": 1200.0},
      {"name": "parked_memory", "language": "JavaScript", "unit": "MB", "value": 0.7}
    ]}

`name` is one of LATENCIES, THROUGHPUTS or MEMORIES; a row of another name is an error, so that nothing is lost in silence.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bare_forks import BareForks
from measure import Percentiles

LATENCIES = {
    "bare_fork": "bare fork of a booted runtime, run, exit (no jail)",
    "parked": "belljar: parked sandbox",
    "forked": "belljar: sandbox forked on request",
    "exec": "belljar: `exec` start, a process for the run",
    "half_load": "belljar: parked, at half load",
    "cold_tenant": "belljar: cold tenant (boots its zygote first)",
}
THROUGHPUTS = {"throughput": "belljar: engine's API"}
MEMORIES = {
    "parked_memory": "belljar: parked sandbox",
    "exec_memory": "belljar: `exec` start, parked",
}


class UnreadableRows(Exception):
    """`belljar bench --json` failed, or printed something in another format."""


@dataclass(frozen=True)
class BelljarRow:
    title: str
    language: str


class BelljarRows:
    """Collects passes of `belljar bench --json`."""

    def __init__(self, belljar: Path | None, bare_forks: BareForks) -> None:
        self.belljar = belljar
        self.bare_forks = bare_forks
        self._latencies: dict[BelljarRow, list[Percentiles]] = {}
        self._values: dict[str, dict[BelljarRow, list[float]]] = {"throughput": {}, "memory": {}}

    def measure(self) -> None:
        if self.belljar is None:
            return
        done = subprocess.run([self.belljar, "bench", "--json"], capture_output=True, text=True)
        if done.returncode != 0:
            raise UnreadableRows(
                f"`belljar bench --json` ended with {done.returncode}: {done.stderr.strip()[-300:]}"
            )
        try:
            for row in json.loads(done.stdout)["rows"] + self.bare_forks.rows():
                self._add(row)
        except (ValueError, KeyError, TypeError) as why:
            raise UnreadableRows(
                f"`belljar bench --json` is not of the shape that bench/belljar_rows.py documents: {why!r}"
            ) from why

    def _add(self, row: dict) -> None:
        name = row["name"]
        if name in LATENCIES:
            found = Percentiles(row["runs"], row["p50"], row["p95"], row["p99"])
            self._latencies.setdefault(BelljarRow(LATENCIES[name], row["language"]), []).append(
                found
            )
        elif name in THROUGHPUTS:
            self._values["throughput"].setdefault(
                BelljarRow(THROUGHPUTS[name], row["language"]), []
            ).append(row["value"])
        elif name in MEMORIES:
            self._values["memory"].setdefault(
                BelljarRow(MEMORIES[name], row["language"]), []
            ).append(row["value"])
        else:
            raise UnreadableRows(
                f"`belljar bench --json` has a row named {name}, which bench/belljar_rows.py does not know"
            )

    def latencies(self) -> dict[BelljarRow, Percentiles]:
        return {
            row: Percentiles(
                sum(p.runs for p in passes),
                *(
                    statistics.median(getattr(p, at) for p in passes)
                    for at in ("p50", "p95", "p99")
                ),
            )
            for row, passes in self._latencies.items()
        }

    def throughputs(self) -> dict[BelljarRow, float]:
        return {
            row: statistics.median(values) for row, values in self._values["throughput"].items()
        }

    def memories(self) -> dict[BelljarRow, float]:
        return {row: statistics.median(values) for row, values in self._values["memory"].items()}
