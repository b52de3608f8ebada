"""Fills the history of a home with a million runs. They are copies of runs of a real server, each
with its submission, outcome, events, labels and two entries of the audit trail, whose chain of
hashes is valid."""

from __future__ import annotations

import hashlib
import sqlite3
import struct
import sys
import time
from pathlib import Path

# Short enough that a server, which deletes runs after 30 days, keeps all of them.
SPREAD_MS = 20 * 24 * 3600 * 1000
AT_A_TIME = 20_000
# One run in this number has a unique label. All have one of seven others.
EVERY_RARE = 10_000


def fill(database: Path, runs: int) -> None:
    """Adds `runs` runs that are older than the existing ones. The server must be stopped."""
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA cache_size = -400000")
    patterns = [
        _Pattern(db, id)
        for (id,) in db.execute(
            "SELECT id FROM runs WHERE finished_at IS NOT NULL ORDER BY id"
        ).fetchall()
    ]
    if not patterns:
        sys.exit("the home has no run to copy")
    seq, head = db.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    first_ms = int(time.time() * 1000) - SPREAD_MS - 3_600_000
    for start in range(0, runs, AT_A_TIME):
        tables: dict[str, list[tuple]] = {name: [] for name in _INSERTS}
        for number in range(start, min(runs, start + AT_A_TIME)):
            at = first_ms + number * SPREAD_MS // runs
            seq, head = patterns[number % len(patterns)].copy(number, at, seq, head, tables)
        db.execute("BEGIN")
        for name, rows in tables.items():
            db.executemany(_INSERTS[name], rows)
        db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


_INSERTS = {
    "runs": "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "run_labels": "INSERT INTO run_labels VALUES (?, ?, ?, ?)",
    "run_submissions": "INSERT INTO run_submissions VALUES (?, ?)",
    "run_outcomes": "INSERT INTO run_outcomes VALUES (?, ?)",
    "run_events": "INSERT INTO run_events VALUES (?, ?, ?)",
    "audit": "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
}


class _Pattern:
    """A run to copy, with all its rows."""

    def __init__(self, db: sqlite3.Connection, id: str) -> None:
        self.id = id
        self.run = db.execute("SELECT * FROM runs WHERE id = ?", (id,)).fetchone()
        self.submission = db.execute(
            "SELECT submission FROM run_submissions WHERE run_id = ?", (id,)
        ).fetchone()[0]
        self.outcome = db.execute(
            "SELECT outcome FROM run_outcomes WHERE run_id = ?", (id,)
        ).fetchone()[0]
        self.events = db.execute(
            "SELECT seq, lines FROM run_events WHERE run_id = ?", (id,)
        ).fetchall()
        self.audit = db.execute(
            "SELECT project, actor, source, action, details FROM audit WHERE target = ? ORDER BY seq",
            (id,),
        ).fetchall()

    def copy(
        self, number: int, at: int, seq: int, head: str, tables: dict[str, list[tuple]]
    ) -> tuple[int, str]:
        id = _run_id(at, number)
        (
            _,
            project,
            status,
            created,
            started,
            finished,
            attempt,
            _,
            runtime,
            comment,
            usage,
            facts,
        ) = self.run
        shifted = [moment and moment - created + at for moment in (started, finished)]
        tables["runs"].append(
            (id, project, status, at, *shifted, attempt, at, runtime, comment, usage, facts)
        )
        tables["run_labels"].append((project, "team", f"team-{number % 7}", id))
        if number % EVERY_RARE == 0:
            tables["run_labels"].append((project, "ticket", str(number), id))
        tables["run_submissions"].append((id, self.submission))
        tables["run_outcomes"].append((id, self.outcome.replace(self.id, id)))
        tables["run_events"] += [
            (id, first, lines.replace(self.id, id)) for first, lines in self.events
        ]
        for project_name, actor, source, action, details in self.audit:
            seq, previous = seq + 1, head
            head = _hash(previous, seq, at, project_name, actor, source, action, id, details)
            tables["audit"].append(
                (seq, at, project_name, actor, source, action, id, details, previous, head)
            )
        return seq, head


def _run_id(at: int, number: int) -> str:
    """Returns a run id with a UUIDv7 for that time."""
    value = (
        at << 80
        | 7 << 76
        | (number & 0xFFF) << 64
        | 2 << 62
        | (number * 0x9E3779B97F4A7C15) & ((1 << 62) - 1)
    )
    return f"run_{value:032x}"


def _hash(previous: str, seq: int, at: int, *rest: str | None) -> str:
    """Returns the hash of an entry of the audit trail, as crates/store/src/audit.rs computes it."""
    digest = hashlib.sha256()
    for field in (previous, str(seq), str(at), *rest):
        data = b"" if field is None else field.encode()
        digest.update(struct.pack(">Q", 2**64 - 1 if field is None else len(data)) + data)
    return digest.hexdigest()
